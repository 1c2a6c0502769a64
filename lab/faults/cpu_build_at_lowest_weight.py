"""A build takes all CPUs at the lowest weight there is (cpu.weight 1); the shop beside it gets one when it wants one.

Its jobs are short programs, one after the other, two at a time for each CPU: no CPU is idle, their names come and go,
and they wait for one another as they should. All of them are at nice 0, and so is Node, which serves the shop and needs
a tenth of a CPU: what keeps them apart is the weight of their cgroups.

It takes a machine with nothing else to do.
"""

from __future__ import annotations

import sys
import time

from lab.case import CPU_RULES, Case, Expected
from lab.connects import ANSWERED, call, calls
from lab.cpu_hogs import CPUS, busy, times
from lab.faults.cpu_weight_left_at_lowest import LOWEST, USUAL, Weighted
from lab.look import Sight
from lab.servers import up

PORT, WORK_MICROSECONDS = 8080, 5000
SERVE = """
const used = () => { const { user, system } = process.cpuUsage(); return user + system; };

require('http').createServer((request, response) => {
  const end = used() + Number(process.argv[3]);
  while (used() < end);
  response.end(Buffer.alloc(200));
}).listen(process.argv[2]);
"""
COMPILE = "import ast, json, email.message, http.client; sum(range(300000))"
MAKE = f'for job in $(seq {2 * CPUS}); do while :; do "$0" "$@" -c "{COMPILE}"; done & done; wait'


class CpuBuildAtLowestWeight(Case):
    kind = "look-alike"
    rules = CPU_RULES
    rules_unread = True
    age_seconds = 3

    def start(self) -> None:
        build, shop, client = self.stage.pods("build", "shop", "client")
        light, heavy = Weighted(self.stage, "build", LOWEST), Weighted(self.stage, "shop", USUAL)
        script = self.stage.directory / "shop.js"
        script.write_text(SERVE)
        command = (*heavy.under, "node", str(script), str(PORT), str(WORK_MICROSECONDS))
        self.server = up(self.stage, shop, self.stage.run(shop, "node", *command), PORT)
        self.client = self.stage.play(client, "browser", call, [(shop.address, PORT)], 20, 5)
        self.build = self.stage.run(build, "sh", *light.under, "sh", "-c", MAKE, sys.executable)
        self.began, self.busy_before, self.before = time.monotonic(), busy(), times(self.server.pid)

    def look(self) -> Sight:
        taken = (busy() - self.busy_before) / (CPUS * (time.monotonic() - self.began))
        ran, waited = (now - then for now, then in zip(times(self.server.pid), self.before, strict=True))
        made = calls(self.client)
        there = len(made) >= 60 and made.share(ANSWERED) == 1.0 and taken > 0.8 and ran > 0.3 and waited < ran / 3
        seen = f"{taken:.0%} of the CPUs taken; the shop ran {ran:.2f} s and waited {waited:.2f} s; {made}"
        return Sight(there, seen)

    def expected(self) -> Expected:
        parts = (self.build.who(), self.server.who(), self.client.who())
        return Expected(rule=None, innocent=parts, bystanders=(self.server.who(), self.client.who()))
