"""A server used up its CPU quota for five seconds when it started, and has had enough of it ever since.

It reads its catalogue and compiles its templates first, as many do, and was throttled in each period of that time: the
count in cpu.stat says so for ever, and against the few requests of a young pod it looks like a lot. Now it uses an
eighth of its quota, and whoever asks is answered at once.
"""

from __future__ import annotations

import time

from lab.actor import connected, every
from lab.case import CPU_RULES, Case, Expected
from lab.connects import ANSWERED, calls, log
from lab.cpu_quota import PORT, REQUEST, Quota, serve, work
from lab.look import Sight
from lab.servers import up

CPUS, START_SECONDS, WORK_SECONDS, PER_SECOND = 0.4, 2.0, 0.005, 10
QUIET_LOOKS, LATEST = 6, 20


def start_and_serve(start_seconds: float, work_seconds: float) -> None:
    """So much of a CPU before it listens, and so much for each request."""
    work(start_seconds)
    serve(work_seconds)


def ask_and_log(address: str, per_second: float) -> None:
    """On one connection, one request after the other, and how long each answer took."""
    connection = connected(address, PORT)
    for _ in every(1 / per_second, times=1_000_000):
        begin = time.monotonic()
        connection.sendall(REQUEST)
        connection.recv(64)
        log(ANSWERED, time.monotonic() - begin)


class CpuThrottledWhileStarting(Case):
    kind = "look-alike"
    rules = CPU_RULES
    rules_unread = True
    age_seconds = 3

    def start(self) -> None:
        client, shop = self.stage.pods("client", "shop")
        self.quota = Quota(self.stage, cpus=CPUS)
        self.server = self.stage.play(shop, "shop", start_and_serve, START_SECONDS, WORK_SECONDS)
        self.quota.take(self.server)
        up(self.stage, shop, self.server, PORT)
        self.client = self.stage.play(client, "browser", ask_and_log, shop.address, PER_SECOND)
        self.last, self.quiet = 0, 0

    def look(self) -> Sight:
        """It has been throttled, and not since several looks."""
        before, self.last = self.last, self.quota.throttled()
        self.quiet = self.quiet + 1 if self.last == before else 0
        made = calls(self.client)
        longest = max((call.seconds for call in made[-LATEST:]), default=0.0)
        there = self.last >= 15 and self.quiet >= QUIET_LOOKS and len(made) >= LATEST and longest < 0.3
        return Sight(there, f"throttled {self.last} times, not in the last {self.quiet} looks; {made}")

    def expected(self) -> Expected:
        parts = (self.server.who(), self.client.who())
        return Expected(rule=None, cleared=("cpu-throttled",), innocent=parts, bystanders=parts)
