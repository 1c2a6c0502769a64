"""Differences between readings of repeated segments: runs, what is forgotten, and how long it lasts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from whodunnet.model.repeat_window import RepeatWindow, repeat_window
from whodunnet.model.retransmissions import Destination, Retransmissions
from whodunnet.model.sample import Failure, Moment
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot

NODE = Node(hostname="n1", kernel="6.1.0", boot_id="b00t")
BEGIN = 100.0


def to(fast: int, remote: str = "203.0.113.9", **other: Any) -> Destination:
    fields = {"sent": 10 * fast, "first_seconds": BEGIN, "last_seconds": BEGIN + 4}
    return Destination(netns=5, remote=remote, port=443, fast=fast, **{**fields, **other})


def reading(*destinations: Destination, run: float = BEGIN, **other: Any) -> Retransmissions:
    return Retransmissions(destinations=destinations, watched_seconds=1.0, started_seconds=run, **other)


def window(*samples: AnySample) -> RepeatWindow | None:
    """A second apart."""
    day = datetime(2026, 3, 1, tzinfo=UTC)
    snapshots = tuple(
        Snapshot(at=Moment(day + timedelta(seconds=i), BEGIN + i), samples={"retransmissions": sample})
        for i, sample in enumerate(samples)
    )
    return repeat_window(Recording(node=NODE, snapshots=snapshots))


def seen(*samples: AnySample) -> RepeatWindow:
    found = window(*samples)
    assert found is not None
    return found


def test_what_was_before_is_not_of_the_window() -> None:
    w = seen(reading(to(7), elsewhere=5), reading(to(9, mss=1448), elsewhere=9))
    (d,) = w.destinations
    assert (d.fast, d.sent, d.mss, w.elsewhere, w.repeated) == (2, 20, 1448, 4, 2)


def test_a_new_destination_counts_whole() -> None:
    w = seen(reading(), reading(to(7)))
    assert [d.fast for d in w.destinations] == [7]


def test_a_destination_without_a_change_is_left_out() -> None:
    assert seen(reading(to(7)), reading(to(7))).destinations == ()


def test_one_that_was_forgotten_and_came_again_counts_from_0() -> None:
    w = seen(reading(to(7)), reading(), reading(to(3)), reading(to(4)))
    assert [d.fast for d in w.destinations] == [4]
    w = seen(reading(to(7)), reading(to(3)))
    assert [d.fast for d in w.destinations] == [3]


def test_only_the_newest_run_counts() -> None:
    w = seen(reading(to(7), run=50.0), reading(to(1)), reading(to(3)))
    assert ([d.fast for d in w.destinations], w.seconds) == ([2], 1.0)


@pytest.mark.parametrize("samples", [(), (reading(to(7)),), (reading(to(7), run=1.0), reading(to(7)))])
def test_one_reading_is_no_window(samples: tuple[Retransmissions, ...]) -> None:
    failure = Failure(code="unsupported", reason="no BPF")
    assert window(*samples, failure) is None


@pytest.mark.parametrize("lost", ["other", "untracked", "missed"])
def test_what_was_lost_within_it_makes_it_less_than_whole(lost: str) -> None:
    before, then = reading(to(1), **{lost: 1}), reading(to(2), **{lost: 2})
    assert seen(before, reading(to(2), **{lost: 1})).whole
    assert not seen(before, then).whole


def test_it_lasts_from_the_first_repeat_to_the_last_in_most_parts() -> None:
    def lasting(*counts: int, **times: float) -> float:
        w = seen(*(reading(to(n, **times)) if n else reading() for n in counts))
        return w.lasting(w.destinations[0])

    assert lasting(0, 1, 2, 3, 4) == 1.0
    assert lasting(0, 1, 2, 3, 4, last_seconds=BEGIN + 2) == 0.5
    assert lasting(0, 1, 2, 3, 4, first_seconds=BEGIN + 3) == 0.25
    assert lasting(1, 2, 3, 4, 5, first_seconds=BEGIN - 50) == 1.0
    assert lasting(0, 1, 1, 1, 4) == 1.0  # two parts of four
    assert lasting(0, 0, 4, 4, 4) == 0.0
