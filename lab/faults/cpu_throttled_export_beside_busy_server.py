"""A server near its capacity has requests waiting, and an export always uses up its CPU quota; neither hurts anybody.

Gunicorn's one worker computes for four fifths of the time. Requests come four at a time, so that some always stand in
its queue, and each is answered in half a second: it has no quota. The export, which has one, compresses and sends to a
store for as long as its quota lasts, ten times a second, as it is meant to: the store has all day, and nobody asks the
export anything.
"""

from __future__ import annotations

import time

from lab import transfers
from lab.actor import connected
from lab.case import QUEUE_RULES, Case, Expected
from lab.connects import ANSWERED, call, calls
from lab.cpu_hogs import times
from lab.cpu_quota import Quota, work
from lab.look import Sight
from lab.servers import up
from lab.stage import session

PORT = 8080
APPLICATION = """
import time

def answer(environment, start):
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass
    start("200 OK", [("Content-Length", "200")])
    return [bytes(200)]
"""


def export(address: str) -> None:
    with connected(address, transfers.PORT) as store:
        while True:
            work(0.05)
            store.sendall(bytes(20_000))


class CpuThrottledExportBesideBusyServer(Case):
    kind = "look-alike"
    rules = (*QUEUE_RULES, "cpu-throttled", "cpu-pressure")
    rules_unread = True
    age_seconds = 3

    def start(self) -> None:
        client, shop, batch, store = self.stage.pods("client", "shop", "batch", "store")
        self.quota = Quota(self.stage, cpus=0.2)
        place = self.stage.directory
        (place / "orders.py").write_text(APPLICATION)
        command = ("gunicorn", "--bind", f"{shop.address}:{PORT}", "--chdir", str(place))
        self.server = up(self.stage, shop, self.stage.run(shop, "gunicorn", *command, "orders:answer"), PORT)
        self.store = up(self.stage, store, self.stage.play(store, "store", transfers.take), transfers.PORT)
        self.export = self.stage.play(batch, "export", export, store.address)
        self.quota.take(self.export)
        self.client = self.stage.play(client, "checkout", call, [(shop.address, PORT)], 8, 10, 4)
        self.began, self.ran_before = time.monotonic(), self.ran()

    def ran(self) -> float:
        return sum(times(pid)[0] for pid in session(self.server.pid))

    def look(self) -> Sight:
        share = (self.ran() - self.ran_before) / (time.monotonic() - self.began)
        made, throttled = calls(self.client), self.quota.throttled()
        there = len(made) >= 40 and made.share(ANSWERED) == 1.0 and 0.6 < share < 0.97 and throttled > 20
        return Sight(there, f"the server has {share:.2f} of a CPU; {made}; the export was throttled {throttled} times")

    def expected(self) -> Expected:
        parts = tuple(player.who() for player in (self.server, self.client, self.export, self.store))
        return Expected(rule=None, cleared=("cpu-throttled", "accept-queue"), innocent=parts, bystanders=parts)
