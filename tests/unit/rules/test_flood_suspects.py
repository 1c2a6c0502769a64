"""Who could be named wrongly for a table that is full: whoever passes on, shares an address, or is not to be seen."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.addresses import Addresses
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process, Workload

from .floods import CROWD, OTHER, POD, filled_by, said_of
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
    culprits,
    flow,
    in_role,
    listening,
    names,
    only,
    opened,
    twice,
    unanswered,
)
from .nodes import in_container, process


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
