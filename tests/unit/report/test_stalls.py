"""What a watch of stalls prints, against files that a person can read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.sample import Moment
from whodunnet.model.softnet import Interrupt, ReceivingDevice
from whodunnet.model.stall_window import SeenStall
from whodunnet.model.stalls import CpuDelays, Holder, Stack, Stall, Stalls, Task, delay_spans
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads
from whodunnet.report import stalls as module
from whodunnet.report.schema import schema_of
from whodunnet.report.stall_text import render_head, render_line, render_summary
from whodunnet.report.stalls import (
    SCHEMA,
    Causes,
    NotShown,
    StallSummary,
    cpu_summary,
    line_of,
    render_json_line,
    summary_of,
)
from whodunnet.rules.stall_shapes import Judged, judge_stall

from .golden import compare, printed

AT = datetime(2026, 11, 21, 8, 49, 2, 247_000, tzinfo=UTC)
BOOT = 5_000.0
MONITOR = Task(pid=412, tid=419, comm="cadvisor", thread="housekeeping", process_started_seconds=10.0)
WORKER = Task(pid=80, tid=80, comm="kworker/1:2", thread="kworker/1:2", process_started_seconds=1.0, kernel_thread=True)
KSOFTIRQD = replace(WORKER, pid=21, tid=21, comm="ksoftirqd/1", thread="ksoftirqd/1", duty="softirqs")
HOSTILE = replace(MONITOR, pid=9, tid=9, comm="\x1b[31m\n$(id)", thread="\u202ex")
READS = ("mem_cgroup_iter", "memory_stat_show", "seq_read_iter", "vfs_read", "ksys_read", "do_syscall_64")
WHO = Workloads(
    by_pid={
        412: Workload(
            process=Process(pid=412, comm="cadvisor"),
            container=Container(id="933d6619" * 8, name="cadvisor", runtime="containerd", cgroup="/kubepods/x"),
            pod=Pod(namespace="kube-system", name="cadvisor-7d9f", uid="1"),
        )
    }
)


def held(task: Task, samples: int, **other: Any) -> Holder:
    fields: dict[str, Any] = {
        "mode": "kernel", "system_call": None if task.kernel_thread else "read", "samples": samples,
        "seconds": samples / 250, "stayed": True, "stacks": (Stack(functions=READS, samples=samples),),
    }  # fmt: skip
    return Holder(task=task, **{**fields, **other})


def judged(*holders: Holder, wait: float = 0.15, stolen: bool = False, **other: Any) -> Judged:
    stall = Stall(
        ended_boot_seconds=BOOT - 0.5, cpu=other.pop("cpu", 1), kind=other.pop("kind", "late"), wait_seconds=wait,
        end=other.pop("end", held(KSOFTIRQD, 1)), holders=holders,
        samples=sum(h.samples for h in holders), expected_samples=round(wait * 250),
    )  # fmt: skip
    assert not other
    return judge_stall(SeenStall(at=Moment(AT, BOOT), stall=stall, workloads=WHO), 250, stolen)


STALLS = [
    judged(held(MONITOR, 35), held(WORKER, 1, softirq="TIMER")),
    judged(held(MONITOR, 20), wait=0.08, cpu=12),
    judged(held(WORKER, 300), wait=1.3),
    judged(held(HOSTILE, 37)),
    judged(held(MONITOR, 37, softirq="RCU", stacks=())),
    judged(*(held(replace(MONITOR, pid=n, tid=n), 2, mode="user", stacks=()) for n in range(50, 68))),
    judged(held(KSOFTIRQD, 37)),
    judged(held(MONITOR, 1), stolen=True),
    judged(wait=0.0112),
    judged(kind="silent", end=held(MONITOR, 1)),
]
DEVICES = {
    name: ReceivingDevice(queues=((),), interrupts=(Interrupt(number=4, name="rx", cpus=(1,)),))
    for name in ("eth0", "eth1\x1b", "eth2", "eth3")
}
LINES = [*(line_of(one, True, DEVICES) for one in STALLS), NotShown(at=AT, lost=3, suppressed=0, left_out=1)]
CPUS = (
    CpuDelays(cpu=1, delays=delay_spans([0, 9_000, 900, *[0] * 45, 3]), longest_seconds=0.15, stolen_seconds=0.0),
    CpuDelays(cpu=12, longest_seconds=0.0),
)


def summary(**other: Any) -> StallSummary:
    causes = Causes(machine_virtual=True)
    for one in STALLS:
        causes.add(one)
    last = Stalls(watched_seconds=60.04, threshold_seconds=0.01, **{"hertz": 250, **other})
    return summary_of(AT, last, causes, CPUS, 1, DEVICES)


def test_lines_of_text() -> None:
    compare("stalls", "\n".join([render_head(), *map(render_line, LINES)]) + "\n")


@pytest.mark.parametrize("width", [80, 100])
def test_the_summary(width: int) -> None:
    found = summary(lost=3, hertz=0, sampling_reason="CPU 0 cannot be sampled", symbols_reason="hidden")
    compare(f"stalls-summary.{width}", printed(lambda console: render_summary(found, console), width))


def test_a_quiet_watch_speaks_of_no_losses_and_no_causes() -> None:
    last = Stalls(watched_seconds=3.0, threshold_seconds=0.01, hertz=250)
    quiet = summary_of(AT, last, Causes(machine_virtual=False), CPUS[:1], 0)
    text = printed(lambda console: render_summary(quiet, console), 100)
    assert text.split("\n\n")[0].strip() == "Watched      3 s: 0 stalls of 10 ms or more"
    assert "what, and by whom" not in text


@pytest.mark.parametrize("line", [*LINES, summary()], ids=lambda line: type(line).__name__)
def test_json_is_one_line_of_ascii_that_its_schema_describes(line: Any) -> None:
    text = render_json_line(line)
    assert text.isascii()
    assert text.isprintable()
    document = json.loads(text)
    assert document["schema"] == SCHEMA
    jsonschema.validate(document, schema_of("stall"))


def test_whoever_was_only_interrupted_or_may_have_been_paused_is_no_culprit() -> None:
    culprits = [line.culprit for line in LINES if not isinstance(line, NotShown)]
    assert [c.process.pid if c and c.process else None for c in culprits] == [
        412, 412, 80, 9, None, None, None, None, None, None,
    ]  # fmt: skip
    assert culprits[0] == WHO.by_pid[412]


def test_a_pause_that_may_have_been_a_task_with_its_interrupts_off_says_so_and_is_apart() -> None:
    pause = judged(wait=0.0112)
    either, causes = replace(pause, untold=True), Causes(machine_virtual=True)
    for one in (pause, either):
        causes.add(one)
    assert [row.untold for row in causes.rows()] == [False, True]
    told = [render_line(line_of(one, True)) for one in (pause, either)]
    assert ["its interrupts were off" in text for text in told] == [False, True]


def test_a_stall_has_the_time_when_it_was_over() -> None:
    assert {(AT - line.at).total_seconds() for line in LINES if not isinstance(line, NotShown)} == {0.5}


def test_a_stall_says_whose_packets_come_there_as_far_as_it_is_known() -> None:
    assert [line.devices for line in LINES[:2] if not isinstance(line, NotShown)] == [tuple(DEVICES), ()]
    waits = judged(
        held(MONITOR, 37), kind="thread", end=held(replace(WORKER, thread="napi/ens5-8193", duty="packets"), 1)
    )
    assert line_of(waits, True, DEVICES).devices == ("ens5",)


def test_a_stall_longer_than_the_recorder_remembers_was_held_for_at_least_as_long() -> None:
    whole = line_of(judged(held(MONITOR, 37)), True)
    assert ["≥ 148 ms" in render_line(line) for line in (whole, replace(whole, samples_cut=True))] == [False, True]


def test_causes_are_ranked_by_the_delay_they_caused() -> None:
    rows = summary().causes
    assert [row.wait_seconds for row in rows] == sorted((row.wait_seconds for row in rows), reverse=True)
    (monitor,) = (row for row in rows if row.who == WHO.by_pid[412])
    assert (monitor.stalls, round(monitor.wait_seconds, 3), monitor.longest_seconds) == (2, 0.23, 0.15)
    assert (monitor.calls, monitor.processes) == ({"read": 2}, 1)
    assert summary().stalls + summary().gaps == len(STALLS) == sum(row.stalls for row in rows)
    assert summary().gaps == sum(one.stall.kind == "silent" for one in STALLS) == 1


def test_processes_of_one_name_are_one_cause_that_says_how_many() -> None:
    causes = Causes(machine_virtual=False)
    for pid in (50, 51, 51):
        causes.add(judged(held(replace(MONITOR, pid=pid, tid=pid), 37)))
    (row,) = causes.rows()
    assert (row.stalls, row.processes) == (3, 2)


def test_gaps_in_many_functions_are_one_cause() -> None:
    causes = Causes(machine_virtual=True)
    for n in range(10):
        causes.add(judged(kind="silent", end=held(MONITOR, 1, stacks=(Stack(functions=(f"f{n}",)),))))
    causes.add(judged(kind="silent", end=held(MONITOR, 1, stacks=(Stack(functions=("_raw_spin_lock_irq",)),))))
    (row,) = causes.rows()
    assert (row.shape, row.stalls, row.who) == ("irqs-disabled", 11, None)


def test_a_call_within_one_turn_names_nobody_until_one_was_longer() -> None:
    causes = Causes(machine_virtual=False)
    short, long = judged(held(MONITOR, 6), wait=0.024), judged(held(MONITOR, 9), wait=0.034)
    assert (line_of(short, False).shape, line_of(short, False).culprit) == ("syscall-hog", None)
    causes.add(short)
    assert [row.who for row in causes.rows()] == [None]
    causes.add(long)
    assert [(row.who, row.processes, row.stalls) for row in causes.rows()] == [(WHO.by_pid[412], 1, 2)]


def test_causes_beyond_the_bound_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAUSES_KEPT", 2)
    found = summary()
    assert len(found.causes) == 2
    assert found.other_stalls + sum(row.stalls for row in found.causes) == len(STALLS)


def test_no_quantile_is_above_the_longest() -> None:
    found = cpu_summary(CPUS[0])
    assert (found.delays, found.p50_seconds, found.p99_seconds) == (9_903, 2048 * 2 / 1e9, 2048 * 3 / 1e9)
    assert found.p999_seconds == found.p99_seconds
    high = cpu_summary(CpuDelays(cpu=0, delays=delay_spans([*[0] * 40, 1]), longest_seconds=0.0011))
    assert high.p50_seconds == 0.0011
    assert cpu_summary(CPUS[1]).p50_seconds is None


@given(st.text(max_size=40), st.text(max_size=40))
def test_names_of_any_kind_stay_printable(comm: str, function: str) -> None:
    task = replace(MONITOR, pid=5, comm=comm, thread=comm, kernel_thread=len(comm) % 2 == 1)
    line = line_of(judged(held(task, 37, stacks=(Stack(functions=(function,), samples=37),))), machine_virtual=False)
    assert all(text.isprintable() for text in render_line(line).split("\n"))
    assert "\n" not in render_json_line(line)
