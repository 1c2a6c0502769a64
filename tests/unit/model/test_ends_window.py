"""Samples of connections only grow, so a long window needs no more than some of them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model import flow_window
from whodunnet.model.connections import ConnectionGroup, Connections, Span
from whodunnet.model.flow_window import bounded
from whodunnet.model.sample import Failure, Moment
from whodunnet.model.snapshot import AnySample, Snapshot
from whodunnet.model.sockets import Endpoint

AT = datetime(2026, 1, 1, tzinfo=UTC)


def sample(groups: int, classes: int = 0, started: float = 0.0) -> Connections:
    spans = tuple(Span(n / 10, (n + 1) / 10, 1, 0.0) for n in range(classes))
    return Connections(
        groups=tuple(
            ConnectionGroup(
                netns=1, role="accepted", ending="opened", state="established", server=Endpoint("10.0.0.1", n),
                connections=1, spans=spans,
            )
            for n in range(groups)
        ),
        watched_seconds=1.0,
        started_seconds=started,
    )  # fmt: skip


def snapshot(seconds: float, **samples: AnySample) -> Snapshot:
    return Snapshot(at=Moment(wall=AT, boot_seconds=seconds), samples=samples)


def moments(snapshots: list[Snapshot]) -> list[float]:
    """When connections were read."""
    return [s.at.boot_seconds for s in snapshots if isinstance(s.samples.get("connections"), Connections)]


def test_the_samples_between_are_taken_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a window grows: what stays is spread over its time, and every snapshot is still there."""
    monkeypatch.setattr(flow_window, "ENDS_IN_WINDOW", 80)
    window: list[Snapshot] = []
    for second in range(61):
        window = bounded([*window, snapshot(float(second), connections=sample(2, classes=4))])
    left = moments(window)
    assert len(window) == 61
    assert len(left) == 8
    assert (left[0], left[-1]) == (0.0, 60.0)
    assert max(b - a for a, b in pairwise(left)) <= 2 * 60 / 7


def test_few_are_kept_and_other_samples_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_window, "ENDS_IN_WINDOW", 4)
    failed = Failure(code="unreadable", reason="no")
    few = [snapshot(float(n), connections=sample(1)) for n in range(4)]
    assert bounded(few) == few
    many = [snapshot(float(n), connections=sample(2), sockets=failed) for n in range(4)]
    assert [set(s.samples) for s in bounded(many)] == [
        {"connections", "sockets"}, {"sockets"}, {"sockets"}, {"connections", "sockets"},
    ]  # fmt: skip


def test_of_each_run_of_a_recorder_the_first_and_the_last_sample_stay_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else tells what it counted."""
    monkeypatch.setattr(flow_window, "ENDS_IN_WINDOW", 8)
    runs = [(0, 1.0), (10, 1.0), (20, 1.0), (21, 5020.5), (31, 5020.5)]
    window = [snapshot(float(at), connections=sample(2, started=started)) for at, started in runs]
    assert moments(bounded(window)) == [0.0, 20.0, 21.0, 31.0]
    monkeypatch.setattr(flow_window, "ENDS_IN_WINDOW", 4)
    assert moments(bounded(window)) == [0.0, 31.0]


def by_time(taken: list[tuple[float, int | None]]) -> list[tuple[float, int | None]]:
    return sorted(taken, key=lambda one: one[0])


@given(st.lists(st.tuples(st.floats(0, 1e6), st.none() | st.integers(0, 9)), max_size=12).map(by_time))
def test_a_window_keeps_its_ends_and_is_as_large_as_it_may_be(taken: list[tuple[float, int | None]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow_window, "ENDS_IN_WINDOW", 15)
        window = [snapshot(at) if n is None else snapshot(at, connections=sample(n)) for at, n in taken]
        found = bounded(window)
    sizes = [len(s.samples["connections"].groups) for s in found if "connections" in s.samples]  # type: ignore[union-attr]
    assert sum(sizes) <= 15 or len(sizes) <= 2
    assert [s.at for s in found] == [s.at for s in window]
    assert moments(found)[:1] == moments(window)[:1]
    assert moments(found)[-1:] == moments(window)[-1:]
