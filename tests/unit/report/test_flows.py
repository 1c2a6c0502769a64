from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import UsageError
from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import AnySample, Recording
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.model.workload import Pod, Workloads
from whodunnet.report.flow_rows import FlowRow
from whodunnet.report.flow_subject import FLOW_VIEWS, FlowView
from whodunnet.report.flows import FlowTable, tabulate_flows
from whodunnet.report.pod_names import PodNames

from . import tracked
from .tracked import HOST, PODS, SERVICE, WEB, flow, one, reading, recording, silent, two

WEB_LABEL = "shop/web-0: web (77aa66190a2b)"
API_LABEL = "shop/api-7d9f: api (933d66190a2b)"
NO_RIGHT = Failure(code="missing-capability", reason="needs CAP_NET_ADMIN", missing_capability="CAP_NET_ADMIN")


def rows(table: FlowTable) -> dict[str, FlowRow]:
    found = {row.label: row for row in table.rows}
    assert len(found) == len(table.rows)
    return found


def by(view: FlowView, source: Recording | None = None, **rest: Any) -> dict[str, FlowRow]:
    return rows(tabulate_flows(source or one(), by=view, top=1000, **rest))


def of(*groups: Any, **samples: AnySample) -> Recording:
    """One reading with just these entries."""
    entries = sum(g.entries for g in groups)
    return recording(reading(tracked.table(groups=groups, count=entries, other_entries=0, malformed=0), **samples))


def unnamed(table: FlowTable) -> dict[str, int]:
    assert table.attribution is not None
    return {part.reason: part.entries for part in table.attribution.unnamed}


@pytest.mark.parametrize("view", FLOW_VIEWS)
@pytest.mark.parametrize("top", [1, 3, 1000])
def test_no_entry_is_lost_in_any_view(view: FlowView, top: int) -> None:
    table = tabulate_flows(two(), by=view, top=top)
    shown = [*table.rows, *([table.rest] if table.rest else [])]
    assert table.how is not None
    in_groups = table.how.entries - table.how.other - table.how.malformed
    expected = in_groups if view != "netns" else table.how.entries + 80 + 1_200
    assert sum(row.entries for row in shown) == expected
    assert sum(row.growth or 0 for row in shown) == 210


@pytest.mark.parametrize("pods", [None, PODS])
def test_every_entry_is_named_or_has_a_reason_once(pods: PodNames | None) -> None:
    table = tabulate_flows(two(), pods=pods)
    assert table.attribution is not None
    assert table.fill is not None
    part = table.attribution
    assert part.named + part.by_pods + sum(unnamed(table).values()) == part.entries == table.fill.entries


def test_an_owner_has_its_entries_by_state_and_what_is_really_open() -> None:
    web = by("workload")[WEB_LABEL]
    assert web.states == {"time-wait": 28_850, "established": 170, "syn-sent": 40, "offloaded": 5}
    assert web.others == {"udp": 310, "icmpv6": 6}
    assert (web.entries, web.unreplied) == (29_381, 40)
    assert web.open_sockets == 150 + 12
    assert web.entries_per_socket == round((28_850 + 170 + 40 + 5) / 162, 2)


def test_accepted_connections_are_not_what_an_owner_opened() -> None:
    assert by("workload", of(flow(1, "10.244.1.12", SERVICE)))[WEB_LABEL].open_sockets == 162


def test_there_is_no_ratio_where_nothing_is_open_or_known() -> None:
    source = of(flow(9, "10.244.1.13", SERVICE, "time-wait"), sockets=Sockets(method="bpf", groups=()))
    assert (by("workload", source)[API_LABEL].open_sockets, by("workload", source)[API_LABEL].entries_per_socket) == (
        0,
        None,
    )
    source = of(flow(9, "10.244.1.13", SERVICE, "time-wait"), sockets=NO_RIGHT)
    assert by("workload", source)[API_LABEL].open_sockets is None


def test_a_destination_behind_nat_is_what_was_asked_for_and_who_answered() -> None:
    (service, dns, _) = by("workload", pods=PODS)[WEB_LABEL].destinations
    assert (service.protocol, service.endpoint, service.entries, service.unreplied) == ("tcp", SERVICE, 29_045, 40)
    assert service.open_sockets == 150
    assert [(a.endpoint.address, a.entries, a.replied) for a in service.answers] == [
        ("10.244.1.13", 19_005, 19_005),
        ("10.244.3.9", 10_000, 10_000),
        ("10.244.3.10", 40, 0),
    ]
    here, there, nowhere = (a.workload for a in service.answers)
    assert here is not None
    assert here.pod == tracked.API_POD
    assert there is not None
    assert there.pod == Pod(namespace="shop", name="api-9k2c", uid="a2")
    assert nowhere is None
    assert (dns.protocol, dns.open_sockets, dns.answers_total) == ("udp", None, 1)


def test_the_view_by_destination_says_who_asks_and_who_answers() -> None:
    row = by("destination")["tcp to 10.96.0.1:80"]
    assert (row.entries, row.unreplied, row.open_sockets, row.answers_total) == (29_045, 40, 150, 3)
    assert row.openers == {WEB_LABEL: 29_045}
    assert row.destinations == ()
    mixed = by("destination")["tcp to 10.244.3.30:3000"]
    assert mixed.open_sockets == 25
    assert mixed.openers_total == 3


def test_who_is_not_on_this_node_is_an_address_with_the_command_that_finds_it() -> None:
    far = by("workload")["10.244.3.77, not on this node"]
    assert far.find_command == "kubectl get pods -A -o wide --field-selector=status.podIP=10.244.3.77"
    assert (far.open_sockets, far.entries_per_socket) == (None, None)
    assert by("workload")["203.0.113.50, not on this node"].find_command is None


def test_pods_of_other_nodes_are_named_by_the_list_and_need_no_command() -> None:
    named = by("workload", pods=PODS)["monitoring/prometheus-0 (10.244.3.77), not on this node"]
    assert named.find_command is None
    assert named.subject is not None
    assert [pod.name for pod in named.subject.pods] == ["prometheus-0"]


def test_who_may_be_in_a_namespace_that_was_not_read_is_not_said_to_be_elsewhere() -> None:
    addresses = msgspec.structs.replace(tracked.ADDRESSES, netns_unread=2)
    table = tabulate_flows(recording(reading(tracked.table(), addresses=addresses)), top=99, pods=PODS)
    assert {row.subject.kind for row in table.rows if "not found here" in row.label and row.subject} == {"remote"}
    assert {row.label for row in table.rows if row.subject and row.subject.perhaps_here} == {
        "monitoring/prometheus-0 (10.244.3.77), not found here",
        "203.0.113.50, not found here",
    }
    assert "203.0.113.50, not found here" in next(
        openers
        for row in by("destination", recording(reading(tracked.table(), addresses=addresses))).values()
        if (openers := list(row.openers)) and "203.0.113.50" in openers[0]
    )
    assert table.attribution is not None
    whys = {part.reason: part.why for part in table.attribution.unnamed}
    assert whys["remote"] == (
        "from 1 address not found here; addresses of 2 network namespaces could not be read; --pods names those of pods"
    )


def test_of_several_pods_with_one_address_all_are_named() -> None:
    twins = PodNames(("10.244.3.77", Pod(namespace="a", name=name)) for name in ("one", "two"))
    assert "a/one or a/two (10.244.3.77), not on this node" in by("workload", pods=twins)


def test_the_addresses_of_one_remote_pod_are_one_row_by_pod() -> None:
    pods = PodNames((address, Pod(namespace="a", name="b", uid="c")) for address in ("10.9.9.9", "fd00::9"))
    source = of(flow(2, "10.9.9.9", SERVICE), flow(3, "fd00::9", Endpoint("fd00::1", 80), family=6))
    (row,) = by("pod", source, pods=pods).values()
    assert row.entries == 5
    assert len(by("workload", source, pods=pods)) == 2


def test_a_connection_that_is_gone_is_inferred_only_where_it_came_and_went() -> None:
    label = "agent (pid 41) in agent.service"
    assert label not in by("workload")
    assert (by("workload", two())[label].entries, by("workload", two())[label].inferred) == (500, 500)


def test_what_cannot_be_told_apart_is_shared_and_says_who_was_seen() -> None:
    shared = by("workload")
    assert shared["programs of netns 14, not told apart; seen: scraper (pid 50), shipper (pid 51)"].entries == 60
    node = "the node's processes and host-network pods, not told apart; seen: agent (pid 41) in agent.service"
    assert (shared[node].entries, shared[node].open_sockets) == (577, 13)


def test_one_address_in_two_namespaces_is_of_nobody() -> None:
    assert by("workload")["172.17.0.2, in several network namespaces"].open_sockets is None
    assert unnamed(tabulate_flows(one()))["ambiguous"] == 33


def test_reasons_are_counted() -> None:
    assert unnamed(tabulate_flows(one())) == {
        "remote": 790, "node": 577, "netns": 60, "ambiguous": 33, "other": 17, "malformed": 2,
    }  # fmt: skip
    assert unnamed(tabulate_flows(one(), pods=PODS))["remote"] == 90


def test_without_addresses_the_reason_is_said() -> None:
    table = tabulate_flows(recording(reading(tracked.table(), addresses=NO_RIGHT)))
    assert set(unnamed(table)) == {"unread", "other", "malformed"}
    assert table.attribution is not None
    assert "needs CAP_NET_ADMIN" in table.attribution.unnamed[0].why


def test_what_was_not_read_is_said() -> None:
    addresses = msgspec.structs.replace(tracked.ADDRESSES, netns_unread=2, left_out=5)
    table = tabulate_flows(recording(reading(tracked.table(), addresses=addresses, sockets=NO_RIGHT)))
    assert table.attribution is not None
    assert len(table.attribution.not_seen) == 3
    fallback = Sockets(method="sock_diag", groups=(), fallback_reason="BPF is forbidden")
    table = tabulate_flows(recording(reading(tracked.table(), sockets=fallback)))
    assert table.attribution is not None
    assert "BPF is forbidden" in table.attribution.not_seen[0]


def test_growth_is_of_each_owner_and_losses_are_of_the_window() -> None:
    table = tabulate_flows(two(), sort="growth")
    assert [row.growth for row in table.rows[:2]] == [210, 0]
    assert table.fill is not None
    assert (table.fill.growth, table.fill.seconds) == (210, 1.0)
    assert table.fill.statistics_growth == {"drop": 210, "early_drop": 0, "insert_failed": 0, "found": 0}


@pytest.mark.parametrize("view", [view for view in FLOW_VIEWS if view != "netns"])
def test_who_has_no_entry_any_more_has_shrunk_and_nobody_knows_what_it_has_open(view: FlowView) -> None:
    gone = tracked.table(groups=(flow(4, "10.9.9.9", Endpoint("10.9.9.8", 7), "99", protocol="99"), *tracked.groups()))
    table = tabulate_flows(recording(reading(gone), reading(tracked.table())), by=view, top=99)
    (row,) = [row for row in table.rows if not row.entries]
    assert (row.growth, row.open_sockets, row.unreplied) == (-4, None, 0)


def test_growth_needs_two_readings_of_one_namespace() -> None:
    with pytest.raises(UsageError, match="two readings"):
        tabulate_flows(one(), sort="growth")
    other = recording(reading(tracked.table(netns=99)), reading(tracked.table()))
    assert tabulate_flows(other).rows[0].growth is None
    with pytest.raises(UsageError, match="two readings"):
        tabulate_flows(other, sort="growth")


def test_entries_that_could_not_be_read_before_have_no_growth() -> None:
    before = tracked.table(groups=(), dump_failure=NO_RIGHT)
    assert {row.growth for row in tabulate_flows(recording(reading(before), reading(tracked.table()))).rows} == {None}


def test_a_process_that_ended_keeps_its_key_and_its_name() -> None:
    """It is in the older reading of workloads only."""
    source = recording(reading(tracked.table()), reading(tracked.table(), workloads=Workloads()))
    assert {row.label: row.growth for row in tabulate_flows(source, top=99).rows}[
        "kubelet (pid 40) in kubelet.service"
    ] == 0


def test_unreplied_can_lead() -> None:
    assert [row.unreplied for row in tabulate_flows(one(), sort="unreplied").rows[:3]] == [2_100, 40, 0]


def test_all_namespaces_are_shown_with_count_and_name() -> None:
    shown = {row.label: row.entries for row in tabulate_flows(one(), by="netns").rows}
    assert shown == {
        "netns 1, this node's own, whose table is the one above": 33_024,
        "netns 99": 1_200,
        f"netns 12 ({WEB_LABEL})": 80,
        f"netns 13 ({API_LABEL})": 0,
    }


def test_namespaces_are_counted_even_if_the_entries_cannot_be_read() -> None:
    source = recording(reading(tracked.table(groups=(), dump_failure=NO_RIGHT, method=None)))
    assert tabulate_flows(source, by="netns").answers
    assert tabulate_flows(source, by="netns").rows[0].entries == 33_024
    assert not tabulate_flows(source).answers


def test_of_other_namespaces_only_the_number_is_known() -> None:
    table = tabulate_flows(one(), by="netns")
    assert [row.unreplied for row in table.rows] == [2_140, None, None, 0]
    assert table.elsewhere is not None
    assert (table.elsewhere.entries, table.elsewhere.namespaces, table.elsewhere.unread) == (1_280, 3, 1)
    assert (table.elsewhere.largest, table.elsewhere.largest_entries) == ("netns 99", 1_200)


def test_a_source_address_has_open_sockets_where_its_namespace_has_no_other() -> None:
    assert by("source")["10.244.1.12"].open_sockets == 162
    both = of(flow(1, "10.244.1.12", SERVICE), flow(1, "10.244.1.99", SERVICE), addresses=Addresses(
        by_netns={HOST: (tracked.at("10.0.0.1"),), WEB: (tracked.at("10.244.1.12"), tracked.at("10.244.1.99"))}
    ))  # fmt: skip
    assert [row.open_sockets for row in by("source", both).values()] == [None, None]


def test_a_kernel_that_tracks_nothing_has_no_table() -> None:
    table = tabulate_flows(recording(reading(Conntrack(loaded=False))))
    assert (table.loaded, table.fill, table.rows, table.answers) == (False, None, (), True)


def test_an_empty_table_has_no_rows() -> None:
    empty = Conntrack(loaded=True, netns=HOST, count=0, max_entries=10, buckets=8, counts={HOST: 0})
    table = tabulate_flows(recording(reading(empty)))
    assert (table.rows, table.rest, table.answers) == ((), None, True)


ADDRESS = st.sampled_from(["10.244.1.12", "10.244.1.13", "10.244.1.14", "172.17.0.2", "10.9.9.9", tracked.HERE, "::1"])
ENDPOINT = st.one_of(st.none(), st.builds(Endpoint, ADDRESS, st.sampled_from([80, 3000, None])))
GROUP = st.builds(
    lambda entries, source, to, state, protocol, replied, behind: flow(
        entries, source, to, state, protocol=protocol, replied=replied, answered_by=behind
    ),
    st.integers(1, 1000), ADDRESS, ENDPOINT, st.sampled_from(["established", "time-wait", "none"]),
    st.sampled_from(["tcp", "udp", "47"]), st.booleans(), ENDPOINT,
)  # fmt: skip


@given(st.lists(GROUP, max_size=12), st.sampled_from([view for view in FLOW_VIEWS if view != "netns"]))
def test_entries_add_up_whatever_is_in_the_table(groups: list[Any], view: FlowView) -> None:
    table = tabulate_flows(of(*groups), by=view, top=2)
    shown = [*table.rows, *([table.rest] if table.rest else [])]
    total = sum(g.entries for g in groups)
    assert sum(row.entries for row in shown) == total
    assert sum(sum(row.states.values()) + sum(row.others.values()) for row in shown) == total
    assert sum(row.unreplied or 0 for row in shown) == sum(g.entries for g in groups if not g.replied)
    assert table.attribution is not None
    assert table.attribution.named + sum(unnamed(table).values()) == total


def test_a_dead_destination_is_all_unreplied() -> None:
    (row,) = by("workload", of(silent(50, "10.244.1.13", Endpoint("198.51.100.7", 6379)))).values()
    assert (row.unreplied, row.destinations[0].unreplied, row.open_sockets) == (50, 50, 30)
