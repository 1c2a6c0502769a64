"""Once a second Node collects garbage, and who asks then is answered some tens of milliseconds late: nobody is hurt.

All requests of such a moment are answered at once after it, as in incident 2, and the CPUs are busy meanwhile, for the
collector has helpers. But no packet waits for a CPU: pings to the same pod are answered at once, as is everything
between two collections. The server has no quota, and most of a CPU to spare.
"""

from __future__ import annotations

import re
import time
from http.client import HTTPConnection
from statistics import median

from lab.actor import every
from lab.arrivals import StallCase
from lab.case import Expected
from lab.connects import ANSWERED, calls, log
from lab.look import PATIENCE, Sight
from lab.servers import up

PORT, ORDERS, WARM = 8080, int(200_000 / PATIENCE), 20
SERVE = """
const orders = [];
for (let n = 0; n < Number(process.argv[3]); n += 1) orders.push({ number: n, name: `order ${n}`, lines: [n, n + 1] });

require('http').createServer((request, response) => {
  response.end(JSON.stringify(orders.slice(0, 10)));
}).listen(process.argv[2]);

setInterval(() => {
  const begin = Date.now();
  global.gc();
  console.log(`paused ${Date.now() - begin} ms`);
}, 1000);
"""


def ask_in_turn(address: str) -> None:
    connection = HTTPConnection(address, PORT, timeout=10)
    for _ in every(0.02, times=1_000_000):
        begin = time.monotonic()
        connection.request("GET", "/orders")
        connection.getresponse().read()
        log(ANSWERED, time.monotonic() - begin)


class StallGarbageCollectedInTime(StallCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        probe, shop = self.stage.pods("probe", "shop")
        script = self.stage.directory / "shop.js"
        script.write_text(SERVE)
        command = ("node", "--expose-gc", str(script), str(PORT), str(ORDERS))
        self.server = up(self.stage, shop, self.stage.run(shop, "node", *command), PORT)
        self.ping_all_the_time(probe, shop)
        self.client = self.stage.play(probe, "checkout", ask_in_turn, shop.address)

    def look(self) -> Sight:
        pauses = [int(ms) for ms in re.findall(r"^paused (\d+) ms$", self.server.log.read_text(), re.MULTILINE)]
        made = calls(self.client)
        longest = max((call.seconds for call in made[WARM:]), default=0.0)
        there = len(pauses) >= 4 and median(pauses) >= 10 and len(made) >= 5 * WARM and 0.01 < longest < 1
        return self.in_time(there, f"paused for {pauses[-3:]} ms; {made}")

    def expected(self) -> Expected:
        return self.nothing_stalled(self.server, self.client)
