"""Whose the entries of one reading are, of many in a long window: only what came before it left them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from whodunnet.model.connections import Connections
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.flow_kept import kept_in
from whodunnet.model.flow_makers import makers_of
from whodunnet.model.flow_owners import FlowOwners
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot
from whodunnet.model.sockets import Sockets

from .endings import moment
from .test_flow_makers import MOVING, SEEN, made
from .test_flow_owners import ADDRESSES, NODE, WORKLOADS, A, B, flow, held, reading

SHARED = f"node {NODE}"
MINUTE = 60.0
Opened = dict[int, int]
"""Connects by pid."""


def owner(
    of: int,
    *minutes: Opened,
    stay: int = 120,
    drops: tuple[int, ...] = (),
    sockets: tuple[Sockets | None, ...] = SEEN,
    entries: int = 100,
) -> str:
    """Whose most entries are in the reading after so many minutes. stay: seconds. drops: within each minute."""
    connects: Counter[int] = Counter()
    snapshots, tables = [], []
    for n, opened in enumerate([{}, *minutes]):
        connects.update(opened)
        tables.append(
            Conntrack(
                loaded=True,
                netns=NODE,
                groups=(flow(entries=entries, state="time-wait"),),
                timeouts={"tcp_timeout_time_wait": stay},
                statistics={"drop": 100 + sum(drops[:n])},
            )
        )
        groups = tuple(made(pid, total) for pid, total in connects.items())
        watched = Connections(groups=groups, watched_seconds=n * MINUTE)
        held_now = sockets[min(n, len(sockets) - 1)]
        samples: dict[str, AnySample] = {"connections": watched, "workloads": WORKLOADS, "conntrack": tables[-1]}
        snapshots.append(Snapshot(at=moment(n * MINUTE), samples=samples | ({"sockets": held_now} if held_now else {})))
    recording = Recording(node=Node(hostname="n", kernel="6", boot_id="b"), snapshots=tuple(snapshots))
    seen = [sample for sample in sockets if sample is not None]
    owners = FlowOwners(tables[of], ADDRESSES, seen, WORKLOADS, makers=makers_of(recording), at=of * MINUTE)
    return max(owners.split(tables[of].groups[0]), key=lambda part: part[1])[0].key


IN_TURN = ({11: 500}, {12: 5_000}, {12: 5_000}, {12: 5_000})


@pytest.mark.parametrize(("of", "who"), [(1, A), (2, SHARED), (3, B), (4, B)])
def test_connects_that_come_later_have_left_nothing_yet(of: int, who: str) -> None:
    assert owner(of, *IN_TURN) == who


@pytest.mark.parametrize(
    ("gone", "pool", "who"), [(3_000, (0, 6_000, 6_000, 6_000, 6_000), B), (500, (0, 0, 0, 0, 6_000), SHARED)]
)
def test_only_connections_opened_meanwhile_and_kept_have_left_nothing(
    gone: int, pool: tuple[int, ...], who: str
) -> None:
    """A pool that was opened before the connects that count is not taken off them."""
    sockets = tuple(reading(held(11, 10), held(12, n)) for n in pool)
    opened = [{12: gone + now - before} for before, now in pairwise(pool)]
    assert owner(4, *opened, sockets=sockets, entries=5_000) == who


@pytest.mark.parametrize(
    "pool", [(0, 0, 0, None, None), (0, 6_000, 6_000, None, None), (None,), (0, 6_000, 6_000, None, 0)]
)
def test_where_sockets_were_not_read_afterwards_nobody_knows_what_is_still_open(pool: tuple[int | None, ...]) -> None:
    sockets = tuple(reading(held(11, 10), held(12, n)) if n is not None else None for n in pool)
    assert owner(3, *[{12: 6_500}] * 4, sockets=sockets, entries=5_000) == SHARED


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_pool_from_before_is_not_taken_off_where_sockets_are_read_more_seldom(missing: int) -> None:
    """A whole snapshot is followed by some that have connections only."""
    pool = reading(held(11, 10), held(12, 600))
    assert owner(0, *[{12: 500}] * 4, sockets=(pool, *[None] * missing, *[pool] * 4)) == B


def test_who_was_there_at_the_beginning_is_told_by_what_came_next() -> None:
    assert owner(0, *IN_TURN) == A


@pytest.mark.parametrize(("stay", "who"), [(60, A), (120, A), (121, SHARED), (600, B), (0, SHARED), (-5, SHARED)])
def test_connects_of_longer_ago_than_entries_stay_have_left_none_of_them(stay: int, who: str) -> None:
    assert owner(4, {12: 50_000}, {12: 5_000}, {11: 500}, {11: 500}, stay=stay) == who


def test_the_only_one_seen_is_held_to_what_it_opened_then() -> None:
    assert owner(2, {}, {11: 100}, {12: 1_000}, sockets=MOVING) == A
    assert owner(4, {12: 100}, {12: 100}, {11: 100}, {11: 100}, sockets=MOVING) == A
    assert owner(3, {11: 5_000}, {}, {}, {11: 5_000}, sockets=MOVING) == SHARED


@pytest.mark.parametrize(("drops", "who"), [((0, 90), A), ((90, 0), SHARED), ((0, 0, 90), SHARED)])
def test_only_drops_of_that_time_tell_that_the_table_was_full_then(drops: tuple[int, ...], who: str) -> None:
    assert owner(2, {}, {11: 3}, {}, stay=60, drops=drops, sockets=MOVING) == who


def test_a_counter_that_falls_tells_of_a_new_table_and_hides_no_drops() -> None:
    assert owner(2, {}, {11: 3}, drops=(-90, 90), sockets=MOVING) == A
    assert owner(2, {}, {11: 3}, drops=(90, -90), sockets=MOVING) == A
    assert owner(2, {}, {11: 3}, drops=(0, -90), sockets=MOVING) == SHARED


def test_of_two_readings_of_one_time_the_last_tells_what_is_open() -> None:
    both = [Snapshot(at=moment(MINUTE), samples={"sockets": reading(held(12, n))}) for n in (5, 7)]
    recording = Recording(node=Node(hostname="n", kernel="6", boot_id="b"), snapshots=tuple(both))
    assert list((kept_in(recording, MINUTE, MINUTE, MINUTE) or {}).values()) == [7]
