"""socket-leak: how many of the sockets of before have to be looked for again before anything is seen."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from whodunnet.model.finding import Evidence, Finding
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import SocketGroup
from whodunnet.rules.leak_shapes import COMPARED_ENOUGH

from .nodes import MIN, finding, group, is_cleared, limit, listener, recording, said

UNREAD = limit("min_unread")
GROWTH = limit("min_growth")
"""Enough to be no chance."""


def snapshots(kind: str, counts: Sequence[int], unmarked: Sequence[int], unchanged: Sequence[int | None]) -> Recording:
    moments: list[list[SocketGroup]] = [
        [group(kind, n, age=60 if kind == "accept-not-called" else None, unmarked=u, unchanged=same)]
        for n, u, same in zip(counts, unmarked, unchanged, strict=True)
    ]
    queues = (listener(7),) if kind == "accept-not-called" else ()
    return recording(moments, accept_queues=queues)


def queue(unmarked: Sequence[int], unchanged: Sequence[int | None], counts: Sequence[int] = (90, 90, 90)) -> Recording:
    return snapshots("accept-not-called", counts, unmarked, unchanged)


def accepted(found: Finding) -> list[Evidence]:
    return [e for e in found.evidence if "accepted since" in e.statement]


@pytest.mark.parametrize(
    ("unmarked", "unchanged", "ago", "of"),
    [
        ((90, 90, 90), (None, 0, 0), None, None),
        ((0, 90, 0), (None, 90, 0), None, None),
        ((90, 0, 0), (None, 0, 90), "5.0 s", 90),
        ((89, 89, 0), (None, 1, 1), None, None),
        ((46, 46, 0), (None, 44, 44), None, None),
        ((45, 45, 0), (None, 45, 45), "10.0 s", 45),
        ((0, 0, 0), (None, 90, 90), "10.0 s", 90),
        ((46, 0, 0), (None, 44, 90), "5.0 s", 90),
        ((0, 46, 0), (None, 90, 44), None, None),
        ((0, 30, 0), (None, 90, 60), "10.0 s", 60),
    ],
)
def test_a_queue_is_left_alone_if_half_of_it_was_looked_for_again(
    unmarked: Sequence[int], unchanged: Sequence[int | None], ago: str | None, of: int | None
) -> None:
    """A slow server that drains the others looks the same. How many were compared in each step is said."""
    found = finding(queue(unmarked, unchanged))
    assert (found.shape, found.confidence == "possible") == ("accept-not-called", ago is None)
    assert [(e.value, e.limit, f"waited {ago} ago" in e.statement) for e in accepted(found)] == (
        [(0, of, True)] if ago else []
    )


@pytest.mark.parametrize("unmarked", [(89, 89, 0), (0, 0, 0)])
def test_one_that_was_taken_is_a_slow_server_however_few_were_compared(unmarked: Sequence[int]) -> None:
    assert is_cleared(queue(unmarked, (None, *(89 - u for u in unmarked[:2]))))


def test_what_is_still_waiting_is_told_of_those_that_were_compared() -> None:
    def waiting(node: Recording) -> list[tuple[object, object]]:
        found = [e for e in finding(node).evidence if "Still waiting" in e.statement]
        return [(e.value, e.limit) for e in found]

    assert waiting(queue((0, 89, 0), (None, 90, 1))) == [(1, 1)]
    assert waiting(queue((0, 0, 0), (None, 90, 90))) == [(90, 90)]
    assert waiting(queue((0, 90, 0), (None, 90, 0))) == []


@pytest.mark.parametrize(
    ("compared", "confidence"), [(1, "possible"), (MIN // 2 - 1, "possible"), (MIN // 2, "proven"), (MIN, "proven")]
)
def test_sockets_that_grow_stand_still_if_half_of_them_were_looked_for_again(compared: int, confidence: str) -> None:
    node = snapshots("never-connected", (MIN, MIN + GROWTH), (MIN - compared, 0), (None, compared))
    assert said(node) == [("never-connected", confidence)]


@pytest.mark.parametrize(("compared", "confidence"), [(COMPARED_ENOUGH - 1, "possible"), (COMPARED_ENOUGH, "proven")])
def test_of_very_many_so_many_are_enough(compared: int, confidence: str) -> None:
    many = 4_000 * MIN
    node = snapshots("never-connected", (many, 2 * many), (many - compared, 0), (None, compared))
    assert said(node) == [("never-connected", confidence)]


@pytest.mark.parametrize("compared", [0, 1])
def test_unread_connections_that_could_hardly_be_compared_are_neither_cleared_nor_proven(compared: int) -> None:
    groups = [
        group("response-never-read", MIN, age=60, unmarked=MIN - compared, unchanged=same) for same in (None, compared)
    ]
    assert said(recording([[g] for g in groups])) == [("response-never-read", "possible")]


def test_unread_connections_that_moved_are_read_however_few_were_compared() -> None:
    groups = [group("response-never-read", MIN, age=60, unmarked=MIN - 9, unchanged=same) for same in (None, 4)]
    assert is_cleared(recording([[g] for g in groups]))


@pytest.mark.parametrize(
    ("moved", "old", "seen"),
    [
        (0, 0, True),  # young by what comes: nobody reads it
        (MIN // 10, 0, True),
        (MIN // 5, 0, False),
        (MIN // 5, UNREAD - 1, False),
        (MIN // 5, UNREAD, True),  # some of these are never read
    ],
)
def test_who_takes_its_time_between_two_reads_is_left_alone_if_the_window_shows_it(
    moved: int, old: int, seen: bool
) -> None:
    """From each snapshot to the next most stand still; in ten seconds half of them were read, or not."""
    moments = [[group("response-never-read", MIN, age=15, old=old, unchanged=MIN - moved)] for _ in range(5)]
    assert is_cleared(recording(moments)) is not seen


def test_sockets_that_could_not_be_compared_are_not_taken_for_read() -> None:
    moments = [[group("response-never-read", MIN, age=1, unchanged=MIN // 2, unmarked=2)] for _ in range(5)]
    assert finding(recording(moments)).confidence == "possible"


def test_in_a_window_that_is_too_short_to_tell_it_is_told() -> None:
    moments = [[group("response-never-read", MIN, age=0.5, unchanged=MIN)] for _ in range(3)]
    assert finding(recording(moments, seconds=0.9)).confidence == "possible"
