"""What a sample of stalls holds, and what is said where there is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import pytest

from whodunnet.collectors import stalls as module
from whodunnet.collectors.owner_names import holders_met, longest_seen
from whodunnet.collectors.stalls import STALLS_LIMIT, FunctionNames, StallsCollector, longest, slimmed
from whodunnet.errors import UnreadableError
from whodunnet.kernel.bpf.stall_records import Record, Seen
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.stalls import CpuDelays, Holder, Stack, Stall, Task, delay_spans

MS = 1_000_000
TASK = Task(pid=7, tid=8, comm="monitor", thread="scrape", process_started_seconds=5.0)
SYMBOLS = "ffffffff81000000 T startup_64\nffffffff81001000 t memory_stat_show\nffffffff81002000 T vfs_read\n"
STAT = "cpu  1 2 3 4 5 6 7 {0} 0 0\ncpu0 1 2 3 4 5 6 7 {0} 0 0\n"
ADDRESS = 0xFFFFFFFF81001010


def record(ms: int, *addresses: int) -> Record:
    seen = Seen(at_ns=0, task=TASK, mode="kernel", system_call="read", softirq=None, switches=1, stack=addresses)
    return Record(kind="late", cpu=0, since_ns=0, until_ns=ms * MS, end=seen, samples=(seen, seen), cut=False)


class Recorder:
    """Has what the test put here."""

    records: ClassVar[list[list[Record]]] = []
    refuses: ClassVar[str | None] = None
    lost = suppressed = threads_watched = 0
    hertz = 250
    backlogs_followed = True
    sampling_reason = None
    attached_at = 0.0
    closed = 0

    def __init__(self, *_: object) -> None:
        if self.refuses is not None:
            raise UnreadableError(self.refuses, code="missing-capability", missing_capability="CAP_BPF")

    def refresh(self) -> None: ...

    def read(self) -> list[Record]:
        return self.records.pop(0) if self.records else []

    def read_delays(self) -> tuple[CpuDelays, ...]:
        return (CpuDelays(cpu=0, delays=delay_spans([3])), CpuDelays(cpu=1, delays=delay_spans([1])))

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "StallRecorder", Recorder)
    monkeypatch.setattr(Recorder, "records", [])
    monkeypatch.setattr(Recorder, "closed", 0)
    for name, text in (("kallsyms", SYMBOLS), ("modules", ""), ("stat", STAT.format(100))):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def collector(machine: Path) -> StallsCollector:
    return StallsCollector(Roots(proc=machine), read_support(Roots()))


def test_a_sample_has_the_stalls_since_the_one_before_in_words(collector: StallsCollector) -> None:
    Recorder.records[:] = [[record(150, ADDRESS)], [record(20, 0x10)], []]
    sample = collector.collect()
    assert [s.wait_seconds for s in sample.stalls] == [0.15, 0.02]
    assert [s.holders[0].stacks for s in sample.stalls] == [
        (Stack(functions=("memory_stat_show",), samples=2),), (Stack(functions=(None,), samples=2),),
    ]  # fmt: skip
    assert (sample.hertz, sample.threshold_seconds, sample.symbols_reason) == (250, 0.01, None)
    assert collector.collect().stalls == ()


def test_what_the_hypervisor_takes_is_counted_from_the_start(collector: StallsCollector, machine: Path) -> None:
    collector.start()
    ticks = 25 * os.sysconf("SC_CLK_TCK") // 100
    (machine / "stat").write_text(STAT.format(100 + ticks))
    assert [cpu.stolen_seconds for cpu in collector.collect().cpus] == [0.25, None]
    (machine / "stat").unlink()
    assert [cpu.stolen_seconds for cpu in collector.collect().cpus] == [None, None]


def test_names_of_functions_are_read_when_they_are_needed_and_once(collector: StallsCollector, machine: Path) -> None:
    (machine / "kallsyms").rename(machine / "later")
    assert collector.collect().symbols_reason is None
    (machine / "later").rename(machine / "kallsyms")
    Recorder.records[:] = [[record(20, ADDRESS)]]
    collector.collect()
    (machine / "kallsyms").unlink()
    Recorder.records[:] = [[record(20, ADDRESS)]]
    assert collector.collect().symbols_reason is None


def test_they_are_read_anew_when_there_are_other_modules(machine: Path) -> None:
    names = FunctionNames(Roots(proc=machine))
    names.refresh()
    assert names.name(ADDRESS) == "memory_stat_show"
    (machine / "kallsyms").write_text(SYMBOLS.replace("memory_stat_show", "other"))
    (machine / "modules").write_text("nf_conntrack 1 0 - Live 0xffffffffc0000000\n")
    names.refresh()
    assert names.name(ADDRESS) == "other"
    (machine / "kallsyms").unlink()
    (machine / "modules").write_text("nf_conntrack 1 5 - Live 0xffffffffc0000000\n")
    names.refresh()  # only the count of users is another one
    assert names.name(ADDRESS) == "other"


def test_names_that_are_hidden_are_told_and_stalls_are_there_all_the_same(
    collector: StallsCollector, machine: Path
) -> None:
    (machine / "kallsyms").write_text("0000000000000000 T startup_64\n")
    Recorder.records[:] = [[record(150, ADDRESS)]]
    sample = collector.collect()
    assert sample.symbols_reason is not None
    assert "CAP_SYSLOG" in sample.symbols_reason
    assert sample.stalls[0].holders[0].stacks == (Stack(functions=(None,), samples=2),)


def test_where_bpf_is_refused_the_reason_is_given_each_time(
    collector: StallsCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "refuses", "loading is not permitted")
    for _ in range(2):
        with pytest.raises(UnreadableError, match="loading is not permitted"):
            collector.collect()
    with pytest.raises(UnreadableError, match="loading is not permitted"):
        collector.wait(0.0)
    collector.close()
    assert Recorder.closed == 0


def test_without_bpf_nothing_is_loaded(machine: Path) -> None:
    collector = StallsCollector(Roots(proc=machine), read_support(Roots()), bpf=False)
    with pytest.raises(UnreadableError, match="--no-bpf"):
        collector.collect()


def test_it_is_closed_with_the_recorder(collector: StallsCollector) -> None:
    collector.close()
    collector.start()
    collector.close()
    assert Recorder.closed == 1


# --- Bounds -------------------------------------------------------------------------------------------------------


def stall(wait: float, *stacks: Stack) -> Stall:
    held = Holder(task=TASK, mode="kernel", samples=1, seconds=0.0, stacks=stacks)
    return Stall(ended_boot_seconds=0.0, cpu=0, kind="late", wait_seconds=wait, end=held, holders=(held,))


def test_the_longest_are_kept_in_their_order_and_the_others_counted(collector: StallsCollector) -> None:
    Recorder.records[:] = [[record(20 + n) for n in range(STALLS_LIMIT)], [record(500), record(10)]]
    sample = collector.collect()
    assert (len(sample.stalls), sample.left_out) == (STALLS_LIMIT, 2)
    waits = [round(s.wait_seconds, 3) for s in sample.stalls]
    assert (waits[0], waits[-1]) == (0.021, 0.5)
    assert [s.wait_seconds for s in longest([stall(w) for w in (1.0, 3.0, 2.0, 3.0)], 2)] == [3.0, 3.0]


def test_the_commonest_stacks_of_each_are_kept() -> None:
    found = slimmed(stall(1.0, *(Stack(functions=(str(n),)) for n in range(8))))
    assert [[s.functions for s in h.stacks] for h in (found.end, *found.holders)] == [[("0",), ("1",), ("2",)]] * 2


# --- Who ----------------------------------------------------------------------------------------------------------


def met(seconds: float, **fields: Any) -> Stall:
    task = Task(**{"pid": 7, "tid": 7, "comm": "a", "thread": "a", "process_started_seconds": 5.0, **fields})
    holder = Holder(task=task, mode="kernel", samples=1, seconds=seconds)
    return Stall(ended_boot_seconds=0.0, cpu=0, kind="late", wait_seconds=1.0, end=holder, holders=(holder,))


def test_whoever_held_a_cpu_for_longest_is_looked_up_first_and_the_idle_never() -> None:
    stalls = [met(0.1, pid=1), met(0.3, pid=2), met(0.9, pid=3, duty="idle"), met(0.1, pid=1), met(0.2, pid=None)]
    tasks = longest_seen(stalls)
    assert [task.pid for task in tasks] == [2, 1, None]
    assert list(holders_met(tasks, 1, apart_from=())) == [2]
    assert list(holders_met(tasks, 9, apart_from=[2])) == [1]


def test_of_a_pid_that_was_given_twice_the_newer_process_is_looked_up() -> None:
    tasks = longest_seen([met(0.3, comm="old"), met(0.1, comm="new", process_started_seconds=9.0)])
    (owner,) = holders_met(tasks, 9, apart_from=()).values()
    assert (owner.comm, owner.started_seconds) == ("new", 9.0)
