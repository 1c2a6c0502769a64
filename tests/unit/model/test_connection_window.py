"""What cumulative numbers of connections grew by within a window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.connection_window import ConnectionWindow, connection_window
from whodunnet.model.connections import ConnectionGroup, Connections
from whodunnet.model.snapshot import Recording

from .endings import ended, moment, recording


def window(*moments: list[ConnectionGroup], **how: object) -> ConnectionWindow:
    found = connection_window(recording(moments, **how))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_a_recording_without_connections_has_no_window() -> None:
    bare = recording([[]])
    bare = Recording(node=bare.node, snapshots=tuple(type(s)(at=s.at, samples={}) for s in bare.snapshots))
    assert connection_window(bare) is None


def test_one_sample_has_grown_by_nothing() -> None:
    found = window([ended(7)])
    assert (found.total.groups, found.parts, found.seconds) == ((), (), 0.0)


def test_what_was_there_before_the_window_is_not_in_it() -> None:
    old = ended(3, ending="refused")
    found = window([ended(7), old], [ended(10), old])
    (group,) = found.total.groups
    assert (group.connections, [(s.since, s.connections, s.seconds) for s in group.spans]) == (3, [(5.0, 3, 15.0)])


def test_a_group_that_is_new_counts_in_full_and_one_that_is_gone_does_not_count() -> None:
    found = window([ended(7)], [ended(4, ending="refused")])
    assert [(g.ending, g.connections) for g in found.total.groups] == [("refused", 4)]


def test_classes_are_subtracted_one_by_one() -> None:
    before, after = ended(2, idle=5.0), ended(4, idle=5.0)
    longer = ended(1, idle=60.0)
    both = ConnectionGroup(
        **{f: getattr(after, f) for f in after.__struct_fields__ if f not in ("connections", "spans")},
        connections=5, spans=(*after.spans, *longer.spans),
    )  # fmt: skip
    (group,) = window([before], [both]).total.groups
    assert [(s.since, s.connections) for s in group.spans] == [(5.0, 2), (60.0, 1)]


def test_after_a_restart_of_the_collector_everything_is_new() -> None:
    found = window([ended(7)], [ended(9)], [ended(2)], [ended(5)], watched=[100, 102, 1, 3])
    assert sum(g.connections for g in found.total.groups) == 2 + 2 + 3
    assert found.total.watched_seconds == 2 + 1 + 2


def test_the_parts_are_of_equal_time() -> None:
    sums = [[ended(n)] for n in (0, 1, 3, 6, 10, 15, 21)]
    found = window(*sums, apart=1.0)
    assert [sum(g.connections for g in part.groups) for part in found.parts] == [1 + 2, 3 + 4, 5 + 6]


@pytest.mark.parametrize(
    ("lengths", "parts", "outer"),
    [
        ([5.35, 1, 1, 0.65], [1, 1, 2], []),  # a recorder takes its time after a first snapshot that was dear
        ([3.2, 1, 1, 1, 1, 0.77], [1, 2, 3], []),
        ([1] * 8 + [0.06], [3, 3, 3], []),
        ([7.9, 0.1], [2], []),
        ([1, 6, 1], [1, 1, 1], []),
        ([4, 4], [1, 1], []),
        ([1, 1, 6, 1, 1], [2, 1, 2], []),
        ([3, 4.5, 0.5], [1, 2], [1, 1, 1]),
        ([6.25, 1, 0.75], [1, 2], [1, 1, 1]),
        ([7, 0.5, 0.5], [1, 2], []),  # what lies between is too short
        ([6.75, 0.5, 0.5, 0.25], [1, 3], [1, 2, 1]),
        ([0.25, 7.5, 0.25], [3], [1, 1, 1]),
    ],
)
def test_where_steps_are_uneven_no_part_is_empty_or_too_short(
    lengths: list[float], parts: list[int], outer: list[int]
) -> None:
    """Where they make fewer than three, those between the first step and the last are known beside these."""
    rows = recording([[ended(n)] if n else [] for n in range(len(lengths) + 1)])
    at = [5.0 + sum(lengths[:n]) for n in range(len(lengths) + 1)]
    uneven = tuple(
        type(s)(at=replace(s.at, boot_seconds=t), samples=s.samples) for t, s in zip(at, rows.snapshots, strict=True)
    )
    found = connection_window(replace(rows, snapshots=uneven))
    assert found is not None
    assert [sum(g.connections for g in part.groups) for part in found.parts] == parts
    assert [sum(g.connections for g in part.groups) for part in found.outer] == outer


def test_there_are_no_more_parts_than_steps() -> None:
    assert [len(p.groups) for p in window([ended(1)], [ended(2)]).parts] == [1]


def test_a_part_in_which_nothing_happened_is_empty() -> None:
    found = window([], [ended(5)], [ended(5)], [ended(5)])
    assert [len(p.groups) for p in found.parts] == [1, 0, 0]


def test_what_fitted_nowhere_is_of_the_window_too() -> None:
    def sample(lost: int) -> Connections:
        return Connections(groups=(), watched_seconds=lost, other={"refused": lost}, untracked=lost, missed=lost)

    rows = recording([[], []])
    snapshots = tuple(
        type(s)(at=moment(n), samples={"connections": sample(n)}) for n, s in zip((3, 8), rows.snapshots, strict=True)
    )
    found = connection_window(Recording(node=rows.node, snapshots=snapshots))
    assert found is not None
    total = found.total
    assert (total.other, total.untracked, total.missed) == ({"refused": 5}, 5, 5)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=12))
def test_the_parts_add_up_to_the_window(steps: list[int]) -> None:
    sums = [sum(steps[: n + 1]) for n in range(len(steps))]
    found = window(*([ended(n)] if n else [] for n in sums))
    whole = sum(g.connections for g in found.total.groups)
    assert whole == sums[-1] - sums[0]
    assert whole == sum(g.connections for part in found.parts for g in part.groups)


@pytest.mark.parametrize("restart", [False, True])
def test_nothing_is_ever_below_zero(restart: bool) -> None:
    found = window([ended(9)], [ended(2)], watched=[5, 1 if restart else 7])
    assert [g.connections for g in found.total.groups] == ([2] if restart else [])
