"""Who is named for a table that is full: every kind, its look-alike, and those who could be named wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.finding import Evidence, Finding
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Process, Workload, Workloads

from .flows import (
    CLIENT,
    FAR,
    HOST,
    HOST_ADDRESS,
    SERVICE,
    PodAt,
    addresses_of,
    busy,
    churn,
    crowd,
    culprits,
    flow,
    idle,
    in_role,
    is_cleared,
    listening,
    name,
    names,
    node,
    only,
    opened,
    over,
    table,
    twice,
    unanswered,
)
from .nodes import BEGIN, ages, in_container, process

POD = PodAt(1)
OTHER = PodAt(2, "api")
DNS = Endpoint("10.96.0.10", 53)
CROWD = crowd(100, each=44)
"""4,400 busy entries of a hundred clients: a table of 10,000 that is calm without the rest."""


def filled_by(*groups: FlowGroup, pods: Sequence[PodAt] = (POD, OTHER), **how: object) -> Finding:
    """The finding of a nearly full table in which these are beside the crowd."""
    return only(twice(*CROWD, *groups, pods=pods, dropped=9, **how))  # type: ignore[arg-type]


def said_of(found: Finding, words: str) -> Evidence | None:
    return next((e for e in found.evidence if words in e.statement), None)


# --- Each kind ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "shape"),
    [
        (churn(POD.address, SERVICE, 5_300), "churn"),
        (churn(POD.address, SERVICE, 5_300, state="fin-wait"), "churn"),
        (churn(POD.address, SERVICE, 5_300, state="close", ages=over(5_300, 10)), "churn"),
        (names(POD.address, Endpoint("203.0.113.5", 123), 5_300), "churn"),
        (idle(POD.address, SERVICE, 5_300), "idle-established"),
        (unanswered(POD.address, SERVICE, 5_300), "unreplied"),
        (unanswered(POD.address, FAR, 5_300, protocol="udp", state="none", ages=over(5_300, 30)), "unreplied"),
        (names(POD.address, Endpoint("10.96.0.10", 53), 5_300), "dns"),
        (churn(POD.address, Endpoint("10.96.0.10", 53), 5_300), "dns"),
    ],
)
def test_every_kind_is_named_with_its_opener_and_its_destination(group: FlowGroup, shape: str) -> None:
    found = filled_by(group)
    assert (found.shape, found.claim, found.severity, found.confidence) == (shape, "floods", "critical", "proven")
    assert in_role(found, "culprit") == ["web-1"]
    assert group.destination is not None
    assert group.destination in [p.endpoint for p in found.parties if p.role == "peer"]


def test_a_scan_is_unreplied_to_many_destinations() -> None:
    scan = [unanswered(POD.address, Endpoint(f"203.0.{n // 250}.{n % 250}", 22), 1) for n in range(5_300)]
    found = filled_by(*scan)
    assert (found.shape, in_role(found, "culprit")) == ("unreplied", ["web-1"])
    assert "to 5,300 destinations or more" in found.title


def test_a_scan_whose_destinations_were_merged_is_still_one() -> None:
    found = filled_by(unanswered(POD.address, None, 5_300, merged=True))
    assert (found.shape, in_role(found, "culprit")) == ("unreplied", ["web-1"])
    assert "to many destinations" in found.title


@pytest.mark.parametrize(
    "group",
    [
        busy(POD.address, SERVICE, 5_300),
        idle(POD.address, SERVICE, 5_300, age=59),
        idle(POD.address, SERVICE, 5_300, ages=()),
        idle(POD.address, SERVICE, 5_300, offloaded=True, state="none", ages=()),
        flow(POD.address, SERVICE, 5_300, state="syn-recv", ages=over(5_300, 60)),
        flow(POD.address, SERVICE, 5_300, state="close-wait", ages=ages(5_300, 30)),
        names(POD.address, FAR, 5_300, assured=True),
        names(POD.address, FAR, 5_300, offloaded=True, ages=()),
        unanswered(POD.address, Endpoint("192.0.2.11", 8472), 5_300, protocol="udp", state="none"),
        unanswered(POD.address, Endpoint("192.0.2.11", 4789), 5_300, protocol="udp", state="none"),
        flow(POD.address, Endpoint("192.0.2.11", None), 5_300, protocol="gre", state="none"),
        idle(POD.address, FAR, 5_300, merged=True),
        idle(POD.address, SERVICE, 5_300, replied=False, assured=False),
    ],
    ids=["in use", "idle for less", "idle unknown", "offloaded", "half open", "closed by the other side", "stream",
         "offloaded stream", "overlay", "vxlan", "gre", "direction unknown", "one way"],
)  # fmt: skip
def test_whoever_has_most_and_wastes_nothing_is_not_accused(group: FlowGroup) -> None:
    found = filled_by(group)
    assert (found.shape, found.claim, in_role(found, "culprit")) == ("spread", "holds", [])
    assert in_role(found, "holder")[0] == "web-1"


def test_connections_older_than_the_tracking_may_be_entered_the_wrong_way_round() -> None:
    """A server that seems to have opened connections to the ports of its clients."""
    turned = [idle(POD.address, Endpoint(f"198.51.100.{n % 250}", 32_768 + n), 1) for n in range(5_300)]
    assert in_role(filled_by(*turned), "culprit") == []


def test_a_busy_balancer_in_a_table_with_room_is_no_finding() -> None:
    balancer = busy(POD.address, SERVICE, 30_000)
    assert is_cleared(twice(balancer, size=65_536, pods=[POD]))


def test_a_table_at_sixty_percent_of_short_connections_is_no_finding() -> None:
    assert is_cleared(twice(churn(POD.address, SERVICE, 6_000), pods=[POD]))


# --- The excess --------------------------------------------------------------------------------------------------


def test_the_smaller_one_that_wastes_is_named_and_the_larger_that_is_busy_has_much() -> None:
    found = only(twice(busy(OTHER.address, FAR, 5_300), churn(POD.address, SERVICE, 4_500), pods=[POD, OTHER]))
    assert (in_role(found, "culprit"), in_role(found, "holder")) == (["web-1"], ["api-2"])


@pytest.mark.parametrize(("wasted", "named"), [(3_800, []), (3_801, ["web-1"])])
def test_without_the_culprit_the_table_would_be_calm(wasted: int, named: list[str]) -> None:
    found = only(twice(busy(CLIENT, FAR, 9_800 - wasted), churn(POD.address, SERVICE, wasted), pods=[POD]))
    assert in_role(found, "culprit") == named


def test_as_few_as_possible_are_named() -> None:
    pods = [PodAt(n, f"app{n}") for n in range(1, 5)]
    wasted = (4_000, 3_000, 2_000, 900)
    groups = [churn(p.address, SERVICE, n) for p, n in zip(pods, wasted, strict=True)]
    assert in_role(only(twice(*groups, pods=pods)), "culprit") == ["app1-1"]
    assert in_role(only(twice(*groups, pods=pods, count=11_000, size=9_000)), "culprit") == ["app1-1", "app2-2"]


def test_who_has_less_than_a_fifth_does_not_make_up_what_another_lacks() -> None:
    found = only(twice(
        busy(CLIENT, FAR, 5_900), churn(POD.address, SERVICE, 3_300), churn(OTHER.address, SERVICE, 600),
        pods=[POD, OTHER],
    ))  # fmt: skip
    assert (found.shape, in_role(found, "culprit")) == ("spread", [])


def test_pods_of_one_workload_that_do_not_make_up_the_excess_are_not_named() -> None:
    pods = [PodAt(n, "job") for n in range(1, 11)]
    found = only(twice(busy(CLIENT, FAR, 6_800), *(churn(p.address, SERVICE, 300) for p in pods), pods=pods))
    assert in_role(found, "culprit") == []


def test_pods_of_which_no_image_is_known_are_not_one_workload() -> None:
    pods = [PodAt(n, "job") for n in range(1, 11)]
    for p in pods:
        assert p.workload.container is not None
        p.workload = replace(p.workload, container=replace(p.workload.container, image=None))
    assert culprits(twice(*(churn(p.address, SERVICE, 970) for p in pods), pods=pods)) == []


def test_of_many_alike_nobody_is_named() -> None:
    pods = [PodAt(n, f"app{n}") for n in range(1, 11)]
    found = only(twice(*(churn(p.address, SERVICE, 970) for p in pods), pods=pods))
    assert (found.shape, in_role(found, "culprit")) == ("spread", [])


def test_of_equals_none_is_left_out() -> None:
    """Two would do, but nobody can say which two of four."""
    pods = [PodAt(n, f"app{n}") for n in range(1, 5)]
    found = only(twice(*(churn(p.address, SERVICE, 2_450) for p in pods), pods=pods))
    assert in_role(found, "culprit") == []
    three = only(twice(*CROWD[:20], *(churn(p.address, SERVICE, 3_000) for p in pods[:3]), pods=pods))
    assert len(in_role(three, "culprit")) == 3


@pytest.mark.parametrize(("other", "named"), [(2_399, ["app1-1", "app2-2"]), (2_400, ["app1-1", "app2-2", "app3-3"])])
def test_whoever_has_about_as_much_as_the_last_one_named_is_named_too(other: int, named: list[str]) -> None:
    pods = [PodAt(n, f"app{n}") for n in range(1, 4)]
    found = only(twice(*(churn(p.address, SERVICE, n) for p, n in zip(pods, (3_500, 3_000, other), strict=True)),
                       busy(CLIENT, FAR, 9_900 - 6_500 - other), pods=pods))  # fmt: skip
    assert in_role(found, "culprit") == named


def test_whoever_has_about_as_much_as_one_that_cannot_be_named_is_not_named_instead() -> None:
    found = only(twice(*CROWD[:20], churn(HOST_ADDRESS, SERVICE, 4_400), churn(POD.address, SERVICE, 3_700), pods=[POD],
                       size=9_000, dropped=9))  # fmt: skip
    assert (found.claim, in_role(found, "culprit")) == ("holds", [])
    assert found.title.startswith("Somebody behind the node itself fills the")


def test_of_four_that_are_about_equal_nobody_is_named() -> None:
    pods = [PodAt(n, f"app{n}") for n in range(1, 5)]
    entries = (2_600, 2_500, 2_400, 2_300)
    found = only(twice(*(churn(p.address, SERVICE, n) for p, n in zip(pods, entries, strict=True)), pods=pods))
    assert (found.shape, in_role(found, "culprit")) == ("spread", [])


def programs(*pids: int, comm: str = "gateway") -> tuple[dict[str, Any], list[PodAt]]:
    """Programs of one name, each alone in a namespace with an address, of no container."""
    places = [PodAt(pid) for pid in pids]
    sole = {p.netns: Workload(process=process(pid, comm=comm), netns=p.netns)
            for pid, p in zip(pids, places, strict=True)}  # fmt: skip
    return {"sole": sole, "addresses": addresses_of(*places)}, places


def test_several_of_one_name_are_counted_and_told_apart_by_their_pids() -> None:
    how, places = programs(3, 4, 5)
    found = only(twice(*(churn(p.address, SERVICE, n) for p, n in zip(places, (3_180, 3_140, 3_130), strict=True)),
                       busy(CLIENT, FAR, 550), dropped=9, **how))  # fmt: skip
    assert sorted(p.process.pid for p in found.parties if p.role == "culprit" and p.process) == [3, 4, 5]
    assert found.title.startswith("3 gateway processes fill the connection tracking table with 9,450 short connections")
    assert found.summary.startswith("3 gateway processes fill the conntrack table")
    for pid in (3, 4, 5):
        assert said_of(found, f"that gateway (pid {pid}) opened") is not None
        assert f"gateway (pid {pid}) opens " in " ".join(found.explanation)


def test_of_several_the_same_names_are_counted_beside_others() -> None:
    how, places = programs(3, 4)
    groups = [churn(p.address, SERVICE, 3_200) for p in places]
    found = only(twice(*groups, idle(CLIENT, SERVICE, 3_100), **how))
    assert found.title.startswith(f"2 gateway processes and {CLIENT} fill the")


def test_the_title_names_a_destination_only_if_it_is_that_of_all() -> None:
    found = filled_by(churn(POD.address, SERVICE, 2_700), churn(OTHER.address, FAR, 2_600))
    assert found.title.startswith("shop/web-1 and shop/api-2 fill the")
    assert "to several destinations" in found.title


def test_pods_of_one_workload_are_one_culprit() -> None:
    pods = [PodAt(n, "job") for n in range(1, 11)]
    found = only(twice(*(churn(p.address, SERVICE, 970) for p in pods), pods=pods))
    assert sorted(in_role(found, "culprit")) == sorted(f"job-{n}" for n in range(1, 11))
    assert (found.confidence, found.shape) == ("proven", "churn")
    assert found.title.startswith("10 pods of one workload (shop/job-1 and others) fill the")


def test_a_pod_of_that_workload_that_does_not_do_the_same_is_not_named() -> None:
    pods = [PodAt(n, "job") for n in range(1, 11)]
    groups = [churn(p.address, SERVICE, 1_050) for p in pods[:9]]
    found = only(twice(*groups, churn(pods[9].address, SERVICE, 20), pods=pods))
    assert len(in_role(found, "culprit")) == 9
    assert "job-10" not in in_role(found, "culprit")


def test_one_program_in_two_namespaces_of_the_cluster_is_not_one_workload() -> None:
    pods = [PodAt(n, "job") for n in range(1, 11)]
    for n, p in enumerate(pods):
        assert p.workload.pod is not None
        p.workload = replace(p.workload, pod=replace(p.workload.pod, namespace=f"ns{n}"))
    assert culprits(twice(*(churn(p.address, SERVICE, 970) for p in pods), pods=pods)) == []


# --- Who could be named wrongly ----------------------------------------------------------------------------------


def test_a_balancer_that_opens_a_connection_for_each_it_is_sent_only_passes_them_on() -> None:
    balancer = Endpoint(POD.address, 4140)
    found = only(twice(
        *CROWD[:20],
        churn(CLIENT, SERVICE, 4_400, answered_by=balancer), churn(POD.address, FAR, 4_400), pods=[POD],
    ))  # fmt: skip
    assert in_role(found, "culprit") == [CLIENT]
    assert in_role(found, "holder") == ["web-1"]
    passed = said_of(found, "on behalf of")
    assert passed is not None
    assert passed.value == 4_400


def test_a_balancer_of_the_nodes_own_address_only_passes_on_what_is_sent_to_its_port() -> None:
    proxy = Workload(process=Process(pid=7, comm="haproxy"), netns=HOST)
    groups = [churn(CLIENT, Endpoint(HOST_ADDRESS, 443), 4_400), churn(HOST_ADDRESS, FAR, 4_400)]
    sockets = [opened(7, FAR, 10)]
    how = {"by_pid": {7: proxy}, "queues": [listening(7, 443)]}
    changing = twice(*CROWD[:20], *groups, sockets=sockets, **how)  # type: ignore[arg-type]
    first, second = changing.snapshots
    other = replace(second.samples["sockets"], groups=(opened(7, FAR, 11),))  # type: ignore[type-var]
    changing = replace(changing, snapshots=(first, replace(second, samples={**second.samples, "sockets": other})))
    assert culprits(changing) == [CLIENT]


def test_a_proxy_that_is_sent_few_and_opens_many_does_not_pass_on() -> None:
    """Its clients keep their connections; it does not."""
    inbound = busy(CLIENT, SERVICE, 100, answered_by=Endpoint(POD.address, 4140))
    assert in_role(filled_by(inbound, churn(POD.address, FAR, 5_200)), "culprit") == ["web-1"]


def test_two_who_open_to_each_other_pass_nothing_on() -> None:
    groups = [
        churn(POD.address, Endpoint(OTHER.address, 80), 2_700),
        churn(OTHER.address, Endpoint(POD.address, 80), 2_600),
    ]
    found = filled_by(*groups)
    assert sorted(in_role(found, "culprit")) == ["api-2", "web-1"]


def test_of_a_chain_of_relays_the_first_sender_is_named() -> None:
    third = PodAt(3, "db")
    found = only(twice(
        *CROWD[:20],
        churn(CLIENT, Endpoint(POD.address, 80), 3_000), churn(POD.address, Endpoint(OTHER.address, 80), 3_000),
        churn(OTHER.address, Endpoint(third.address, 80), 3_000), pods=[POD, OTHER, third],
    ))  # fmt: skip
    assert in_role(found, "culprit") == [CLIENT]
    passed = said_of(found, "on behalf of")
    assert passed is not None
    assert passed.value == 6_000


def test_what_is_sent_to_a_relay_by_many_accuses_nobody() -> None:
    many = [churn(f"172.16.9.{n}", SERVICE, 45, answered_by=Endpoint(POD.address, 4140)) for n in range(100)]
    found = only(twice(*CROWD[:20], *many, churn(POD.address, FAR, 4_400), pods=[POD]))
    assert in_role(found, "culprit") == []


def test_a_name_server_asks_for_others() -> None:
    """Node-local name caches are asked past the tracking; only what they ask themselves is to be seen."""
    query = names(POD.address, Endpoint("10.96.0.10", 53), 5_300)
    sockets = [opened(7, FAR, 1, netns=POD.netns)]
    found = filled_by(query, sockets=sockets, queues=[listening(7, 53, netns=POD.netns)], by_pid=in_container("dns", 7))
    assert (in_role(found, "culprit"), in_role(found, "holder")) == ([], ["web-1"])
    assert found.title.startswith("Somebody behind shop/web-1 fills")
    other_port = filled_by(query, sockets=sockets, queues=[listening(7, 54, netns=POD.netns)])
    assert in_role(other_port, "culprit") == ["web-1"]


def test_an_address_in_several_namespaces_accuses_nobody() -> None:
    twin = PodAt(3)
    twin.address = POD.address
    found = filled_by(churn(POD.address, SERVICE, 5_300), pods=[POD, twin])
    assert (found.claim, found.shape, in_role(found, "culprit")) == ("holds", "churn", [])
    assert "several network namespaces" in " ".join(found.explanation)


def test_without_addresses_nobody_is_accused() -> None:
    without = [
        replace(s, samples={name: x for name, x in s.samples.items() if not isinstance(x, Addresses)})
        for s in twice(*CROWD, churn(CLIENT, SERVICE, 5_300)).snapshots
    ]
    found = only(replace(twice(), snapshots=tuple(without)))
    assert (found.claim, in_role(found, "culprit")) == ("holds", [])
    assert "Addresses were not read" in " ".join(found.explanation)


@pytest.mark.parametrize("gap", [{"netns_unread": 1}, {"left_out": 3}])
def test_who_looks_remote_may_be_in_a_namespace_that_was_not_read(gap: dict[str, int]) -> None:
    found = filled_by(churn(CLIENT, SERVICE, 5_300), addresses=addresses_of(POD, **gap))
    assert (found.confidence, in_role(found, "culprit")) == ("possible", [CLIENT])
    local = filled_by(churn(POD.address, SERVICE, 5_300), addresses=addresses_of(POD, **gap))
    assert local.confidence == "proven"


def test_a_pod_that_ended_within_the_window_does_not_become_a_remote_culprit() -> None:
    before, after = twice(*CROWD, churn(POD.address, SERVICE, 5_300), pods=[POD]).snapshots
    gone = replace(after, samples={**after.samples, "addresses": addresses_of()})
    found = only(replace(twice(), snapshots=(before, gone)))
    assert in_role(found, "culprit") == []
    assert "is gone" in " ".join(found.explanation)


def test_programs_that_share_the_nodes_address_are_not_told_apart() -> None:
    found = filled_by(churn(HOST_ADDRESS, SERVICE, 5_300))
    assert (found.claim, in_role(found, "culprit")) == ("holds", [])
    assert "several programs share its address" in " ".join(found.explanation)


def test_of_programs_that_share_an_address_those_seen_there_are_candidates() -> None:
    by_pid = {pid: Workload(process=process(pid), netns=HOST) for pid in (7, 8)}
    sockets = [opened(7, SERVICE, 3), opened(8, SERVICE, 4)]
    found = filled_by(churn(HOST_ADDRESS, SERVICE, 5_300), sockets=sockets, by_pid=by_pid)
    assert in_role(found, "culprit") == []
    assert "it may be app7, app8" in " ".join(found.explanation)


def test_what_is_inferred_from_sockets_that_are_gone_is_possible_at_most() -> None:
    by_pid = {7: Workload(process=process(7), netns=HOST)}
    some = twice(*CROWD, churn(HOST_ADDRESS, SERVICE, 5_300), by_pid=by_pid, sockets=[opened(7, SERVICE, 3)])
    first, second = some.snapshots
    more = replace(second.samples["sockets"], groups=(opened(7, SERVICE, 9),))  # type: ignore[type-var]
    found = only(replace(some, snapshots=(first, replace(second, samples={**second.samples, "sockets": more}))))
    assert (in_role(found, "culprit"), found.confidence) == (["app7"], "possible")


def test_a_sender_without_handshake_can_invent_its_address() -> None:
    found = filled_by(unanswered(CLIENT, Endpoint(HOST_ADDRESS, 80), 5_300))
    assert (in_role(found, "culprit"), found.confidence) == ([CLIENT], "likely")
    assert "can invent its address" in " ".join(found.explanation)
    assert filled_by(churn(CLIENT, Endpoint(HOST_ADDRESS, 80), 5_300)).confidence == "proven"


def test_a_flood_of_half_open_connections_is_no_table_that_is_too_small() -> None:
    half_open = [
        flow(f"198.18.{n // 250}.{n % 250}", SERVICE, 1, state="syn-recv", assured=False) for n in range(5_300)
    ]
    found = filled_by(*half_open)
    assert in_role(found, "culprit") == []
    assert "SYN flood" in " ".join(found.explanation)


def test_a_remote_sender_is_named_as_seen_from_here() -> None:
    words = " ".join(filled_by(churn(CLIENT, SERVICE, 5_300)).explanation)
    assert f"{CLIENT} is the sender as seen from here" in words
    assert "seen from here" not in " ".join(filled_by(churn(POD.address, SERVICE, 5_300)).explanation)


# --- How sure ----------------------------------------------------------------------------------------------------


def test_one_reading_is_possible() -> None:
    assert only(node(table(*CROWD, churn(POD.address, SERVICE, 5_300)), pods=[POD])).confidence == "possible"


def test_a_burst_that_is_over_is_likely_at_most() -> None:
    assert filled_by(churn(POD.address, SERVICE, 5_300, ages=ages(5_300, 70))).confidence == "likely"


def test_idle_entries_that_were_mostly_gone_later_are_likely_at_most() -> None:
    tables = [table(*CROWD, idle(POD.address, SERVICE, n)) for n in (5_300, 100)]
    assert only(node(*tables, pods=[POD])).confidence == "likely"


def test_what_came_within_the_window_is_seen() -> None:
    before, after = table(*CROWD), table(*CROWD, churn(POD.address, SERVICE, 5_300, ages=ages(5_300, 20)))
    assert only(node(before, after, pods=[POD])).confidence == "proven"


@pytest.mark.parametrize(("others", "sure"), [(4_000, "likely"), (3_999, "proven")])
def test_less_than_half_of_the_waste_is_likely(others: int, sure: str) -> None:
    groups = [
        churn(p.address, SERVICE, n)
        for p, n in zip([PodAt(n, f"a{n}") for n in range(3, 7)], _quarters(others), strict=True)
    ]
    pods = [POD, *(PodAt(n, f"a{n}") for n in range(3, 7))]
    found = only(twice(*CROWD[:40], churn(POD.address, SERVICE, 3_999), *groups, pods=pods))
    assert (in_role(found, "culprit"), found.confidence) == (["web-1"], sure)


def _quarters(n: int) -> list[int]:
    return [n // 4 + (n % 4 > i) for i in range(4)]


def test_with_a_fifth_unowned_it_is_likely() -> None:
    unowned = busy("10.77.0.1", SERVICE, 2_100)
    twin = [PodAt(8), PodAt(9)]
    for p in twin:
        p.address = "10.77.0.1"
    found = only(twice(*CROWD[:52], unowned, churn(POD.address, SERVICE, 5_300), pods=[POD, *twin]))
    assert (in_role(found, "culprit"), found.confidence) == (["web-1"], "likely")


def test_entries_that_were_not_read_lower_the_share_that_is_known() -> None:
    found = only(twice(*CROWD[:20], churn(POD.address, SERVICE, 5_300), pods=[POD], count=9_800))
    assert found.confidence == "likely"


# --- Who tries and is dropped ------------------------------------------------------------------------------------


def beside(drops: int, group: FlowGroup, sockets: Sequence[SocketGroup] = ()) -> Finding:
    """The finding where so many packets were dropped within ten seconds."""
    return only(twice(*CROWD, group, pods=[POD], dropped=drops, sockets=[opened(9, FAR, 1), *sockets]))


CHURN = churn(POD.address, SERVICE, 5_300)
"""440 of the last ten seconds."""


@pytest.mark.parametrize(("drops", "sure"), [(4_400, "proven"), (4_500, "possible")])
def test_where_far_more_is_dropped_than_the_one_named_opens_somebody_else_may_be_the_one(drops: int, sure: str) -> None:
    found = beside(drops, CHURN)
    assert (in_role(found, "culprit"), found.confidence) == (["web-1"], sure)
    assert ("somebody else may try to open far more" in " ".join(found.explanation)) is (sure == "possible")


@pytest.mark.parametrize(("waiting", "sure"), [(455, "possible"), (456, "proven")])
def test_whoever_is_seen_to_wait_for_an_answer_is_dropped_itself(waiting: int, sure: str) -> None:
    """5,000 a second; 44 entries a second are new."""
    sockets = [opened(7, SERVICE, waiting, netns=POD.netns, state="syn-sent")]
    assert beside(50_000, CHURN, sockets).confidence == sure
    established = [opened(7, SERVICE, waiting, netns=POD.netns)]
    assert beside(50_000, CHURN, established).confidence == "possible"


def test_few_drops_say_nothing_of_a_burst_that_is_over() -> None:
    assert beside(100, replace(CHURN, ages=ages(5_300, 70))).confidence == "likely"
    assert beside(101, replace(CHURN, ages=ages(5_300, 70))).confidence == "possible"


def test_whoever_keeps_idle_connections_need_not_open_any() -> None:
    sockets = [opened(7, SERVICE, 5_300, netns=POD.netns)]
    found = beside(50_000, idle(POD.address, SERVICE, 5_300), sockets)
    assert (found.confidence, found.shape) == ("proven", "idle-established")


@pytest.mark.parametrize(("open_ones", "sure"), [(2_649, "likely"), (2_650, "proven")])
def test_idle_entries_without_sockets_may_be_of_somebody_before(open_ones: int, sure: str) -> None:
    sockets = [opened(7, SERVICE, open_ones, netns=POD.netns)]
    assert filled_by(idle(POD.address, SERVICE, 5_300), sockets=sockets).confidence == sure


@pytest.mark.parametrize(("minutes", "named"), [(20, ["web-1"]), (2, [])])
def test_entries_that_were_quiet_before_it_was_started_are_not_held_against_it(minutes: int, named: list[str]) -> None:
    late = PodAt(1)
    container = replace(late.workload.container, started=BEGIN - timedelta(minutes=minutes))
    late.workload = replace(late.workload, container=container)
    found = only(twice(*CROWD, idle(late.address, SERVICE, 5_300, age=900), pods=[late]))
    assert in_role(found, "culprit") == named


# --- What is said of it ------------------------------------------------------------------------------------------


def test_every_number_of_a_finding_is_explained_where_they_differ() -> None:
    """The title has one kind, a line one destination, the party all kinds."""
    groups = [churn(POD.address, SERVICE, 4_000), churn(POD.address, FAR, 700), unanswered(POD.address, FAR, 600)]
    found = filled_by(*groups)
    assert "with 4,700 short connections" in found.title
    (culprit,) = [p for p in found.parties if p.role == "culprit"]
    said = [(e.statement, e.value) for e in found.evidence if "that shop/web-1 opened" in e.statement]
    assert said == [
        ("Entries of short connections that are over that shop/web-1 opened to 10.96.0.20:443", 4_000),
        ("Of that kind, to every destination, that shop/web-1 opened", 4_700),
        ("In all that shop/web-1 opened (4,700 of short connections + 600 without an answer), "
         "55 % of all tracked connections", culprit.entries),
    ]  # fmt: skip


def test_a_number_that_is_all_there_is_is_said_once() -> None:
    found = filled_by(churn(POD.address, SERVICE, 5_300))
    assert [e.value for e in found.evidence if "that shop/web-1 opened" in e.statement] == [5_300]


def test_reuse_would_need_only_what_is_open_at_one_time() -> None:
    found = filled_by(churn(POD.address, SERVICE, 5_300), busy(POD.address, SERVICE, 12))
    assert "opens 44.0 a second (those of the last 10 s), and has 12 open at one time" in " ".join(found.explanation)


@pytest.mark.parametrize("open_ones", [0, 5_300])
def test_idle_entries_are_held_against_the_sockets_that_are_open(open_ones: int) -> None:
    sockets = [opened(7, SERVICE, open_ones, netns=POD.netns)] if open_ones else [opened(7, FAR, 1, netns=POD.netns)]
    found = filled_by(idle(POD.address, SERVICE, 5_300), sockets=sockets)
    really = said_of(found, "really has open")
    assert really is not None
    assert really.value == open_ones


def test_the_share_of_the_culprit_is_of_all_tracked_connections() -> None:
    (culprit,) = [p for p in filled_by(churn(POD.address, SERVICE, 5_300)).parties if p.role == "culprit"]
    assert (culprit.share, culprit.share_of, culprit.entries) == (0.5464, "all tracked connections", 5_300)


def test_pods_of_one_workload_that_meet_here_are_said_with_what_to_paste() -> None:
    pods = [PodAt(1, "l5d"), PodAt(2, "l5d"), PodAt(3, "api")]
    to = [churn(CLIENT, SERVICE, 2_700, answered_by=Endpoint(p.address, 4140)) for p in pods[:2]]
    found = filled_by(*to, busy(pods[2].address, FAR, 30), pods=pods)
    assert in_role(found, "culprit") == [CLIENT]
    assert sorted(in_role(found, "holder")) == ["l5d-1", "l5d-2"]
    assert "2 of the top 3 pods by entries on this node are of one workload" in " ".join(found.explanation)
    (step,) = [r for r in found.remedies if r.action == "spread"]
    assert "podAntiAffinity" in step.do
    assert step.command == "kubectl get pod --namespace=shop --show-labels -- l5d-1"


def test_pods_of_one_workload_that_have_little_need_not_be_spread() -> None:
    pods = [PodAt(1, "l5d"), PodAt(2, "l5d"), PodAt(3, "api")]
    found = filled_by(churn(pods[2].address, FAR, 4_000), *(busy(p.address, FAR, 600) for p in pods[:2]), pods=pods)
    assert "spread" not in [r.action for r in found.remedies]


def test_pods_of_different_workloads_need_not_be_spread() -> None:
    to = [churn(CLIENT, SERVICE, 2_700, answered_by=Endpoint(p.address, 4140)) for p in (POD, OTHER)]
    assert "spread" not in [r.action for r in filled_by(*to).remedies]


def test_both_addresses_of_a_service_are_shown() -> None:
    answered = Endpoint("10.244.3.3", 8443)
    found = filled_by(churn(POD.address, SERVICE, 5_300, answered_by=answered))
    peers = [(p.endpoint, p.effect) for p in found.parties if p.role == "peer"]
    assert peers == [(SERVICE, "the Service that was asked for"), (answered, UNSET)]
    as_it_is = filled_by(churn(POD.address, SERVICE, 5_300))
    assert [(p.endpoint, p.effect) for p in as_it_is.parties if p.role == "peer"] == [(SERVICE, UNSET)]


def test_a_larger_table_is_one_in_which_the_present_number_is_calm() -> None:
    (enlarge,) = [r.command for r in filled_by(busy(POD.address, SERVICE, 5_300)).remedies if r.action == "tune"]
    assert enlarge == "sysctl -w net.netfilter.nf_conntrack_max=20000"


@pytest.mark.parametrize(("buckets", "more"), [
    (4_999, " && echo 5000 > /sys/module/nf_conntrack/parameters/hashsize"), (5_000, ""), (65_536, ""),
])  # fmt: skip
def test_buckets_are_only_made_where_there_are_too_few(buckets: int, more: str) -> None:
    found = filled_by(busy(POD.address, SERVICE, 5_300), buckets=buckets)
    (enlarge,) = [r for r in found.remedies if "nf_conntrack_max" in (r.command or "")]
    assert enlarge.command == f"sysctl -w net.netfilter.nf_conntrack_max=20000{more}"
    assert ("new buckets stop packets" in enlarge.risk) is bool(more)


@pytest.mark.parametrize(("group", "setting"), [
    (churn(POD.address, SERVICE, 5_300), "tcp_timeout_time_wait=30"),
    (idle(POD.address, SERVICE, 5_300), "tcp_timeout_established=86400"),
    (unanswered(POD.address, SERVICE, 5_300), "tcp_timeout_syn_sent=30"),
    (names(POD.address, DNS, 5_300), "udp_timeout=10"),
    (names(POD.address, DNS, 5_300, assured=True), "udp_timeout_stream=60"),
    (churn(POD.address, DNS, 5_300), "tcp_timeout_time_wait=30"),
    (names(POD.address, FAR, 5_300), "udp_timeout=10"),
    (churn(POD.address, SERVICE, 5_300, state="fin-wait"), "tcp_timeout_fin_wait=30"),
    (unanswered(POD.address, FAR, 5_300, protocol="udp", state="none"), "udp_timeout=10"),
    (unanswered(POD.address, FAR, 5_300, protocol="icmp", state="none"), "icmp_timeout=10"),
])  # fmt: skip
def test_a_shorter_timeout_is_that_of_protocol_and_state(group: FlowGroup, setting: str) -> None:
    commands = [r.command for r in filled_by(group).remedies if "timeout" in (r.command or "")]
    assert commands == [f"sysctl -w net.netfilter.nf_conntrack_{setting}"]


@pytest.mark.parametrize(("closing", "fits"), [(2_650, False), (2_649, True)])
def test_where_no_single_timeout_fits_none_is_shortened(closing: int, fits: bool) -> None:
    groups = [churn(POD.address, SERVICE, 5_300 - closing), churn(POD.address, SERVICE, closing, state="fin-wait")]
    found = [r for r in filled_by(*groups).remedies if "timeout" in (r.command or "")]
    assert [r.command for r in found] == ["sysctl -w net.netfilter.nf_conntrack_tcp_timeout_time_wait=30"] * fits
    assert [r.effect for r in found] == ["2,651 of these 5,300 entries would stay 4.0 times shorter"] * fits


def test_a_state_that_ends_soon_anyway_has_no_shorter_timeout() -> None:
    found = filled_by(churn(POD.address, SERVICE, 5_300, state="close", ages=over(5_300, 10)))
    assert not [r for r in found.remedies if "timeout" in (r.command or "")]


@pytest.mark.parametrize(("timeouts", "shortened"), [
    ({"tcp_timeout_time_wait": 30}, False), ({"tcp_timeout_time_wait": 31}, True), ({}, False),
])  # fmt: skip
def test_a_timeout_that_is_short_already_or_not_known_is_not_shortened(
    timeouts: dict[str, int], shortened: bool
) -> None:
    found = filled_by(churn(POD.address, SERVICE, 5_300), timeouts=timeouts)
    assert any("timeout" in (r.command or "") for r in found.remedies) is shortened


def test_tracking_is_only_given_up_where_nothing_is_translated() -> None:
    def offers(group: FlowGroup) -> bool:
        return any("notrack" in r.do for r in filled_by(group).remedies)

    assert offers(churn(POD.address, FAR, 5_300))
    assert not offers(churn(POD.address, FAR, 5_300, source_as=HOST_ADDRESS))
    assert not offers(churn(POD.address, SERVICE, 5_300, answered_by=FAR))


def test_the_summary_names_the_culprit() -> None:
    found = filled_by(churn(POD.address, SERVICE, 5_300))
    assert found.summary == "shop/web-1 fills the conntrack table, full, and packets are dropped"
    assert name(found.parties[0]) == "web-1"


def test_a_pod_that_keeps_connections_is_the_cause_of_the_entries_it_keeps() -> None:
    """Its leak is the finding above; what it does to the table follows."""
    tables = [table(*CROWD, idle(POD.address, SERVICE, n)) for n in (4_300, 4_800, 5_300)]
    full = node(*tables, seconds=90, pods=[POD])
    snapshots = tuple(
        replace(s, samples={
            **s.samples,
            "sockets": Sockets(method="bpf", groups=(
                opened(7, SERVICE, n, netns=POD.netns, ages=ages(n, 60)),
            )),
            "workloads": Workloads(
                by_pid={7: replace(POD.workload, process=process(7))}, by_netns={POD.netns: POD.workload}
            ),
        })
        for s, n in zip(full.snapshots, (4_300, 4_800, 5_300), strict=True)
    )  # fmt: skip
    diagnosis = diagnose(replace(full, snapshots=snapshots), ["socket-leak", "conntrack-table"])
    assert [(f.rule, f.shape) for f in diagnosis.findings] == [
        ("socket-leak", "held-open"), ("conntrack-table", "idle-established"),
    ]  # fmt: skip
    assert diagnosis.findings[1].caused_by == (diagnosis.findings[0].id,)
