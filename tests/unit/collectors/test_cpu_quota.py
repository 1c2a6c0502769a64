"""The cpu_quota collector on made trees of v1 and v2."""

from __future__ import annotations

from pathlib import Path

import pytest

from whodunnet.collectors import cpu_quota
from whodunnet.collectors.cpu_quota import CGROUPS_LIMIT, LOOK_AGAIN_SECONDS, CpuQuotaCollector
from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.process import CgroupLine
from whodunnet.kernel.roots import Roots
from whodunnet.model.cpu_quota import CpuQuotas

COUNTED = "nr_periods {}\nnr_throttled {}\n"
COUNTERS = {"v1": f"{COUNTED}throttled_time 7000\n", "v2": f"{COUNTED}throttled_usec 7\n"}
VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])


class Machine:
    """A tree with a cgroup file system of one version."""

    def __init__(self, top: Path, version: str, controllers: str = "cpuset cpu memory") -> None:
        self.version = version
        self.roots = Roots.below(top)
        point = top / ("sys/fs/cgroup" if version == "v2" else "sys/fs/cgroup/cpu,cpuacct")
        kind, options = ("cgroup2", "rw") if version == "v2" else ("cgroup", "rw,cpu,cpuacct")
        self.point = point
        point.mkdir(parents=True)
        if version == "v2":
            (point / "cgroup.controllers").write_text(controllers)
            (point / "cpu.stat").write_text("usage_usec 5\n")
        else:
            self.cgroup("", 0, 0, None)
        (top / "proc/self").mkdir(parents=True)
        (top / "proc/self/mountinfo").write_text(f"31 23 0:28 / {point} rw shared:9 - {kind} {kind} {options}\n")

    def cgroup(self, name: str, periods: int, throttled: int, quota: int | None = 20_000) -> None:
        place = self.point / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "cpu.stat").write_text(COUNTERS[self.version].format(periods, throttled))
        if self.version == "v2":
            (place / "cpu.max").write_text(f"{'max' if quota is None else quota} 100000\n")
        else:
            (place / "cpu.cfs_quota_us").write_text(f"{-1 if quota is None else quota}\n")
            (place / "cpu.cfs_period_us").write_text("100000\n")

    def lines(self, path: str) -> tuple[CgroupLine, ...]:
        """As /proc/PID/cgroup has them, among others."""
        mine = CgroupLine(0, (), path) if self.version == "v2" else CgroupLine(3, ("cpu", "cpuacct"), path)
        return (CgroupLine(7, ("memory",), "/elsewhere"), mine)


def told(sample: CpuQuotas) -> list[tuple[str, int, int, tuple[int, ...]]]:
    return [(c.path, c.periods, c.throttled, c.pids) for c in sample.cgroups]


@VERSIONS
def test_what_is_above_a_process_is_read_and_only_what_ran_under_a_quota_is_told(tmp_path: Path, version: str) -> None:
    machine = Machine(tmp_path, version)
    machine.cgroup("pods", 0, 0, None)
    machine.cgroup("pods/pod1", 9, 2, 30_000)
    machine.cgroup("pods/pod1/a", 8, 3)
    machine.cgroup("pods/pod1/b", 0, 0, None)
    machine.cgroup("pods/unrelated", 50, 50)
    processes = {5: machine.lines("/pods/pod1/a"), 6: machine.lines("/pods/pod1/b")}
    sample = CpuQuotaCollector(machine.roots).collect(processes)
    assert (sample.version, sample.read, sample.left_out, sample.unplaced) == (version, 5, 0, 0)
    assert told(sample) == [("/pods/pod1/a", 8, 3, (5,)), ("/pods/pod1", 9, 2, (5, 6))]
    assert [(c.quota_us, c.period_us, c.throttled_us) for c in sample.cgroups] == [
        (20_000, 100_000, 7), (30_000, 100_000, 7),
    ]  # fmt: skip


@VERSIONS
def test_a_quota_that_was_taken_away_leaves_its_counters(tmp_path: Path, version: str) -> None:
    machine = Machine(tmp_path, version)
    machine.cgroup("a", 8, 3, None)
    (found,) = CpuQuotaCollector(machine.roots).collect({5: machine.lines("/a")}).cgroups
    assert (found.quota_us, found.period_us, found.throttled) == (None, None, 3)


@VERSIONS
def test_a_cgroup_whose_first_period_is_not_over_begins_with_nothing(tmp_path: Path, version: str) -> None:
    machine = Machine(tmp_path, version)
    machine.cgroup("new", 0, 0)
    collector, processes = CpuQuotaCollector(machine.roots), {5: machine.lines("/new")}
    assert told(collector.collect(processes)) == [("/new", 0, 0, (5,))]
    machine.cgroup("new", 4, 1)
    assert told(collector.collect(processes)) == [("/new", 4, 1, (5,))]


def test_a_cgroup_without_a_quota_is_looked_at_again_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, times = Machine(tmp_path, "v2"), [100.0]
    monkeypatch.setattr(cpu_quota.time, "monotonic", lambda: times[0])
    collector, processes = CpuQuotaCollector(machine.roots), {5: machine.lines("/a"), 6: machine.lines("/b")}
    machine.cgroup("a", 0, 0, None)
    machine.cgroup("b", 1, 0)
    assert told(collector.collect(processes)) == [("/b", 1, 0, (6,))]
    machine.cgroup("a", 4, 1)
    machine.cgroup("b", 3, 2)
    times[0] += LOOK_AGAIN_SECONDS - 0.1
    assert told(collector.collect(processes)) == [("/b", 3, 2, (6,))]
    times[0] += 0.1
    assert told(collector.collect(processes)) == [("/a", 4, 1, (5,)), ("/b", 3, 2, (6,))]


def test_more_cgroups_than_are_read_are_counted(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "v2")
    processes = {n: machine.lines(f"/c{n}") for n in range(CGROUPS_LIMIT + 20)}
    sample = CpuQuotaCollector(machine.roots).collect(processes)
    assert (sample.read, sample.left_out) == (CGROUPS_LIMIT, 21)


def test_a_process_out_of_what_is_mounted_here_is_counted(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "v2")
    processes = {5: machine.lines("/../other"), 6: (CgroupLine(7, ("memory",), "/a"),)}
    sample = CpuQuotaCollector(machine.roots).collect(processes)
    assert (sample.cgroups, sample.unplaced) == ((), 2)


def test_a_process_whose_cgroup_is_gone_has_no_quota(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "v1")
    assert CpuQuotaCollector(machine.roots).collect({5: machine.lines("/gone (deleted)")}).cgroups == ()


def test_a_name_from_the_node_is_cleaned(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "v2")
    machine.cgroup("a\x1b[2J\udcff", 8, 3)
    (found,) = CpuQuotaCollector(machine.roots).collect({5: machine.lines("/a\x1b[2J\udcff")}).cgroups
    assert found.path.isprintable()


def test_without_the_controller_it_is_unreadable(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "v2", controllers="memory pids")
    with pytest.raises(UnreadableError, match="no file system of cgroups with the CPU controller"):
        CpuQuotaCollector(machine.roots).collect({})


def stat(roots: Roots, pid: int, comm: str, ticks: int) -> None:
    place = roots.proc / str(pid)
    place.mkdir(parents=True, exist_ok=True)
    fields = ["R", "1", *["0"] * 9, str(ticks), "0", "0", "0", "20", "0", "1", "0", "500", *["0"] * 30]
    (place / "stat").write_text(f"{pid} ({comm}) {' '.join(fields)}\n")


@VERSIONS
def test_who_used_a_quota_up_is_read_where_it_was_used_up_since(tmp_path: Path, version: str) -> None:
    machine = Machine(tmp_path, version)
    collector = CpuQuotaCollector(machine.roots)
    for pid, comm, ticks in ((7, "shop", 100), (8, "log-shipper", 300)):
        stat(machine.roots, pid, comm, ticks)
    seen = []
    both = "7\n8\n"
    there = [(0, both), (4, both), (6, f"{both}9\n"), (8, f"{both}0\n"), (8, both), (9, "8\n"), (12, "7\n" * 65)]
    for throttled, pids in there:
        machine.cgroup("pod", 10 * throttled, throttled)
        (machine.point / "pod/cgroup.procs").write_text(pids)
        (pod,) = collector.collect({7: machine.lines("/pod")}).cgroups
        seen.append([(user.pid, user.comm, user.cpu_ms, user.started_seconds) for user in pod.users])
    assert seen == [[], [(7, "shop", 1_000, 5.0), (8, "log-shipper", 3_000, 5.0)], *[[]] * 5]
