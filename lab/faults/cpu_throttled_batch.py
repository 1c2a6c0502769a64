"""Batch work with a quota that it always uses up, as it is meant to. It has a port, and nobody waits there."""

from __future__ import annotations

from lab.case import Case, Expected
from lab.cpu_quota import Quota, compute
from lab.look import Sight


class CpuThrottledBatch(Case):
    kind = "look-alike"
    rules = ("cpu-throttled", "socket-leak", "tcp-memory")
    age_seconds = 3

    def start(self) -> None:
        (pod,) = self.stage.pods("batch")
        self.quota = Quota(self.stage, cpus=0.2)
        self.batch = self.stage.play(pod, "batch", compute, 0.9)
        self.quota.take(self.batch)

    def look(self) -> Sight:
        return Sight(self.quota.throttled() > 10, f"throttled {self.quota.throttled()} times")

    def expected(self) -> Expected:
        return Expected(rule=None, cleared=("cpu-throttled",), innocent=(self.batch.who(),))
