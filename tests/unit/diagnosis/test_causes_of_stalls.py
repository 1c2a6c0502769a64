"""Packets that wait for a CPU: what causes the stall, and what the stall causes."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from whodunnet.diagnosis.causes import link, rank
from whodunnet.model.finding import Evidence, Finding, Party
from whodunnet.rules.softnet_drops import MEANWHILE
from whodunnet.rules.stall_evidence import LONG_BY, READS_MEMORY_STAT, TOGETHER
from whodunnet.rules.zombie_cgroups import CHANGED, IN_USE

from .linking import AT, causes, finding

NODE_VICTIM = Party(role="victim", node="n1", cpus=(1,), effect="received packets waited")


def reading(statement: str, value: int, limit: int, comparison: str | None = "of") -> Evidence:
    return Evidence(
        statement=statement, value=value, unit="samples", limit=limit, comparison=comparison, source="stalls", at=AT,
        repeat="whodunnet stalls",
    )  # fmt: skip


def zombies(*evidence: Evidence) -> Finding:
    return finding(
        "zombies", "zombie-cgroups", would_explain=("rx-stall",), confidence="possible", severity="info",
        title="48,000 are kept", evidence=evidence,
    )  # fmt: skip


def stalled(*evidence: Evidence, **other: Any) -> Finding:
    fields: dict[str, Any] = {
        "parties": (NODE_VICTIM,), "would_explain": ("softnet-drops",), "shape": "syscall-hog", **other,
    }  # fmt: skip
    return finding("stall", "rx-stall", evidence=evidence, **fields)


@pytest.mark.parametrize(("samples", "linked"), [(20, True), (19, False)])
def test_cgroups_that_a_stalled_reader_walks_are_the_cause_of_the_stall(samples: int, linked: bool) -> None:
    """Whatever else is in its functions: deleted cgroups alone hurt nobody."""
    walk = reading(LONG_BY["walk"], samples, 40)
    assert causes(zombies(), stalled(walk))["stall"] == (("zombies",) if linked else ())
    assert causes(zombies(), stalled(reading(READS_MEMORY_STAT, 40, 40)))["stall"] == ()
    assert causes(zombies(), stalled())["stall"] == ()


@pytest.mark.parametrize(("comparison", "linked"), [(">=", True), ("<", False), (None, False)])
def test_sums_of_what_changes_go_through_deleted_cgroups_only_if_most_changes_are_theirs(
    comparison: str | None, linked: bool
) -> None:
    flush = stalled(reading(LONG_BY["flush"], 40, 40))
    changed = (reading(CHANGED, 300, 300, comparison),) if comparison is not None else ()
    assert causes(zombies(*changed), flush)["stall"] == (("zombies",) if linked else ())


@pytest.mark.parametrize(
    ("seconds", "linked"), [(0.0501, False), (0.05011, True), (0.5, True)], ids=["as long", "longer", "ten times"]
)
def test_sums_that_take_longer_than_those_of_cgroups_in_use_are_of_deleted_ones(seconds: float, linked: bool) -> None:
    """On average of all times: here of ten."""
    in_use = structs.replace(reading(IN_USE, 0, 0), value=0.00501, unit="seconds")
    times = structs.replace(reading("Times without a sample", 10, 0), unit="stalls")
    together = structs.replace(reading(TOGETHER, 0, 0), value=seconds, unit="seconds")
    flush = stalled(times, together, reading(LONG_BY["flush"], 40, 40))
    fewer = stalled(times, together, reading(LONG_BY["flush"], 19, 40))
    assert causes(zombies(in_use), flush)["stall"] == (("zombies",) if linked else ())
    assert causes(zombies(), flush)["stall"] == causes(zombies(in_use), fewer)["stall"] == ()
    if linked:
        told = link([zombies(in_use), flush])[1].evidence[-1]
        assert told.statement.startswith("Each on average, longer than sums of the cgroups in use take")
        assert (told.value, told.comparison, told.limit) == (seconds / 10, ">", 0.00501)


def test_what_causes_a_stall_is_as_grave_stands_above_it_and_is_told_as_its_cause() -> None:
    walk = reading(LONG_BY["walk"], 40, 40)
    ranked = rank(link([stalled(walk), zombies()]))
    assert [(f.id, f.severity, f.parties) for f in ranked] == [
        ("zombies", "critical", (NODE_VICTIM,)), ("stall", "critical", (NODE_VICTIM,)),
    ]  # fmt: skip
    assert ranked[0].title == (
        "48,000 are kept, and whoever reads memory.stat goes through them while packets wait"
    )  # fmt: skip
    assert ranked[0].explanation[0].startswith("The stall below was seen")


def test_beside_another_stall_they_stay_worth_knowing_and_explain_nothing() -> None:
    alone = link([stalled(), zombies()])[1]
    assert (alone.severity, alone.would_explain, alone.title) == ("info", (), "48,000 are kept")


def dropped(n: int = 60, *, of: int = 100, cpus: tuple[int, ...] = (1,)) -> Finding:
    victim = Party(role="victim", node="n1", cpus=cpus)
    return finding(
        "drops", "softnet-drops", shape="queue-full", parties=(victim,), evidence=(reading(MEANWHILE, n, of),)
    )


@pytest.mark.parametrize(
    ("drops", "linked"),
    [(dropped(50), True), (dropped(49), False), (dropped(cpus=(0,)), False), (dropped(cpus=(0, 1)), True)],
)
def test_what_a_cpu_drops_while_it_is_held_is_caused_by_the_stall(drops: Finding, linked: bool) -> None:
    assert causes(stalled(), drops)["drops"] == (("stall",) if linked else ())
    (stall, _) = link([stalled(), drops])
    assert stall.would_explain == (("drops",) if linked else ())


def test_a_stall_that_is_only_possible_causes_no_drops() -> None:
    assert causes(stalled(confidence="possible"), dropped())["drops"] == ()


def test_drops_of_which_no_stall_was_looked_for_have_no_cause() -> None:
    silent = finding("drops", "softnet-drops", shape="queue-full", parties=(NODE_VICTIM,))
    assert causes(stalled(), silent)["drops"] == ()


def test_deleted_cgroups_a_stall_and_what_it_drops_are_one_case() -> None:
    walk = reading(LONG_BY["walk"], 40, 40)
    assert causes(dropped(), stalled(walk), zombies()) == {"drops": ("stall",), "stall": ("zombies",), "zombies": ()}
