"""model.inner_flows: who is behind a namespace, by its own table."""

from __future__ import annotations

from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.inner_flows import InnerFlows
from whodunnet.model.sockets import Endpoint

OUTER, INSIDE, GATE = "10.1.0.2", "172.17.0.2", 3
FAR, NEAR = Endpoint("10.9.0.1", 443), Endpoint("10.9.0.2", 443)


def flow(source: str, to: Endpoint | None, entries: int, source_as: str | None = None) -> FlowGroup:
    return FlowGroup(
        family=4, protocol="tcp", source=source, destination=to, source_as=source_as, merged=to is None, entries=entries
    )  # fmt: skip


def senders(asked: FlowGroup, *inner: FlowGroup, also: tuple[FlowGroup, ...] = ()) -> dict[str, int]:
    """also: what else the outer table has."""
    return InnerFlows(Conntrack(loaded=True, groups=(asked, *also), inner={GATE: inner}), None).senders(GATE, asked)


def test_to_a_destination_that_is_in_both_tables_only_what_leads_there_counts() -> None:
    behind, own = flow(INSIDE, FAR, 5, OUTER), flow(OUTER, None, 90)
    assert senders(flow(OUTER, FAR, 4), behind, own) == {INSIDE: 4}


def test_to_another_destination_that_counts_of_which_nobody_knows_where_it_leads() -> None:
    own = flow(OUTER, None, 2)
    asked = flow(OUTER, NEAR, 4)
    assert senders(asked, flow(INSIDE, FAR, 98, OUTER), own, also=(flow(OUTER, FAR, 98),)) == {}
    assert senders(asked, flow(INSIDE, FAR, 30, OUTER), flow(INSIDE, None, 1, OUTER), flow(OUTER, None, 3)) == {
        INSIDE: 1, OUTER: 3,
    }  # fmt: skip


def test_where_that_is_too_little_everything_counts() -> None:
    """What has ended in one table may still be in the other."""
    own = flow(OUTER, None, 25)
    assert senders(flow(OUTER, NEAR, 60), flow(INSIDE, FAR, 75, OUTER), own) == {INSIDE: 45, OUTER: 15}


def test_two_groups_without_destination_need_not_lead_to_the_same() -> None:
    behind, own = flow(INSIDE, FAR, 75, OUTER), flow(OUTER, None, 25)
    assert senders(flow(OUTER, None, 4), behind, own) == {INSIDE: 3, OUTER: 1}


def test_a_single_entry_is_of_who_has_most() -> None:
    assert senders(flow(OUTER, NEAR, 1), flow(INSIDE, FAR, 5, OUTER), flow(OUTER, FAR, 4)) == {INSIDE: 1}
    assert senders(flow(OUTER, NEAR, 1), flow(INSIDE, FAR, 4, OUTER), flow(OUTER, FAR, 5)) == {OUTER: 1}
