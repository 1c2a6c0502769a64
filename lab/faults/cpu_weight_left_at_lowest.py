"""A shop whose pod asks for no CPU has a hundredth of the weight of a batch job, which takes all of them: it starves.

No quota stands in the way, everybody is at nice 0, and the batch does what it asked for. While the node had idle CPUs
the shop never noticed; now it waits for a CPU most of the time, and each answer of 10 ms of work takes half a second.
To whoever looks at its use of the CPU it has nothing to do.
"""

from __future__ import annotations

from lab.case import Expected, Named
from lab.containers import GONE_SECONDS, is_removed
from lab.cpu_hogs import CPUS, HOGS, HogCase, ask_now_and_then, busy, times
from lab.cpu_quota import NEW, OLD, PORT, serve
from lab.look import NotThereError, Sight, wait_until
from lab.servers import up
from lab.stage import Stage, session

LOWEST, USUAL = 1, 100
"""As cpu.weight has it; the kubelet gives the lowest to a pod without a request."""

JOIN = 'echo $$ >"$0" && exec "$@"'


class Weighted:
    """A cgroup with a weight, until the stage closes. Raises NotThereError without the CPU controller."""

    def __init__(self, stage: Stage, name: str, weight: int) -> None:
        old = (OLD / "cpu.shares").exists()
        if not old and "cpu" not in (NEW / "cgroup.subtree_control").read_text().split():
            raise NotThereError("no cgroups with the CPU controller")
        self.place = (OLD if old else NEW) / f"{stage.label}-{name}"
        stage.tell_guard(f"directory {self.place}")
        self.place.mkdir()
        stage.undo.callback(self.remove)
        if old:
            (self.place / "cpu.shares").write_text(str(weight * 1024 // USUAL))
        else:
            (self.place / "cpu.weight").write_text(str(weight))

    @property
    def under(self) -> tuple[str, ...]:
        """A command that goes there, and then runs another."""
        return ("sh", "-c", JOIN, str(self.place / "cgroup.procs"))

    def remove(self) -> None:
        wait_until(lambda: is_removed(self.place), GONE_SECONDS, lambda: f"{self.place} is not empty")


class CpuWeightLeftAtLowest(HogCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        batch, shop, client = self.stage.pods("batch", "shop", "client")
        light, heavy = Weighted(self.stage, "shop", LOWEST), Weighted(self.stage, "batch", USUAL)
        self.server = self.stage.play(shop, "shop", serve, 0.01, under=light.under)
        up(self.stage, shop, self.server, PORT)
        self.client = self.stage.play(client, "browser", ask_now_and_then, shop.address, 10)
        self.busy_before = busy()
        measure = ("openssl", "speed", "-multi", str(HOGS * CPUS), "-seconds", "600", "-bytes", "16384", "sha256")
        self.hog = self.stage.run(batch, "openssl", *heavy.under, *measure)
        wait_until(lambda: len(session(self.hog.pid)) > HOGS * CPUS, 10, self.stage.logs)

    def look(self) -> Sight:
        (ran, waited), share = times(self.server.pid), self.hogged()
        seen = f"the batch has {share:.0%} of what CPUs did; the shop ran {ran:.2f} s and waited {waited:.2f} s"
        return Sight(waited > 3 and waited > 3 * ran and share > 0.6, seen)

    def expected(self) -> Expected:
        """Who takes the CPUs is to be named, and may be called culprit; but the weight is what is wrong."""
        return Expected(
            rule="cpu-pressure",
            severities=("warning", "critical"),
            tolerated=(self.hog.who(),),
            innocent=(self.server.who(), self.client.who()),
            others=(Named(self.hog.who(), ("culprit", "holder", "peer")), Named(self.server.who(), ("victim",))),
        )
