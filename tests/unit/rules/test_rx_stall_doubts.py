"""How bad a stall is and how sure, what a clearing says, and what leaves it open."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.stalls import CpuDelays
from whodunnet.rules.rx_stall import missed

from .nodes import moment
from .receiving import softnet, work
from .stalled import (
    ALLOWS,
    DUMPS,
    ENABLES,
    ENTRY,
    LONG,
    MONITOR,
    NAPI,
    OTHER,
    RULE,
    blamed,
    cleared,
    ended,
    found,
    gap,
    held,
    not_checked,
    said,
    sample,
    stall,
    watched,
)


@pytest.mark.parametrize(
    ("waits", "severity"),
    [
        ((0.099,), "warning"),
        ((0.1,), "critical"),
        ((0.0149,) * 20, "warning"),
        ((0.0151,) * 20, "critical"),
        ((0.029,), None),
        ((0.03,), "warning"),
        ((0.012, 0.012), "warning"),
    ],
)
def test_severity_goes_by_length_and_frequency(waits: Sequence[float], severity: str | None) -> None:
    end = ended(MONITOR, ALLOWS)
    stalls = [stall(held(MONITOR, max(round(w * 250), 3), functions=DUMPS), wait=w, end=end) for w in waits]
    assert [f.severity for f in found(*stalls)] == ([severity] if severity else [])


def test_many_calls_within_one_turn_are_not_one_long_call() -> None:
    many = [held(MONITOR, 2, system_call=call) for call in ("read", "write", "sendto")]
    short = stall(*many, wait=0.024)
    assert said(short, short) == [("overload", "possible", "info")]
    same = stall(held(MONITOR, 6), wait=0.024)
    assert said(*[same] * 20) == [("syscall-hog", "possible", "info")]
    assert blamed(*[same] * 20) == []
    assert [p.role for p in found(*[same] * 20)[0].parties] == ["holder", "victim"]
    assert said(same, stall(held(MONITOR, 8), wait=0.032)) == [("syscall-hog", "proven", "warning")]


def test_a_thread_that_waited_may_have_waited_elsewhere() -> None:
    assert said(stall(held(MONITOR, 37), kind="thread", end=ended(NAPI))) == [("syscall-hog", "likely", "critical")]


def test_few_samples_or_a_part_of_them_are_likely_only() -> None:
    dump = stall(held(MONITOR, 2, functions=DUMPS), wait=0.011, end=ended(MONITOR, ALLOWS))
    assert said(dump) == []
    assert said(stall(held(MONITOR, 4), wait=0.03, samples_cut=True)) == [("syscall-hog", "likely", "warning")]
    part = stall(held(MONITOR, 25), held(OTHER, 12))
    assert said(part) == [("syscall-hog", "likely", "critical")]


def test_cpus_that_are_not_sampled_beside_others_that_are_can_be_told() -> None:
    why = "CPU 1 cannot be sampled (perf_event_open): Too many open files"
    blind = stall(wait=0.2, expected_samples=50)
    told = not_checked(watched(blind, sampling_reason=why)).reason
    assert told.startswith("who held the CPU was not seen: ")
    assert f"; some CPUs are not sampled ({why})" in told
    (finding,) = found(stall(held(MONITOR, 37)), blind, sampling_reason=why)
    assert any(why in line for line in finding.explanation)


def test_without_samples_the_end_alone_blames_nobody_for_sure() -> None:
    dump = stall(wait=0.05, end=ended(MONITOR, ALLOWS))
    assert said(dump, hertz=0) == [("softirqs-disabled", "possible", "info")]
    (finding,) = found(dump, hertz=0, sampling_reason="CPU 0 cannot be sampled")
    assert [p.role for p in finding.parties] == ["holder", "victim"]
    assert any("CPU 0 cannot be sampled" in line for line in finding.explanation)


def test_functions_without_names_are_told_and_change_nothing_else() -> None:
    nameless = stall(held(MONITOR, 37, functions=(None, None)))
    (finding,) = found(nameless, symbols_reason="the kernel hides them")
    assert (finding.shape, finding.confidence) == ("syscall-hog", "proven")
    assert any("the kernel hides them" in line for line in finding.explanation)


def test_more_culprits_than_are_listed_are_counted() -> None:
    stalls = [stall(held(replace(MONITOR, pid=n, tid=n, comm=f"c{n}"), 37)) for n in range(50, 55)]
    listed = found(*stalls)
    assert len(listed) == int(ENTRY.limit("listed_cases"))
    assert all(any("2 more like this" in line for line in f.explanation) for f in listed)


def test_whoever_is_named_is_not_left_out_for_those_who_are_not() -> None:
    rows = [
        stall(held(MONITOR, 38, softirq=softirq, functions=(f"f{n}",)))
        for n, softirq in enumerate(("TIMER", "RCU", "BLOCK", "SCHED"))
    ]
    short = stall(held(MONITOR, 8), wait=0.031)
    listed = found(*rows, short)
    assert [f.shape for f in listed] == ["softirq-hog", "softirq-hog", "syscall-hog"]
    reads = found(*rows, *[gap(functions=ENABLES)] * 5)
    assert [f.shape for f in reads] == ["softirq-hog", "softirq-hog", "irqs-disabled"]
    assert all(any("2 more like this" in line for line in f.explanation) for f in (*listed, *reads))


def test_a_clearing_says_what_the_window_could_have_seen_and_the_longest_it_saw() -> None:
    answer = cleared(watched())
    assert answer.sensitivity == (
        "no stall of 10 ms in 3 s, longest 1.8 ms; one a minute would be missed 19 times in 20"
    )
    assert [(e.value, e.limit, e.comparison) for e in answer.evidence] == [(0.0018, 0.01, "<"), (3600, None, None)]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.1, "one a minute would be missed 19 times in 20"),
        (60, "one a minute would be missed 7 times in 20"),
        (300, "one an hour would be missed 18 times in 20"),
        (86_400, "one a day would be missed 7 times in 20"),
        (864_000, "one a day would be seen"),
    ],
)
def test_a_longer_window_misses_rarer_stalls(seconds: float, words: str) -> None:
    assert missed(seconds) == words


@pytest.mark.parametrize("seconds", [3.0, 20.0, 60.0, 120.0])
def test_how_often_a_stall_is_missed_is_how_often_none_falls_into_the_window(seconds: float) -> None:
    """Stalls that come at random, one a minute on average, in 20,000 windows."""
    dice = Random(7)
    none = sum(dice.expovariate(1 / 60) > seconds for _ in range(20_000))
    said_of_20 = int(missed(seconds).removeprefix("one a minute would be missed ").split()[0])
    assert abs(said_of_20 - 20 * none / 20_000) < 0.7


def test_one_short_stall_is_counted_in_the_clearing() -> None:
    assert cleared(watched(stall(held(MONITOR, 3), wait=0.012))).sensitivity.startswith(
        "1 stall of 10 ms or more in 3 s, longest 12 ms; "
    )


def test_a_window_without_a_packet_says_so() -> None:
    assert "no packet was received" in cleared(watched(cpus=())).sensitivity


@pytest.mark.parametrize(
    "last",
    [{"lost": 3}, {"suppressed": 3}, {"left_out": 3}, {"cpus": (CpuDelays(cpu=1, delays=LONG),)}],
    ids=["lost", "suppressed", "left out", "in other snapshots"],
)
def test_stalls_that_were_counted_and_not_kept_clear_nobody(last: dict[str, Any]) -> None:
    answer = not_checked(watched(**last))
    assert "not kept" in answer.reason
    assert diagnose(watched(**last), [RULE]).outcome == "incomplete"


def test_one_reading_is_no_window() -> None:
    at = Snapshot(at=moment(0), samples={"stalls": sample(stall(held(MONITOR, 37)), seconds=0.0)})
    answer = not_checked(replace(watched(), snapshots=(at,)))
    assert "look for longer" in answer.reason


def test_stalls_from_before_the_window_are_not_in_it() -> None:
    node = watched()
    first = replace(node.snapshots[0], samples={"stalls": sample(stall(held(MONITOR, 37)), seconds=0.0)})
    assert cleared(replace(node, snapshots=(first, node.snapshots[1])))


def test_without_bpf_it_is_not_checked_and_says_why() -> None:
    failure = Failure(code="missing-capability", reason="BPF needs CAP_BPF", missing_capability="CAP_BPF")
    node = watched()
    blind = tuple(replace(s, samples={"stalls": failure}) for s in node.snapshots)
    answer = not_checked(replace(node, snapshots=blind))
    assert (answer.missing_capability, answer.reason) == ("CAP_BPF", "BPF needs CAP_BPF")


@pytest.mark.parametrize(
    ("wait_ns", "left"),
    [
        (2_100_000_000, ": of 3 s the ksoftirqd of CPU 1 was ready for 2.1 s and something else ran"),
        (0, ": no ksoftirqd had to wait for its CPU in 3 s"),
        (None, ", and the scheduler's are not in sight"),
    ],
)
def test_without_bpf_the_counters_that_are_left_are_told(wait_ns: int | None, left: str) -> None:
    failure = Failure(code="missing-capability", reason="BPF needs CAP_BPF", missing_capability="CAP_BPF")
    before = softnet(work(), work() if wait_ns is not None else work(thread_wait_ns=None))
    cpus = [work(thread_wait_ns=None if wait_ns is None else 0), work(thread_wait_ns=wait_ns)]
    counted = (before, softnet(*cpus))
    snapshots = tuple(
        replace(s, samples={"stalls": failure, "softnet": sample})
        for s, sample in zip(watched().snapshots, counted, strict=True)
    )
    answer = not_checked(replace(watched(), snapshots=snapshots))
    assert answer.reason == f"BPF needs CAP_BPF; only counters of softnet and the scheduler are left{left}"
