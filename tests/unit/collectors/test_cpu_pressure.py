"""CPUs under pressure and not, and who is found to use them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from whodunnet.collectors import cpu_pressure
from whodunnet.collectors.cpu_pressure import CONSUMERS_MAX, WAITERS_MAX, CpuPressureCollector
from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.process import TICKS_PER_SECOND
from whodunnet.kernel.roots import Roots
from whodunnet.model.cpu_pressure import CpuPressure

OURS = 99
MANY = CONSUMERS_MAX + 24


class Machine:
    """A procfs of two CPUs that time goes by on."""

    def __init__(self, top: Path) -> None:
        self.top = top
        (top / "proc/pressure").mkdir(parents=True)
        (top / "proc/loadavg").write_text("2.00 1.00 0.50 1/9 12\n")
        (top / "proc/self").symlink_to(str(OURS))
        self.cpus()
        self.pressure(0.0, 0)

    def cpus(self, busy: int = 0, idle: int = 0, running: int = 1) -> None:
        line = f"{busy} 0 0 {idle} 0 0 0 0 0 0\n"
        (self.top / "proc/stat").write_text(f"cpu  {line}cpu0 {line}cpu1 {line}procs_running {running}\n")

    def pressure(self, avg10: float, total: int) -> None:
        text = f"some avg10={avg10:.2f} avg60=0.00 avg300=0.00 total={total}\n"
        (self.top / "proc/pressure/cpu").write_text(text)

    def process(
        self, pid: int, seconds: float, wait: float = 0, *, started: int = 5, state: str = "S", threads: int = 1
    ) -> None:
        ticks = round(seconds * TICKS_PER_SECOND)
        place = self.top / f"proc/{pid}"
        (place / f"task/{pid}").mkdir(parents=True, exist_ok=True)
        fields = f"1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 {threads} 0 {started} 0"
        (place / "stat").write_text(f"{pid} (app{pid}) {state} {fields}\n")
        for file in (place / "schedstat", place / f"task/{pid}/schedstat"):
            file.write_text(f"0 {round(wait * 1e9)} 0\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [50.0]
    monkeypatch.setattr(cpu_pressure.time, "monotonic", lambda: now[0])
    return now


def collector(machine: Machine) -> CpuPressureCollector:
    return CpuPressureCollector(Roots.below(machine.top))


def under_pressure(machine: Machine, clock: list[float]) -> CpuPressureCollector:
    """After its first reading."""
    machine.pressure(30.0, 1_000_000)
    made = collector(machine)
    assert made.collect().measured_seconds is None
    clock[0] += 1.0
    return made


def test_a_quiet_node_costs_no_look_at_processes(machine: Machine) -> None:
    machine.process(7, 10)
    machine.cpus(busy=1, idle=9, running=3)
    made = collector(machine)
    for _ in range(3):
        found = made.collect()
        assert (found.measured_seconds, found.consumers, found.processes) == (None, (), 0)
    tick = 1000 // TICKS_PER_SECOND
    assert (found.cpus, found.total_ms, found.idle_ms, found.runnable, found.load) == (2, 20 * tick, 18 * tick, 3, 2.0)
    assert (found.some_us, found.some_avg10) == (0, 0.0)


def test_who_took_most_between_two_readings_comes_first(machine: Machine, clock: list[float]) -> None:
    machine.process(7, 10, 1)
    machine.process(8, 100, 2)
    made = under_pressure(machine, clock)
    machine.process(7, 10.75, 1.5)
    machine.process(8, 100.25, 2)
    found = made.collect()
    assert [(c.pid, c.cpu_ms, c.wait_ms) for c in found.consumers] == [(7, 750, 500), (8, 250, 0)]
    assert (found.measured_seconds, found.used_ms, found.processes) == (1.0, 1000, 2)


def test_pressure_since_the_last_reading_counts_before_the_average_shows_it(
    machine: Machine, clock: list[float]
) -> None:
    machine.process(7, 1)
    made = collector(machine)
    made.collect()
    for n in (1, 2):
        clock[0] += 1.0
        machine.pressure(0.0, 300_000 * n)
        found = made.collect()
    assert found.measured_seconds == 1.0


def test_without_pressure_cpus_that_are_never_idle_stand_for_it(machine: Machine, clock: list[float]) -> None:
    (machine.top / "proc/pressure/cpu").unlink()
    made = collector(machine)
    machine.process(7, 1)
    for n in range(1, 4):
        machine.cpus(busy=100 * n, idle=0, running=4)
        found = made.collect()
        clock[0] += 1.0
    assert (found.some_us, found.some_avg10) == (None, None)
    assert found.measured_seconds == 1.0


def test_a_process_that_began_in_between_counts_from_its_begin(machine: Machine, clock: list[float]) -> None:
    machine.process(7, 50)
    made = under_pressure(machine, clock)
    machine.process(7, 0.5, started=900)
    machine.process(8, 0.25)
    found = made.collect()
    assert [(c.pid, c.cpu_ms, c.wait_ms) for c in found.consumers] == [(7, 500, 0), (8, 250, 0)]


def test_the_wait_of_who_takes_nothing_is_summed(machine: Machine, clock: list[float]) -> None:
    for pid in (7, 8, 9):
        machine.process(pid, 1, 1, threads=2)
    made = under_pressure(machine, clock)
    machine.process(7, 2, 1, threads=2)
    machine.process(8, 1, 1.4, threads=2)
    machine.process(9, 1, 1.1, threads=2)
    assert made.collect().waited_ms == pytest.approx(500, abs=2)


def test_our_own_work_is_left_out(machine: Machine, clock: list[float]) -> None:
    machine.process(OURS, 1)
    machine.process(7, 1)
    made = under_pressure(machine, clock)
    machine.process(OURS, 2)
    machine.process(7, 1.5)
    assert [c.pid for c in made.collect().consumers] == [7]


def test_waits_of_all_threads_and_of_one_are_not_compared(machine: Machine, clock: list[float]) -> None:
    machine.process(7, 1, 1, state="S", threads=2)
    made = under_pressure(machine, clock)
    machine.process(7, 2, 3, state="R", threads=2)
    assert made.collect().consumers[0].wait_ms is None


SCHEDSTAT = "version 15\ncpu0 0 0 0 0 0 0 0 9000000000 1\n"


@pytest.mark.parametrize("schedstat", [False, True])
def test_who_was_ready_and_took_nothing_is_kept_with_its_wait(
    machine: Machine, clock: list[float], *, schedstat: bool
) -> None:
    if schedstat:
        (machine.top / "proc/schedstat").write_text(SCHEDSTAT)
    machine.process(7, 1, 1, state="R", threads=2)
    machine.process(8, 9, 1)
    made = under_pressure(machine, clock)
    machine.process(7, 1, 1.75, threads=2)
    machine.process(8, 10, 1)
    assert [(c.pid, c.cpu_ms, c.wait_ms) for c in made.collect().consumers][1:] == [(7, 0, 750)]


def test_no_more_who_waited_are_kept_than_the_bound(machine: Machine, clock: list[float]) -> None:
    for pid in range(200, 220 + WAITERS_MAX):
        machine.process(pid, 1, 1, state="R")
    made = under_pressure(machine, clock)
    for pid in range(200, 220 + WAITERS_MAX):
        machine.process(pid, 1, 1 + pid / 1000, state="R")
    found = made.collect()
    assert [c.pid for c in found.consumers] == list(range(219 + WAITERS_MAX, 219, -1))
    assert found.waited_ms == sum(range(200, 220))


def test_no_more_than_the_bound_are_kept(machine: Machine, clock: list[float]) -> None:
    for pid in range(200, 200 + CONSUMERS_MAX + 3):
        machine.process(pid, 1)
    made = under_pressure(machine, clock)
    for pid in range(200, 200 + CONSUMERS_MAX + 3):
        machine.process(pid, 1.5)
    found = made.collect()
    assert len(found.consumers) == CONSUMERS_MAX
    assert found.used_ms == 500 * (CONSUMERS_MAX + 3)


def test_after_a_quiet_reading_measuring_begins_anew(machine: Machine, clock: list[float]) -> None:
    machine.process(7, 1)
    made = under_pressure(machine, clock)
    machine.pressure(0.0, 1_000_000)
    assert made.collect().measured_seconds is None
    machine.pressure(30.0, 1_000_000)
    assert made.collect().measured_seconds is None


def test_without_times_of_cpus_there_is_no_reading(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError):
        CpuPressureCollector(Roots.below(tmp_path)).collect()


def test_this_machine_is_read() -> None:
    made = CpuPressureCollector(Roots())
    found = made.collect()
    made.close()
    assert isinstance(found, CpuPressure)
    assert found.cpus == len([name for name in Path("/proc/stat").read_text().split() if name.startswith("cpu")]) - 1
    assert found.total_ms >= found.idle_ms
    assert os.getpid() not in {c.pid for c in found.consumers}


def test_processes_of_one_name_and_parent_that_are_not_listed_are_in_the_sums(
    machine: Machine, clock: list[float]
) -> None:
    (machine.top / "proc/schedstat").write_text("version 15\ncpu0 0 0 0 0 0 0 0 9000000000 1\n")
    for pid in range(200, 200 + MANY):
        machine.process(pid, 100, 1)
        stat = machine.top / f"proc/{pid}/stat"
        stat.write_text(stat.read_text().replace(f"app{pid}", "rank").replace(") S 1", ") R 50"))
    made = under_pressure(machine, clock)
    for pid in range(200, 200 + MANY):
        machine.process(pid, 100.5, 1.25)
        stat = machine.top / f"proc/{pid}/stat"
        stat.write_text(stat.read_text().replace(f"app{pid}", "rank").replace(") S 1", ") R 50"))
    found = made.collect()
    assert len(found.consumers) == CONSUMERS_MAX
    assert sum(c.cpu_ms for c in found.consumers) == 500 * MANY
    assert sum(c.wait_ms or 0 for c in found.consumers) == 250 * MANY
    assert [c.more for c in found.consumers if c.more] == [MANY - CONSUMERS_MAX]
    assert found.waited_ms == 0


def test_of_a_busy_process_whose_first_thread_sleeps_all_threads_count(machine: Machine, clock: list[float]) -> None:
    (machine.top / "proc/schedstat").write_text("version 15\ncpu0 0 0 0 0 0 0 0 9000000000 1\n")
    machine.process(7, 10**6, 1)
    made = under_pressure(machine, clock)
    machine.process(7, 10**6 + 0.5, 1.25)
    assert [c.wait_ms for c in made.collect().consumers] == [250]


def test_our_own_wait_is_left_out(machine: Machine, clock: list[float]) -> None:
    (machine.top / "proc/schedstat").write_text("version 15\ncpu0 0 0 0 0 0 0 0 9000000000 1\n")
    machine.process(OURS, 1, 2.5)
    made = under_pressure(machine, clock)
    assert made.collect().delay_ms == 6_500


def test_a_process_that_began_in_between_has_waited_since(machine: Machine, clock: list[float]) -> None:
    made = under_pressure(machine, clock)
    machine.process(7, 0.5, 0.25, state="R")
    assert [c.wait_ms for c in made.collect().consumers] == [250]


def test_the_wait_of_a_listed_one_s_family_is_in_its_sum(machine: Machine, clock: list[float]) -> None:
    def family(waits: float) -> None:
        for pid in (200, 201):
            machine.process(pid, 1 + (waits if pid == 200 else 0), waits, state="R")
            stat = machine.top / f"proc/{pid}/stat"
            stat.write_text(stat.read_text().replace(f"app{pid}", "yes"))

    family(0)
    made = under_pressure(machine, clock)
    family(0.25)
    found = made.collect()
    assert [(c.pid, c.wait_ms, c.more) for c in found.consumers] == [(200, 500, 1)]
    assert found.waited_ms == 0
