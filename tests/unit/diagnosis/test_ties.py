"""Ties by magnitude and by time."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest

from whodunnet.diagnosis.causes import link
from whodunnet.model.finding import Finding

from .linking import AT, MEMORY, causes, counted, finding, full_memory, leak


def resets(n: int, shape: str = "reset-between") -> Finding:
    return finding("resets", "resets", shape=shape, severity="warning", evidence=(counted(n),))


@pytest.mark.parametrize(("aborted", "linked"), [(None, False), (49, False), (50, True), (500, True)])
def test_connections_that_the_kernel_gave_up_for_lack_of_memory_are_the_cause_of_as_many_resets(
    aborted: int | None, linked: bool
) -> None:
    assert bool(causes(full_memory(aborted), resets(100))["resets"]) is linked


def test_memory_that_is_not_used_up_resets_nobody_and_no_client_that_aborts() -> None:
    assert causes(full_memory(500, severity="warning"), resets(100))["resets"] == ()
    assert causes(full_memory(500), resets(100, "client-aborts"))["resets"] == ()
    assert link([full_memory(500), resets(100, "client-aborts")])[0].would_explain == ()


@pytest.mark.parametrize(("dropped", "linked"), [(9, False), (10, True)])
def test_packets_that_the_provider_drops_are_the_cause_of_as_many_lost_connects(dropped: int, linked: bool) -> None:
    limit = finding(
        "limit", "provider-limits", shape="connections", severity="warning", would_explain=("connect-timeout",),
        evidence=(counted(dropped),),
    )  # fmt: skip
    lost = finding("lost", "connect-timeout", shape="lost-at-times", severity="warning", evidence=(counted(20),))
    assert bool(causes(limit, lost)["lost"]) is linked
    assert (
        causes(limit, finding("lost", "connect-timeout", shape="nobody-answers", evidence=(counted(1),)))["lost"] == ()
    )


def test_what_began_after_the_other_was_over_explains_nothing() -> None:
    late = leak(since=AT + timedelta(seconds=1))
    assert causes(MEMORY, late)["memory"] == ()
    assert link([MEMORY, late])[1].would_explain == ()


def test_of_two_possible_causes_that_which_began_first_comes_first_and_each_says_why() -> None:
    memory = finding("memory", since=AT - timedelta(seconds=60))
    before, after = leak("before", since=AT - timedelta(seconds=90)), leak("after", since=AT - timedelta(seconds=30))
    for some in permutations([memory, before, after]):
        found = {f.id: f for f in link(some)}["memory"]
        assert found.caused_by == ("before", "after")
        assert [e.statement for e in found.evidence] == [
            "Share of all TCP memory that is tied up by a possible cause, before, which began 30 s earlier",
            "Share of all TCP memory that is tied up by a possible cause, after, which began 30 s later",
        ]


def test_of_two_possible_causes_the_surer_comes_first() -> None:
    assert causes(MEMORY, leak("likely", confidence="likely"), leak("proven"))["memory"] == ("proven", "likely")
