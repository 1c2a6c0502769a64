"""model.inner_flows: who is behind a namespace, by its own table."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.inner_flows import InnerFlows
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint

OUTER, INSIDE, THIRD, GATE = "10.1.0.2", "172.17.0.2", "172.17.0.3", 3
FAR, NEAR = Endpoint("10.9.0.1", 443), Endpoint("10.9.0.2", 443)
STATES = ("syn-sent", "established", "fin-wait", "time-wait", "close")


def flow(source: str, to: Endpoint | None, entries: int, source_as: str | None = None, **other: Any) -> FlowGroup:
    fields = {"family": 4, "protocol": "tcp", "merged": to is None, **other}
    return FlowGroup(source=source, destination=to, source_as=source_as, entries=entries, **fields)


def behind(to: Endpoint | None, entries: int, source: str = INSIDE, **other: Any) -> FlowGroup:
    return flow(source, to, entries, OUTER, **other)


def many(n: int) -> list[Endpoint]:
    return [Endpoint(f"10.8.{i // 250}.{i % 250}", 443) for i in range(n)]


def senders(asked: FlowGroup, *inner: FlowGroup, also: tuple[FlowGroup, ...] = ()) -> dict[str, int]:
    """also: what else the outer table has."""
    return InnerFlows(Conntrack(loaded=True, groups=(asked, *also), inner={GATE: inner}), None).senders(GATE, asked)


def totals(ours: list[FlowGroup], inner: list[FlowGroup]) -> Counter[str]:
    flows = InnerFlows(Conntrack(loaded=True, groups=tuple(ours), inner={GATE: tuple(inner)}), None)
    found: Counter[str] = Counter()
    for group in ours:
        found.update(flows.senders(GATE, group))
    return found


# --- The same destination ----------------------------------------------------------------------------------------


def test_to_a_destination_that_is_in_both_tables_only_what_leads_there_counts() -> None:
    assert senders(flow(OUTER, FAR, 4), behind(FAR, 5), flow(OUTER, None, 90)) == {INSIDE: 4}


def test_to_where_the_namespace_sends_it_on() -> None:
    assert senders(flow(OUTER, FAR, 4), behind(NEAR, 4, answered_by=FAR), behind(FAR, 9, answered_by=NEAR)) == {
        INSIDE: 4
    }


def test_several_senders_have_as_many_as_their_own_table_says() -> None:
    inner = behind(FAR, 30), behind(FAR, 20, THIRD), flow(OUTER, FAR, 50)
    assert senders(flow(OUTER, FAR, 100), *inner) == {INSIDE: 30, THIRD: 20, OUTER: 50}
    assert senders(flow(OUTER, FAR, 10), *inner) == {INSIDE: 3, THIRD: 2, OUTER: 5}


def test_what_they_do_not_have_is_nobodys() -> None:
    assert senders(flow(OUTER, FAR, 101), behind(FAR, 60), behind(FAR, 40, THIRD)) == {INSIDE: 60, THIRD: 40}


@pytest.mark.parametrize(
    "other", [{"state": "syn-sent"}, {"replied": True}, {"assured": True}, {"offloaded": True}, {"protocol": "udp"}]
)
def test_entries_of_another_state_are_of_whoever_has_such(other: dict[str, Any]) -> None:
    """Else one who is only busy would have its part of what nobody answers."""
    ours = [flow(OUTER, FAR, 4_000), flow(OUTER, FAR, 5_800, **other)]
    inner = behind(FAR, 4_000), behind(FAR, 5_800, THIRD, **other)
    assert senders(ours[0], *inner, also=(ours[1],)) == {INSIDE: 4_000}
    assert senders(ours[1], *inner, also=(ours[0],)) == {THIRD: 5_800}


def test_the_protocol_tells_addresses_of_two_families_apart() -> None:
    """Recordings come from strangers."""
    assert senders(flow(OUTER, FAR, 3, family=6), behind(FAR, 3)) == {}


def test_a_state_that_changed_between_two_readings_is_of_the_only_one_left() -> None:
    ours = flow(OUTER, FAR, 3, state="established"), flow(OUTER, FAR, 2, state="close")
    inner = behind(FAR, 3, state="established"), behind(FAR, 2, THIRD, state="time-wait")
    assert senders(ours[1], *inner, also=ours[:1]) == {THIRD: 2}


def test_with_more_than_one_left_it_is_nobodys() -> None:
    asked = flow(OUTER, FAR, 2, state="close")
    inner = behind(FAR, 3, state="established"), behind(FAR, 2, THIRD, state="time-wait")
    assert senders(asked, *inner) == {}
    assert senders(asked, inner[0]) == {INSIDE: 2}


def test_whose_entries_are_all_there_has_no_others() -> None:
    """What the scanner opened has ended in the inner table; the other one is still as busy."""
    ours = flow(OUTER, FAR, 5_800, state="syn-sent"), flow(OUTER, FAR, 4_000, state="established")
    for n, found in ((4_000, {}), (9_799, {}), (9_800, {INSIDE: 5_800})):
        assert senders(ours[0], behind(FAR, n, state="established"), also=ours[1:]) == found


def ages(idle: int, entries: int) -> tuple[int, ...]:
    found = [0] * (len(AGE_BOUNDS_SECONDS) + 1)
    found[0], found[-1] = entries - idle, idle
    return tuple(found)


@pytest.mark.parametrize(("idle", "told"), [(0, True), (100, True), (101, False), (500, False)])
def test_established_ones_are_told_apart_only_if_about_as_many_of_each_are_idle(idle: int, told: bool) -> None:
    """In our table they are one group: half of those idle would be of whom has none of them."""
    kept = {"state": "established", "replied": True}
    inner = behind(FAR, 500, ages=ages(idle, 500), **kept), behind(FAR, 500, THIRD, ages=ages(0, 500), **kept)
    asked = flow(OUTER, FAR, 1_000, ages=ages(idle, 1_000), **kept)
    assert senders(asked, *inner) == ({INSIDE: 500, THIRD: 500} if told else {})


# --- Another destination -----------------------------------------------------------------------------------------


def test_to_another_destination_that_counts_of_which_nobody_knows_where_it_leads() -> None:
    assert senders(flow(OUTER, NEAR, 4), behind(FAR, 30), behind(None, 1), flow(OUTER, None, 3)) == {
        INSIDE: 1, OUTER: 3,
    }  # fmt: skip


@pytest.mark.parametrize(("merged", "own"), [(3_000, 2_000), (2_000, 2_000), (1_999, 1_999), (1_000, 1_000), (0, 0)])
def test_no_more_than_that_is_somebodys(merged: int, own: int) -> None:
    """What has ended in one table may still be in the other: whose it was nobody knows."""
    ours = [flow(OUTER, to, 1) for to in many(2_000)]
    assert totals(ours, [behind(FAR, 60), flow(OUTER, None, merged)]) == Counter({OUTER: own} if own else {})


@pytest.mark.parametrize("other", [{"protocol": "udp"}, {"family": 6}, {"state": "time-wait"}, {"replied": True}])
def test_merged_entries_say_nothing_of_others(other: dict[str, Any]) -> None:
    assert senders(flow(OUTER, NEAR, 1_900), behind(FAR, 60), flow(OUTER, None, 2_048, **other)) == {}


def test_a_destination_that_is_known_is_none_of_those_merged() -> None:
    asked = flow(OUTER, FAR, 50, state="close")
    assert senders(asked, behind(FAR, 5), behind(FAR, 5, THIRD), flow(OUTER, None, 50, state="close")) == {}
    assert senders(asked, behind(NEAR, 5), flow(OUTER, None, 50, state="close")) == {OUTER: 50}


def test_without_a_port_a_destination_is_not_known() -> None:
    coarse = Endpoint(FAR.address, None)
    assert senders(flow(OUTER, FAR, 4), behind(NEAR, 9), flow(OUTER, coarse, 3, merged=True)) == {OUTER: 3}


def test_what_our_table_merged_is_of_all_who_are_left() -> None:
    inner = behind(FAR, 75), flow(OUTER, NEAR, 20), flow(OUTER, None, 5)
    assert senders(flow(OUTER, None, 4), *inner) == {INSIDE: 3, OUTER: 1}
    assert senders(flow(OUTER, None, 30), *inner, also=(flow(OUTER, FAR, 75),)) == {OUTER: 25}
    assert senders(flow(OUTER, None, 30, state="syn-sent"), *inner) == {}


# --- What cannot be divided --------------------------------------------------------------------------------------


def test_a_single_entry_of_several_is_nobodys() -> None:
    assert senders(flow(OUTER, FAR, 1), behind(FAR, 5), flow(OUTER, FAR, 4)) == {}
    assert senders(flow(OUTER, FAR, 1), behind(FAR, 5)) == {INSIDE: 1}


@pytest.mark.parametrize(("first", "second"), [(3, 2), (1, 1), (5, 0), (4, 1)])
def test_groups_of_one_entry_are_divided_as_they_are(first: int, second: int) -> None:
    """Answered by several endpoints of a Service, or in several states."""
    ends, inner, by_state, ours = many(200), [], [], []
    for to in ends:
        inner += [behind(to, first), behind(to, second, THIRD)]
        ours += [flow(OUTER, to, 1, answered_by=end) for end in ends[: first + second]]
        by_state += [flow(OUTER, to, 1, state=state) for state in STATES[: first + second]]
    whole = Counter({INSIDE: 200 * first, THIRD: 200 * second})
    assert totals(ours, inner) == +whole
    owners = dict(zip(STATES, [INSIDE] * first + [THIRD] * second, strict=False))
    told = [behind(to, 1, one, state=state) for to in ends for state, one in owners.items()]
    assert totals(by_state, told) == +whole
    assert totals(by_state, inner) == (+whole if not second else Counter()), "which state is whose is not known"


def test_of_equals_none_has_the_rest() -> None:
    ours = [flow(OUTER, to, 1) for to in many(200)]
    assert totals(ours, [behind(g.destination, 1, one) for g in ours for one in (INSIDE, THIRD)]) == Counter()


FLOWS = st.builds(
    flow, st.just(OUTER), st.none() | st.sampled_from([FAR, NEAR]), st.integers(0, 20),
    answered_by=st.none() | st.sampled_from([FAR, NEAR]), protocol=st.sampled_from(["tcp", "udp"]),
    state=st.sampled_from(STATES[:3]),
)  # fmt: skip
THEIRS = st.builds(
    flow, st.sampled_from([OUTER, INSIDE, THIRD]), st.none() | st.sampled_from([FAR, NEAR]), st.integers(0, 20),
    st.just(OUTER), protocol=st.sampled_from(["tcp", "udp"]), state=st.sampled_from(STATES[:3]),
)  # fmt: skip


@given(st.lists(FLOWS, max_size=12, unique_by=lambda g: (g.destination, g.answered_by, g.protocol, g.state)),
       st.lists(THEIRS, max_size=8), st.integers())  # fmt: skip
def test_each_entry_of_theirs_speaks_for_one_of_ours_in_whichever_order(
    ours: list[FlowGroup], inner: list[FlowGroup], seed: int
) -> None:
    flows = InnerFlows(Conntrack(loaded=True, groups=tuple(ours), inner={GATE: tuple(inner)}), None)
    assert all(sum(flows.senders(GATE, group).values()) <= group.entries for group in ours)
    found = totals(ours, inner)
    for address in (OUTER, INSIDE, THIRD):
        assert found[address] <= sum(group.entries for group in inner if group.source == address)
    shuffled, theirs = Random(seed).sample(ours, len(ours)), Random(seed).sample(inner, len(inner))
    assert totals(shuffled, theirs) == found


def test_who_leaves_by_an_address() -> None:
    inner = behind(FAR, 5), flow(OUTER, FAR, 4), flow(THIRD, FAR, 4, "10.1.0.9")
    flows = InnerFlows(Conntrack(loaded=True, inner={GATE: inner}), None)
    assert flows.leaving_as(GATE, OUTER) == {INSIDE}
    assert flows.leaving_as(GATE, THIRD) == flows.leaving_as(GATE + 1, OUTER) == frozenset()
