"""connect-refused: a server that is started, and one that is started over and over, by who listens when."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint

from .connects import SECONDS, opened, refused, said
from .endings import listening, moments_of
from .nodes import finding
from .tracking import OTHER_POD

RULE = "connect-refused"
ELSEWHERE = listening(at=Endpoint(OTHER_POD, 9000))
"""The server's pod serves another port."""
PROVEN, POSSIBLE = ("warning", "proven"), ("info", "possible")
NOBODY, SOMEBODY, UNREAD = "-", "+", "?"


def served(heard: str, answered: Sequence[int]) -> Recording:
    """heard: whether somebody listened, reading by reading. answered: connects until then, beside 20 that are refused
    in each step."""
    groups = [[refused(20 * n), *([opened(m)] if m else [])] for n, m in enumerate(answered)]
    listens = moments_of(*groups, seconds=SECONDS, listeners=[listening()])
    silent = moments_of(*groups, seconds=SECONDS, listeners=[ELSEWHERE])
    unread = moments_of(*groups, seconds=SECONDS)
    of = {NOBODY: silent, SOMEBODY: listens, UNREAD: unread}
    return replace(listens, snapshots=tuple(of[one].snapshots[n] for n, one in enumerate(heard)))


@pytest.mark.parametrize(
    ("heard", "answered", "expected"),
    [
        ("--++", (0, 0, 0, 6), POSSIBLE),
        ("--++", (0, 0, 6, 12), POSSIBLE),  # answered after the last reading in which nobody listened
        ("--++", (0, 1, 1, 7), PROVEN),  # answered before it: whoever did has gone
        ("-+++", (0, 6, 12, 18), POSSIBLE),  # a start within the first part, and resets of a listener that stays
        ("-+++", (5, 6, 12, 18), POSSIBLE),  # what was answered before the window is not of it
        ("---+", (0, 0, 6, 12), PROVEN),
        ("---+", (0, 0, 0, 6), POSSIBLE),
        ("-+-+", (0, 6, 12, 18), PROVEN),  # seen to leave
        ("+-++", (0, 6, 6, 12), PROVEN),
        ("-++-", (0, 6, 12, 18), PROVEN),
    ],
)
def test_a_start_is_no_proof_that_anybody_comes_and_goes(
    heard: str, answered: Sequence[int], expected: tuple[str, str]
) -> None:
    assert said(served(heard, answered), RULE) == [("comes-and-goes", *expected)]


@pytest.mark.parametrize(
    ("heard", "answered", "expected"),
    [("----", (0, 6, 12, 18), ("warning", "likely")), ("-???", (0, 6, 12, 18), POSSIBLE)],
)
def test_where_nobody_was_seen_to_listen_only_answers_before_a_reading_count(
    heard: str, answered: Sequence[int], expected: tuple[str, str]
) -> None:
    assert said(served(heard, answered), RULE) == [("comes-and-goes", *expected)]


@pytest.mark.parametrize(("heard", "answered", "shown"), [("--++", (0, 4, 6, 12), [4]), ("-+-+", (0, 4, 4, 12), [])])
def test_the_answers_that_prove_it_are_shown_where_nobody_was_seen_to_leave(
    heard: str, answered: Sequence[int], shown: list[int]
) -> None:
    found = finding(served(heard, answered), RULE)
    assert [e.value for e in found.evidence if "before a reading in which nobody listened" in e.statement] == shown
