"""A CPU that stands still: the hypervisor took it, nobody says why, or interrupts are off."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.workload import Container, Workload, Workloads
from whodunnet.rules.stall_evidence import LONG_BY, READS_MEMORY_STAT
from whodunnet.rules.stall_findings import WHY_LONG

from .nodes import answers
from .stalled import (
    ENABLES,
    MONITOR,
    READS,
    RULE,
    blamed,
    found,
    gap,
    held,
    said,
    stall,
    stolen,
    watched,
)


def test_a_cpu_that_the_hypervisor_took_is_nobodys_fault_here() -> None:
    pause = stall(held(MONITOR, 4))
    assert said(pause, cpus=stolen(0.14)) == [("steal", "likely", "warning")]
    assert blamed(pause, cpus=stolen(0.14)) == []


@pytest.mark.parametrize(("seconds", "told"), [(4.5, True), (4.6, False)])
def test_little_that_the_hypervisor_took_is_counted_only(seconds: float, told: bool) -> None:
    pause = stall(held(MONITOR, 4), wait=0.09)
    answer = answers(watched(pause, cpus=stolen(0.08, 0.09), seconds=seconds), RULE)
    assert [isinstance(a, Cleared) for a in answer] == [not told]
    if isinstance(answer[0], Cleared):
        assert "no stall of 10 ms in 4.6 s but in pauses, longest 90 ms" in answer[0].sensitivity
        assert "once a CPU stood still" in answer[0].sensitivity


@pytest.mark.parametrize(("wait", "severities"), [(0.1, ["info"]), (0.099, [])])
def test_one_long_time_that_the_hypervisor_took_is_worth_knowing(wait: float, severities: list[str]) -> None:
    pause = stall(held(MONITOR, 4), wait=wait)
    assert [f.severity for f in found(pause, cpus=stolen(0.09, wait), seconds=60)] == severities


@pytest.mark.parametrize(("wait", "seen"), [(0.1, False), (0.099, True)])
def test_of_a_cpu_that_stood_still_for_long_and_nobody_says_why_nobody_is_cleared(wait: float, seen: bool) -> None:
    (answer,) = answers(watched(stall(held(MONITOR, 4), wait=wait)), RULE)
    assert isinstance(answer, Cleared if seen else NotChecked)
    text = answer.sensitivity if isinstance(answer, Cleared) else answer.reason
    assert "once a CPU stood still" in text
    assert text.startswith("who held the CPU was not seen: ") is not seen


def test_of_a_stall_longer_than_the_recorder_the_end_is_enough() -> None:
    very_long = stall(held(MONITOR, 128), wait=4.0, samples_cut=True)
    assert said(very_long) == [("syscall-hog", "proven", "critical")]
    assert blamed(very_long, cpus=stolen(0.02)) == ["app7"]


def test_whoever_held_the_cpu_for_longer_than_is_remembered_did_so_at_least_as_long() -> None:
    (cut,) = found(stall(held(MONITOR, 128), wait=4.0, samples_cut=True))
    (whole,) = found(stall(held(MONITOR, 37)))
    told = [next(e.statement for e in f.evidence if e.unit == "samples") for f in (cut, whole)]
    assert [told[0].endswith("those of it, at least 512 ms"), told[1].endswith("those of it, about 148 ms")] == [
        True
    ] * 2
    assert ["for at least as long as it was met" in " ".join(f.explanation) for f in (cut, whole)] == [True, False]


def test_steal_of_other_cpus_excuses_nobody() -> None:
    cpus = tuple(replace(cpu, cpu=2) for cpu in stolen(9.0))
    assert blamed(stall(held(MONITOR, 37)), cpus=cpus) == ["app7"]
    assert said(stall(held(MONITOR, 4)), cpus=cpus) == []


@pytest.mark.parametrize(("samples", "shape"), [(1, "steal"), (2, "softirq-hog")])
def test_a_run_of_net_rx_with_half_of_its_looks_is_long_whatever_was_taken_between_the_readings(
    samples: int, shape: str
) -> None:
    """When it was taken is not known: a run that is long by itself has to be found on such a machine too."""
    met = held(MONITOR, samples, softirq="NET_RX", functions=("__netif_receive_skb_one_core",))
    run = stall(met, wait=0.019, kind="long", expected_samples=4)
    told = found(*[run] * 4, cpus=stolen(0.5, 0.0018), received=(90, 0))
    assert [(f.shape, f.confidence) for f in told] == [(shape, "proven" if shape != "steal" else "likely")]


def test_interrupts_that_may_have_been_off_on_a_virtual_machine_name_no_one() -> None:
    assert said(*[gap()] * 5) == [("irqs-disabled", "possible", "info")]
    assert said(*[gap()] * 5, virtual=None) == [("irqs-disabled", "possible", "info")]
    assert blamed(*[gap()] * 5) == []
    assert "app7" not in found(*[gap()] * 5)[0].title
    assert found(*[gap()] * 4) == []
    assert found(*[gap(f"any_{n}") for n in range(9)]) == []


def test_on_a_real_machine_interrupts_off_name_who_kept_them() -> None:
    assert said(*[gap()] * 5, virtual=False) == [("irqs-disabled", "likely", "warning")]
    assert blamed(*[gap()] * 5, virtual=False) == ["app7"]
    assert found(*[gap()] * 4, virtual=False) == []
    long = replace(gap(), wait_seconds=0.1)
    assert blamed(long, gap(), virtual=False) == ["app7"]
    assert found(long, virtual=False) == []


def test_programs_of_one_name_in_two_containers_are_not_one() -> None:
    homes = {n: Workload(container=Container(id=f"c{n}", cgroup=f"/c{n}")) for n in (1, 2)}
    gaps = [gap(task=replace(MONITOR, pid=100 + n, tid=100 + n, cgroup_id=n)) for n in (1, 2)]
    told = found(*gaps * 5, virtual=False, workloads=Workloads(by_cgroup_id=homes))
    assert [p.container for f in told for p in f.parties if p.role == "culprit"] == [
        h.container for h in homes.values()
    ]


def test_who_had_interrupts_off_is_in_the_title_with_the_call_where_that_is_sure_enough() -> None:
    titles = [found(*[gap()] * 5, virtual=virtual)[0].title for virtual in (True, False)]
    assert titles[0].endswith(", 5 times, in serial8250_console_write")
    assert titles[1] == f"{titles[0]}, while app7 was in read()"


def test_gaps_and_waits_with_few_samples_together_are_called_both() -> None:
    both = [*[gap(functions=READS)] * 4, *[stall(held(MONITOR, 4))] * 4]
    told = [found(*stalls)[0].evidence[0].statement for stalls in (both, [gap()] * 5)]
    assert told[0].startswith("Times without a sample or, while packets waited, with few, while one task kept the CPU")
    assert told[1].startswith("Times without a sample, while one task kept the CPU")


def test_where_interrupts_come_back_on_is_told_because_a_pause_ends_anywhere() -> None:
    (finding,) = found(*[gap(functions=ENABLES)] * 5, gap(functions=ENABLES[1:]))
    told = [(e.value, e.limit) for e in finding.evidence if "where interrupts come back on" in e.statement]
    assert told == [(5, 6)]
    assert not [e for e in found(*[gap()] * 5)[0].evidence if "come back on" in e.statement]


def test_a_flush_that_is_inlined_is_known_by_the_interrupts_that_are_off() -> None:
    """In 6.1 a read of memory.stat shows no function of its own for it; it does nothing else without interrupts."""
    (finding,) = found(*[gap(functions=ENABLES)] * 5)
    assert LONG_BY["flush"] in [e.statement for e in finding.evidence]
    assert WHY_LONG["flush"] in finding.explanation
    (walk,) = found(*[gap(functions=READS)] * 5)
    assert LONG_BY["walk"] in [e.statement for e in walk.evidence]


def test_few_samples_again_and_again_in_one_function_are_interrupts_that_are_off() -> None:
    flush = stall(held(MONITOR, 4))
    assert said(*[flush] * 5) == [("irqs-disabled", "possible", "info")]
    assert said(*[flush] * 5, virtual=False) == [("irqs-disabled", "likely", "warning")]
    (finding,) = found(*[flush] * 5)
    assert READS_MEMORY_STAT in [e.statement for e in finding.evidence]
    assert found(*[flush] * 4) == []
    in_user_mode = stall(held(MONITOR, 4, mode="user", functions=None))
    assert found(*[in_user_mode] * 9, virtual=False) == []


@pytest.mark.parametrize(
    ("other", "last"), [({"mode": "user"}, {}), ({}, {"cpus": stolen(0.3)})], ids=["in user mode", "stolen"]
)
def test_a_gap_that_is_a_pause_is_no_finding(other: dict[str, Any], last: dict[str, Any]) -> None:
    assert found(*[gap(**other)] * 9, virtual=False, **last) == []
