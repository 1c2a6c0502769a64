"""The memory_cgroups collector on made trees of v1 and v2, and when it reads memory.stat."""

from __future__ import annotations

from pathlib import Path

import pytest

from whodunnet.collectors import memory_cgroups
from whodunnet.collectors.memory_cgroups import COUNT_EVERY_SECONDS, DYING_SPARED, STAT_EVERY_SECONDS
from whodunnet.collectors.memory_cgroups import MemoryCgroupsCollector as Collector
from whodunnet.errors import UnreadableError
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, read_support
from whodunnet.model.memory_cgroups import DyingBelow, MemoryCgroups

HEADER = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"


class Machine:
    """A tree with a cgroup file system."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.roots = Roots.below(top)
        self.cgroup = top / "sys/fs/cgroup"
        self.write("proc/self/mountinfo", "")

    def write(self, name: str, content: str) -> None:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def mount(self, kind: str, point: str = "", options: str = "rw", top: str = "/") -> None:
        line = f"31 23 0:28 {top} {self.cgroup}{point} rw shared:9 - {kind} {kind} {options}\n"
        self.write("proc/self/mountinfo", (self.top / "proc/self/mountinfo").read_text() + line)

    def counted(self, number: int, enabled: int = 1) -> None:
        self.write("proc/cgroups", f"{HEADER}memory\t4\t{number}\t{enabled}\n")

    def v1(self, number: int, *names: str, root: bool = True) -> None:
        self.mount("cgroup", "/memory", "rw,memory")
        self.counted(number)
        for name in ("", *names):
            self.write(f"sys/fs/cgroup/memory/{name}/memory.stat", "cache 5\n")
            self.write(f"sys/fs/cgroup/memory/{name}/memory.force_empty", "")
        if root:
            self.write("sys/fs/cgroup/memory/release_agent", "")

    def v2(self, stat: str, controllers: str = "cpu memory", root: bool = True) -> None:
        self.mount("cgroup2")
        self.write("sys/fs/cgroup/cgroup.controllers", controllers + "\n")
        self.write("sys/fs/cgroup/cgroup.stat", stat)
        self.write("sys/fs/cgroup/memory.stat", "anon 5\n")
        if not root:
            self.write("sys/fs/cgroup/cgroup.type", "domain\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def support() -> Support:
    return read_support(Roots())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every read of memory.stat."""
    found: list[Path] = []
    monkeypatch.setattr(memory_cgroups, "time_memory_stat", lambda path: found.append(path) or 0.25)
    return found


def collector(machine: Machine, support: Support, *, active: bool = False) -> Collector:
    return Collector(machine.roots, support, active=active)


def test_v1_is_what_the_kernel_counts_less_what_can_be_seen(machine: Machine, support: Support) -> None:
    machine.v1(90, "a", "a/b", "c")
    found = collector(machine, support).collect()
    assert (found.version, found.live, found.dying, found.part) == ("v1", 4, 86, False)
    assert (found.of_memory, found.reclaim, found.most) == (True, "memory.force_empty", ())


def test_cgroups_that_were_made_between_the_two_counts_are_not_less_than_none(
    machine: Machine, support: Support
) -> None:
    machine.v1(3, "a", "a/b", "c")
    assert collector(machine, support).collect().dying == 0


def test_a_part_of_v1_has_no_dying_ones_to_tell(machine: Machine, support: Support, reads: list[Path]) -> None:
    machine.v1(90, "a", root=False)
    found = collector(machine, support).collect()
    assert (found.live, found.dying, found.part, found.stat_spared) == (2, None, True, True)
    assert reads == []


def test_too_many_of_v1_are_not_counted(
    machine: Machine, support: Support, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    monkeypatch.setattr(memory_cgroups, "count_directories", lambda _top: None)
    machine.v1(90)
    found = collector(machine, support).collect()
    assert (found.live, found.dying, reads) == (None, None, [])


def test_v1_is_not_counted_anew_at_once(machine: Machine, support: Support, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(memory_cgroups.time, "monotonic", lambda: clock[0])
    machine.v1(9, "a")
    made = collector(machine, support)
    assert (made.collect().dying, made.collect().counted_seconds_ago) == (7, 0.0)
    machine.counted(19)
    clock[0] += COUNT_EVERY_SECONDS - 1
    assert (made.collect().dying, made.collect().counted_seconds_ago) == (7, COUNT_EVERY_SECONDS - 1)
    clock[0] += 1
    assert (made.collect().dying, made.collect().counted_seconds_ago) == (17, 0.0)


def test_v2_counts_those_of_the_controller_where_the_kernel_does(machine: Machine, support: Support) -> None:
    machine.v2("nr_descendants 20\nnr_subsys_memory 18\nnr_dying_descendants 9\nnr_dying_subsys_memory 8\n")
    machine.write("sys/fs/cgroup/a/cgroup.stat", "nr_dying_descendants 9\nnr_dying_subsys_memory 8\n")
    machine.write("sys/fs/cgroup/memory.reclaim", "")
    found = collector(machine, support).collect()
    assert (found.version, found.live, found.dying, found.of_memory) == ("v2", 18, 8, True)
    assert found.most == (DyingBelow("/a", 8),)
    assert found.reclaim == "memory.reclaim"


def test_an_older_v2_counts_cgroups_as_a_whole(machine: Machine, support: Support) -> None:
    machine.v2("nr_descendants 20\nnr_dying_descendants 9\n", root=False)
    found = collector(machine, support).collect()
    assert (found.live, found.dying, found.of_memory, found.part, found.reclaim) == (21, 9, False, True, None)


def test_a_v2_without_cgroup_stat_knows_nothing_and_reads_nothing(
    machine: Machine, support: Support, reads: list[Path]
) -> None:
    machine.v2("")
    (machine.cgroup / "cgroup.stat").unlink()
    found = collector(machine, support).collect()
    assert (found.version, found.live, found.dying, found.stat_spared, reads) == ("v2", None, None, True, [])


def test_memory_in_v1_is_told_from_an_empty_v2_beside_it(machine: Machine, support: Support) -> None:
    machine.v1(5)
    machine.mount("cgroup2", "/unified")
    machine.write("sys/fs/cgroup/unified/cgroup.controllers", "\n")
    assert collector(machine, support).collect().version == "v1"


def test_without_the_controller_there_are_none(machine: Machine, support: Support) -> None:
    machine.v2("nr_descendants 3\n", controllers="cpu io")
    machine.counted(1, enabled=0)
    assert collector(machine, support).collect() == MemoryCgroups(version=None)


@pytest.mark.parametrize(("mounted", "root"), [(False, True), (True, False)])
def test_what_is_out_of_sight_is_not_taken_for_switched_off(
    machine: Machine, support: Support, mounted: bool, root: bool
) -> None:
    """From 6.18 on /proc/cgroups does not list the controllers of v2."""
    machine.write("proc/cgroups", HEADER)
    if mounted:
        machine.v2("nr_descendants 3\n", controllers="cpu", root=root)
    with pytest.raises(UnreadableError, match="is mounted in sight"):
        collector(machine, support).collect()


@pytest.mark.parametrize(("dying", "active", "read"), [(DYING_SPARED - 1, False, 1), (DYING_SPARED, False, 0),
                                                       (DYING_SPARED, True, 1)])  # fmt: skip
def test_memory_stat_is_read_where_few_are_dying_or_on_demand(
    machine: Machine, support: Support, reads: list[Path], dying: int, active: bool, read: int
) -> None:
    machine.v2(f"nr_descendants 20\nnr_dying_descendants {dying}\n")
    found = collector(machine, support, active=active).collect()
    assert (len(reads), found.stat_spared) == (read, not read)
    assert found.stat_seconds == (0.25 if read else None)


def test_memory_stat_is_not_read_more_often_than_others_do(
    machine: Machine, support: Support, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(memory_cgroups.time, "monotonic", lambda: clock[0])
    machine.v2("nr_descendants 20\nnr_dying_descendants 0\n")
    made = collector(machine, support)
    made.collect()
    clock[0] += STAT_EVERY_SECONDS - 1
    assert made.collect().stat_age_seconds == STAT_EVERY_SECONDS - 1
    assert len(reads) == 1
    clock[0] += 1
    assert made.collect().stat_age_seconds == 0
    assert len(reads) == 2
