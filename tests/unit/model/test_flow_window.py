"""The groups of a window are bounded, and no entry is forgotten for it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.flow_window import GROUPS_BETWEEN, GROUPS_IN_WINDOW, bounded, coarser
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.sockets import Endpoint

ENDPOINTS = [Endpoint(f"198.19.0.{n}", port) for n in range(3) for port in (53, 443)]
GROUPS = st.lists(
    st.builds(
        FlowGroup,
        family=st.just(4),
        protocol=st.sampled_from(["tcp", "udp"]),
        source=st.sampled_from(["198.18.0.1", "198.18.0.2", "198.18.0.3"]),
        destination=st.sampled_from(ENDPOINTS),
        answered_by=st.sampled_from([None, *ENDPOINTS]),
        state=st.sampled_from(["established", "time-wait"]),
        replied=st.booleans(),
        entries=st.integers(1, 1000),
        idle_seconds=st.integers(0, 1000),
        ages=st.sampled_from([(), (1, 0, 2, *[0] * 9), (0, 3, *[0] * 10)]),
    ),
    max_size=40,
)


@given(GROUPS, st.integers(2, 20), st.integers(0, 9))
def test_a_coarser_reading_has_the_same_entries(groups: list[FlowGroup], at_most: int, other: int) -> None:
    whole = Conntrack(loaded=True, groups=tuple(groups), other_entries=other)
    less = coarser(whole, at_most)
    assert less.entries_read == whole.entries_read
    assert len(less.groups) <= at_most
    if less.other_entries == other:
        assert by_source(less) == by_source(whole)
        assert sum(g.idle_seconds for g in less.groups) == sum(g.idle_seconds for g in groups)
        assert ages(less) == ages(whole)


@given(GROUPS, st.integers(2, 20))
def test_the_largest_groups_stay_and_the_others_lose_their_destination(groups: list[FlowGroup], at_most: int) -> None:
    less = coarser(Conntrack(loaded=True, groups=tuple(groups)), at_most)
    kept = [g for g in less.groups if not g.merged]
    assert all(g in groups for g in kept)
    for g in less.groups:
        if g.merged:
            assert g.destination is None
            assert g.answered_by in (None, Endpoint(None, None))
    if len(groups) > at_most:
        assert len(kept) == at_most // 2
        largest = sorted((g.entries for g in groups), reverse=True)
        assert [g.entries for g in kept] == largest[: at_most // 2]


def by_source(sample: Conntrack) -> Counter[tuple[str, str, str, bool]]:
    total: Counter[tuple[str, str, str, bool]] = Counter()
    for g in sample.groups:
        total[g.source, g.protocol, g.state, g.replied] += g.entries
    return total


def ages(sample: Conntrack) -> list[int]:
    return [sum(column) for column in zip(*(g.ages for g in sample.groups if g.ages), strict=True)]


def window(groups: int, counts: list[int]) -> list[Snapshot]:
    table = tuple(
        FlowGroup(family=4, protocol="tcp", source="198.18.0.1", destination=Endpoint("198.19.0.1", n), entries=2)
        for n in range(groups)
    )
    at = Moment(wall=datetime(2026, 1, 1, tzinfo=UTC), boot_seconds=1.0)
    return [
        Snapshot(at=at, samples={"conntrack": Conntrack(loaded=True, count=count, groups=table)}) for count in counts
    ]


def sizes(snapshots: list[Snapshot]) -> list[int]:
    return [len(msgspec.to_builtins(s.samples["conntrack"])["groups"]) for s in snapshots]


def test_a_window_with_few_groups_is_kept_whole() -> None:
    snapshots = window(GROUPS_IN_WINDOW // 10, [1] * 10)
    assert bounded(snapshots) == snapshots


def test_of_too_many_the_first_the_newest_and_the_fullest_are_kept_whole() -> None:
    many = GROUPS_IN_WINDOW // 10 + 1
    found = sizes(bounded(window(many, [1, 2, 7, 5, 7, 3, 2, 1, 1, 4])))
    assert [n for n, size in enumerate(found) if size == many] == [0, 4, 9]
    assert max(found[1:4]) <= GROUPS_BETWEEN


def test_tables_of_other_namespaces_count_and_stay_where_the_rest_does() -> None:
    most = GROUPS_IN_WINDOW // 2
    snapshots = [
        msgspec.structs.replace(s, samples={"conntrack": msgspec.structs.replace(table, groups=(), inner={9: groups})})
        for s in window(most, [1, 7, 5, 2])
        if isinstance(table := s.samples["conntrack"], Conntrack) and (groups := table.groups)
    ]
    kept = [msgspec.to_builtins(s.samples["conntrack"]).get("inner", {}) for s in bounded(snapshots)]
    assert [len(inner.get(9, ())) for inner in kept] == [most, most, 0, most]


def test_a_window_without_a_table_is_kept() -> None:
    at = Moment(wall=datetime(2026, 1, 1, tzinfo=UTC), boot_seconds=1.0)
    assert bounded([Snapshot(at=at, samples={})]) == [Snapshot(at=at, samples={})]
