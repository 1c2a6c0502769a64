"""zombie-cgroups: how many deleted memory cgroups are kept, which by itself is no fault."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.finding import Cleared, NotApplicable, NotChecked
from whodunnet.model.memory_cgroups import DyingBelow, MemoryCgroups
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.stalls import CpuDelays, Stalls
from whodunnet.recording.reader import load
from whodunnet.report.text import render_text
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.zombie_cgroups import CHANGED, IN_USE

from .nodes import NODE, answers, finding, findings, moment

RULE = "zombie-cgroups"
INCIDENT = Path(__file__).parents[2] / "fixtures/nodes/incident-2-stalls/recording.jsonl"
MANY = int(catalogue()[RULE].limit("min_dying"))


def cgroups(dying: int | None, **other: Any) -> MemoryCgroups:
    return MemoryCgroups(**{"version": "v2", "live": 300, "dying": dying, **other})


def node(*samples: MemoryCgroups, seconds: float = 10.0) -> Recording:
    step = seconds / max(len(samples) - 1, 1)
    return Recording(
        node=NODE,
        snapshots=tuple(Snapshot(at=moment(i * step), samples={"memory_cgroups": s}) for i, s in enumerate(samples)),
    )


def test_many_are_information_and_no_warning() -> None:
    found = finding(node(cgroups(48_000), cgroups(48_000)), RULE)
    assert (found.severity, found.claim, found.confidence) == ("info", "holds", "proven")
    assert found.title == "The kernel still keeps 48,000 deleted memory cgroups (300 are in use)"
    assert found.parties == ()
    assert [(e.value, e.limit) for e in found.evidence] == [(48_000, MANY), (300, None)]


def test_fewer_than_the_limit_are_cleared_with_their_number() -> None:
    assert len(findings(node(cgroups(MANY)), RULE)) == 1
    (answer,) = answers(node(cgroups(MANY - 1)), RULE)
    assert isinstance(answer, Cleared)
    assert [(e.value, e.comparison) for e in answer.evidence] == [(MANY - 1, "<")]


@pytest.mark.parametrize(
    ("samples", "confidence"),
    [
        ((cgroups(MANY),), "possible"),
        ((cgroups(MANY), cgroups(MANY, counted_seconds_ago=10.0)), "possible"),
        ((cgroups(MANY), cgroups(MANY, counted_seconds_ago=4.0)), "proven"),
        ((cgroups(MANY - 1), cgroups(MANY)), "possible"),
    ],
)
def test_only_two_counts_prove_it(samples: tuple[MemoryCgroups, ...], confidence: str) -> None:
    assert finding(node(*samples), RULE).confidence == confidence


def test_how_many_came_meanwhile_is_said() -> None:
    found = finding(node(cgroups(MANY), cgroups(MANY + 90), seconds=600), RULE)
    assert (found.evidence[2].statement, found.evidence[2].value) == ("More of them than 600 s before", 90)
    found = finding(node(cgroups(MANY + 7), cgroups(MANY), seconds=600), RULE)
    assert (found.evidence[2].statement, found.evidence[2].value) == ("Fewer than 600 s before", 7)


def test_where_most_were_is_shown_and_offered_for_reclaim() -> None:
    most = (DyingBelow("/system.slice", 4_000), DyingBelow("/system.slice/cron.service", 3_900))
    found = finding(node(cgroups(5_000, most=most, reclaim="memory.reclaim")), RULE)
    assert [e.statement for e in found.evidence[2:]] == [
        "Of them below /system.slice", "Of them below /system.slice/cron.service",
    ]  # fmt: skip
    assert found.remedies[1].command == "echo 64M > /sys/fs/cgroup/system.slice/cron.service/memory.reclaim"


def test_remedies_are_what_this_kernel_offers_and_say_their_danger() -> None:
    old = finding(node(cgroups(MANY, version="v1", reclaim="memory.force_empty")), RULE)
    assert old.remedies[1].command == "echo 0 > /sys/fs/cgroup/memory/CGROUP/memory.force_empty"
    none = finding(node(cgroups(MANY, reclaim=None)), RULE)
    assert len(none.remedies) == len(old.remedies) - 1
    assert all("may itself delay packets" in r.risk for r in old.remedies[1:3])


def test_the_time_of_a_read_is_shown_where_there_was_one() -> None:
    (answer,) = answers(node(cgroups(5, stat_seconds=0.0123)), RULE)
    assert isinstance(answer, Cleared)
    assert [(e.value, e.unit) for e in answer.evidence] == [(5, "cgroups"), (12.3, "ms")]


@pytest.mark.parametrize(
    ("sample", "code"),
    [
        (cgroups(None), "unsupported"),
        (cgroups(None, version="v1", live=None), "unreadable"),
        (cgroups(None, version="v1", part=True), "missing-file"),
    ],
)
def test_an_unknown_number_is_not_checked(sample: MemoryCgroups, code: str) -> None:
    (answer,) = answers(node(sample), RULE)
    assert isinstance(answer, NotChecked)
    assert answer.code == code


def test_a_kernel_without_memory_cgroups() -> None:
    assert [type(a) for a in answers(node(MemoryCgroups(version=None)), RULE)] == [NotApplicable]


def test_a_hostile_path_is_cleaned_and_quoted() -> None:
    most = (DyingBelow("/$(id)\x1b[2J", 3_000),)
    found = finding(node(cgroups(3_000, most=most, reclaim="memory.reclaim")), RULE)
    assert "\x1b" not in found.evidence[2].statement
    assert "'/sys/fs/cgroup/$(id)" in (found.remedies[1].command or "")


def incident(sample: MemoryCgroups) -> Recording:
    """The published incident, with what was not published: how many there were."""
    recording = load(INCIDENT)
    snapshots = tuple(replace(s, samples={**s.samples, "memory_cgroups": sample}) for s in recording.snapshots)
    return replace(recording, snapshots=snapshots)


def test_as_the_cause_of_a_stall_they_stand_above_it_and_are_as_grave() -> None:
    told = diagnose(incident(cgroups(48_000, version="v1", reclaim="memory.force_empty")), list(catalogue()))
    assert [(f.rule, f.severity) for f in told.findings] == [(RULE, "critical"), ("rx-stall", "critical")]
    cause, stalled = told.findings
    assert stalled.caused_by == (cause.id,)
    assert [p.role for p in cause.parties] == ["victim"]
    out = io.StringIO()
    render_text(told, verbose=False, console=Console(file=out, width=120, force_terminal=False))
    text = " ".join(out.getvalue().split())
    first = text.index("still keeps 48,000 deleted memory cgroups")
    assert first < text.index("What follows from it") < text.index("held CPU 11 in read() for up to 228 ms")
    assert "echo 0 > /sys/fs/cgroup/memory/CGROUP/memory.force_empty" in text
    assert "nothing here says that anything is slow" not in text


def test_few_of_them_are_not_the_cause() -> None:
    (stalled,) = diagnose(incident(cgroups(MANY - 1)), list(catalogue())).findings
    assert (stalled.rule, stalled.caused_by) == ("rx-stall", ())


@pytest.mark.parametrize(
    ("counts", "ago", "comparison"),
    [
        ([3_000, 3_600, 3_700], 0.0, ">="),
        ([3_000, 3_299], 0.0, "<"),
        ([3_600, 3_000], 0.0, ">="),
        ([3_000, 3_600], 1.0, None),  # one count, told twice
        ([3_000, 3_000], 0.0, None),
    ],
)
def test_how_many_came_or_went_between_two_flushes_is_told(
    counts: list[int], ago: float, comparison: str | None
) -> None:
    """In steps of two seconds, against 300 in use."""
    samples = [cgroups(n, counted_seconds_ago=ago * 2 * i) for i, n in enumerate(counts)]
    found = finding(node(*samples, seconds=2.0 * (len(counts) - 1)), RULE)
    assert [e.comparison for e in found.evidence if e.statement == CHANGED] == ([comparison] if comparison else [])


@pytest.mark.parametrize(
    ("other", "cpus", "seconds"),
    [
        ({}, 2, 0.012),
        ({"live": 2}, 2, 0.00008),
        ({"live": None}, 2, None),
        ({"part": True}, 2, None),
        ({}, 0, None),
    ],
)
def test_what_sums_of_those_in_use_take_at_most_is_told_where_all_are_in_sight(
    other: dict[str, Any], cpus: int, seconds: float | None
) -> None:
    read = Stalls(
        cpus=tuple(CpuDelays(cpu=n, samples=9) for n in range(cpus)), watched_seconds=3.0, threshold_seconds=0.01
    )
    recording = node(cgroups(3_000, **other), cgroups(3_000, **other))
    snapshots = tuple(replace(s, samples={**s.samples, "stalls": read}) for s in recording.snapshots)
    told = finding(replace(recording, snapshots=snapshots), RULE).evidence
    assert [(e.value, e.unit) for e in told if e.statement == IN_USE] == ([(seconds, "seconds")] if seconds else [])
    assert IN_USE not in [e.statement for e in finding(recording, RULE).evidence]


def test_over_a_longer_time_only_a_part_of_them_came_between_two_flushes() -> None:
    found = finding(node(cgroups(3_000), cgroups(6_000), seconds=10), RULE)
    assert [(e.value, e.limit) for e in found.evidence if e.statement == CHANGED] == [(600, 300)]
