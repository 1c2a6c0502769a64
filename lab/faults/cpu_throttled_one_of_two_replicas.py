"""Every other page takes seconds: one of two replicas behind HAProxy may use a tenth of a CPU, the other what it likes.

Somebody typed "100m" for the canary. It needs 20 ms of a CPU for a page, and stands still for most of each tenth of a
second with requests unread; its twin, with the same program and as many requests, answers at once. Users see a proxy
that is slow now and then. The proxy waits for whom it has asked, as it should, and the CPUs are nearly idle.
"""

from __future__ import annotations

import time
from http.client import HTTPConnection
from threading import Thread

from lab.actor import rest
from lab.case import CPU_RULES, Case, Expected, Named
from lab.connects import ANSWERED, calls, log
from lab.cpu_quota import Quota
from lab.faults.cpu_build_at_lowest_weight import SERVE
from lab.look import Sight
from lab.servers import haproxy, up
from lab.stage import Player, Pod

PORT, PROXY_PORT, WORK_MICROSECONDS = 8080, 8000, 20_000
CPUS, USERS, PAUSE_SECONDS, LATE_SECONDS = 0.1, 10, 0.5, 0.4


def browse(address: str) -> None:
    """Each user opens a page, waits for all of it, and looks at it for a while; log how long it took."""

    def open_pages(begin_after: float) -> None:
        time.sleep(begin_after)
        while True:
            begin = time.monotonic()
            connection = HTTPConnection(address, PROXY_PORT, timeout=60)
            connection.request("GET", "/report")
            connection.getresponse().read()
            connection.close()
            log(ANSWERED, time.monotonic() - begin)
            time.sleep(PAUSE_SECONDS)  # the user reads

    for number in range(USERS):
        Thread(target=open_pages, args=(number * PAUSE_SECONDS / USERS,)).start()
    rest()


class CpuThrottledOneOfTwoReplicas(Case):
    kind = "fault"
    rules = CPU_RULES
    rules_unread = True
    age_seconds = 3

    def start(self) -> None:
        client, front, canary, stable = self.stage.pods("client", "front", "canary", "stable")
        self.quota = Quota(self.stage, cpus=CPUS)
        (self.stage.directory / "report.js").write_text(SERVE)
        self.canary, self.stable = self.replica(canary), self.replica(stable)
        self.quota.take(self.canary)
        both = f"{canary.address}:{PORT}\n    server two {stable.address}:{PORT}"
        self.proxy = haproxy(self.stage, front, PROXY_PORT, both, mode="http")
        self.client = self.stage.play(client, "browser", browse, front.address)

    def replica(self, pod: Pod) -> Player:
        script = str(self.stage.directory / "report.js")
        return up(self.stage, pod, self.stage.run(pod, "node", "node", script, str(PORT), str(WORK_MICROSECONDS)), PORT)

    def look(self) -> Sight:
        made, throttled = calls(self.client), self.quota.throttled()
        late = made.where(ANSWERED, at_least_seconds=LATE_SECONDS)
        there = len(late) >= 12 and len(made) - len(late) >= 12 and throttled > 20
        return Sight(there, f"{made}; {len(late)} took {LATE_SECONDS} s or more; throttled {throttled} times")

    def expected(self) -> Expected:
        return Expected(
            rule="cpu-throttled",
            severities=("warning", "critical"),
            innocent=(self.canary.who(), self.stable.who(), self.proxy.who(), self.client.who()),
            bystanders=(self.stable.who(), self.proxy.who(), self.client.who()),
            others=(Named(self.canary.who(), ("victim", "holder")),),
        )
