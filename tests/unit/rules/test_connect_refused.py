"""connect-refused: who is refused where, and who only looks so: starts, health checks."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.connections import ConnectionGroup, Connections
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.sockets import AcceptQueue, Endpoint, Sockets
from whodunnet.model.workload import Workloads

from .connects import (
    SECONDS,
    cleared,
    effects,
    endpoints,
    given_up,
    limit,
    named,
    node,
    not_checked,
    opened,
    queue,
    refused,
    rejected,
    repeated,
    said,
    silent,
    timeline,
    translated,
    unreachable,
)
from .endings import FAR_SERVER, SERVER, accepted, initiated, listening, moments_of
from .nodes import NODE, finding, findings, in_container, moment, parties
from .tracking import ALIVE, HOST, NODE_ADDRESS, OTHER_NETNS, OTHER_POD, OWNERS, POD_NETNS, SERVICE, flow, table

RULE = "connect-refused"
ENOUGH = int(limit(RULE, "min_rate") * SECONDS)
ELSEWHERE = listening(at=Endpoint(OTHER_POD, 9000))
"""The server's pod serves another port."""


def test_a_port_on_which_nothing_listens_is_named_with_who_asks_and_the_share() -> None:
    found = finding(node(refused(40), listeners=[ELSEWHERE]), RULE)
    assert (found.shape, found.severity, found.confidence) == ("nothing-listens", "warning", "proven")
    assert (found.claim, found.reason) == ("refuses", "ConnectNothingListens")
    assert named(found, "victim") == ["web"]
    assert endpoints(found) == [SERVER]
    assert parties(found, "culprit") == []
    assert "40 of 40 connects (100 %) of default/web (app7)" in found.title
    assert effects(parties(found, "victim")) == ["40 of 40 connects were refused"]


def test_who_has_the_address_is_named_as_peer_and_never_as_culprit() -> None:
    found = finding(node(refused(40), listeners=[ELSEWHERE]), RULE)
    assert named(found, "peer") == ["batch"]


def test_a_program_that_runs_where_nothing_listens_is_not_said_to_refuse() -> None:
    """It may be a sidecar, and what should listen has gone: its pod or namespace is named without it."""
    lone = replace(OWNERS.by_pid[8], container=None, pod=None)
    for tenant, pod in ((OWNERS.by_pid[8], "batch"), (lone, None)):
        owners = replace(OWNERS, by_netns={**OWNERS.by_netns, OTHER_NETNS: tenant})
        found = finding(node(refused(40), listeners=[ELSEWHERE], workloads=owners), RULE)
        (peer,) = parties(found, "peer")
        assert tenant.process
        assert not peer.process
        assert named(found, "peer") == [pod]
        assert pod or peer.netns == OTHER_NETNS


@pytest.mark.parametrize(("pid", "peer"), [(8, ["batch"]), (9, [])])
def test_of_several_who_answer_at_the_endpoint_nobody_is_named_as_peer(pid: int, peer: list[str]) -> None:
    """One has answered one client, and another the other."""
    address = "10.244.0.15"
    other = {"client": address, "owner_pid": 6, "comm": "app6"}
    there = [accepted("closed-here", 30), accepted("closed-here", 30, client=address, owner_pid=pid, comm=f"app{pid}")]
    owners = replace(OWNERS, by_pid={**OWNERS.by_pid, **in_container("else", 9), **in_container("shop", 6)})
    found = node(refused(40), opened(30), refused(40, **other), opened(30, **other), *there, workloads=owners)
    assert sorted(named(finding(found, RULE), "victim"), key=str) == ["shop", "web"]
    assert [pod for pod in named(finding(found, RULE), "peer") if pod] == peer


@pytest.mark.parametrize(("n", "told"), [(ENOUGH - 1, 0), (ENOUGH, 1)])
def test_below_the_rate_it_is_a_health_check(n: int, told: int) -> None:
    assert len(findings(node(refused(n), opened(5 * n)), RULE)) == told


def test_a_short_window_needs_the_number_too() -> None:
    floor = int(limit(RULE, "min_failed"))
    assert [len(findings(node(refused(n), seconds=1.0), RULE)) for n in (floor - 1, floor)] == [0, 1]


def test_below_the_share_it_is_chance() -> None:
    share = limit(RULE, "min_share")
    told = [len(findings(node(refused(40), opened(n)), RULE)) for n in (int(40 / share), int(40 / share) - 40)]
    assert told == [0, 1]


def test_what_ended_within_the_window_was_a_start() -> None:
    assert findings(node(refused(60), end=0.6), RULE) == []
    answer = cleared(node(refused(60), end=0.6), RULE)
    assert answer.evidence[1].value == 60
    assert "shorter part of a recording (replay --from, --for)" in answer.sensitivity


def burst(begin: float) -> list[tuple[float, ConnectionGroup]]:
    """60 connects at once, of which some are told with their first SYN, and others with later ones."""
    waited = (0.0, 1.0, 3.0, 7.0)
    events = [(begin + after, rejected(15, seconds=after)) for after in waited]
    return events + [
        (begin + after, repeated(n, seconds=after)) for after, n in zip(waited[1:], (45, 30, 15), strict=True)
    ]


def test_a_burst_that_is_told_late_does_not_last() -> None:
    assert findings(timeline(*burst(0.2)), RULE) == []
    assert said(timeline(*burst(-0.2), *burst(3.0), *burst(6.5)), RULE)[0][0] == "rejected"


def test_what_has_only_begun_is_not_said_to_last() -> None:
    assert findings(node(refused(60), begin=0.5), RULE) == []


def test_two_readings_do_not_tell_whether_it_lasts() -> None:
    assert said(node(refused(60), moments=2), RULE) == [("refuses-all", "info", "possible")]


@pytest.mark.parametrize("how", [{"moments": 1}, {"seconds": 0.0}])
def test_one_reading_shows_nothing(how: dict[str, Any]) -> None:
    assert not_checked(node(refused(60), **how), RULE).code == "not-collected"


def test_without_bpf_counters_tell_that_something_fails() -> None:
    def sample(failed: int) -> Connections:
        counters = {1: {"AttemptFails": failed}, 2: {"AttemptFails": 7}}
        return Connections(
            method="counters", groups=(), watched_seconds=0.0, counters=counters, fallback_reason="no right",
            missing_capability="CAP_BPF",
        )  # fmt: skip

    shots = tuple(Snapshot(at=moment(5.0 * i), samples={"connections": sample(30 * i)}) for i in range(2))
    answer = not_checked(Recording(node=NODE, snapshots=shots), RULE)
    assert (answer.code, answer.missing_capability) == ("missing-capability", "CAP_BPF")
    assert "AttemptFails by 30" in answer.reason
    assert "no right" in answer.reason


def test_a_listener_that_comes_and_goes_is_a_server_that_crashes() -> None:
    groups = [[refused(n), opened(n // 2)] for n in (0, 20, 40, 60)]
    listens = moments_of(*groups, seconds=SECONDS, listeners=[listening()])
    gone = moments_of(*groups, seconds=SECONDS, listeners=[ELSEWHERE])
    shots = tuple(a if i % 2 else b for i, (a, b) in enumerate(zip(listens.snapshots, gone.snapshots, strict=True)))
    assert said(replace(listens, snapshots=shots), RULE) == [("comes-and-goes", "warning", "proven")]


def test_who_is_refused_although_somebody_listens_is_refused_by_a_rule() -> None:
    other: dict[str, Any] = {"netns": OTHER_NETNS, "client": OTHER_POD, "owner_pid": 8, "comm": "app8"}
    found = node(refused(40), opened(40, **other), listeners=[listening()])
    assert said(found, RULE) == [("reset-by-rule", "warning", "likely")]
    assert parties(finding(found, RULE), "culprit") == []


@pytest.mark.parametrize("at", ["0.0.0.0", OTHER_POD])
def test_a_listener_at_any_address_listens(at: str) -> None:
    assert said(node(refused(40), listeners=[listening(at=Endpoint(at, SERVER.port))]), RULE)[0][0] == "reset-by-rule"


def test_a_listener_at_any_ipv6_address_may_take_no_ipv4() -> None:
    """IPV6_V6ONLY is not read; that another client is answered shows that it is not set."""
    other: dict[str, Any] = {"netns": OTHER_NETNS, "client": OTHER_POD, "owner_pid": 8, "comm": "app8"}
    any_address = [listening(at=Endpoint("::", SERVER.port))]
    found = finding(node(refused(40), listeners=any_address), RULE)
    assert (found.shape, found.confidence) == ("refuses-all", "likely")
    assert "IPV6_V6ONLY" in found.explanation[0]
    assert said(node(refused(40), opened(40, **other), listeners=any_address), RULE)[0][0] == "reset-by-rule"
    by_name = Endpoint("2001:db8::6", SERVER.port)
    places = Addresses(by_netns={OTHER_NETNS: (DeviceAddress(address="2001:db8::6", prefix_length=64, device="eth0"),)})
    found = finding(node(refused(40, to=by_name), listeners=any_address, addresses=places), RULE)
    assert found.shape == "reset-by-rule"


NODE_PORT = Endpoint(NODE_ADDRESS, 30080)
ANOTHER = listening(pid=9, at=Endpoint(NODE_ADDRESS, 22), netns=HOST)


@pytest.mark.parametrize(
    ("conntrack", "confidence"),
    [(None, "likely"), (table(flow(SERVICE, 5, answered_by=ALIVE)), "likely"), (Conntrack(loaded=False), "proven")],
)
def test_a_port_of_the_node_may_be_translated_to_who_refuses(conntrack: Conntrack | None, confidence: str) -> None:
    samples: dict[str, AnySample] = {} if conntrack is None else {"conntrack": conntrack}
    found = finding(node(refused(40, to=NODE_PORT), listeners=[ANOTHER], samples=samples), RULE)
    assert (found.shape, found.severity, found.confidence) == ("nothing-listens", "warning", confidence)
    assert any("NodePort" in line for line in found.explanation) == (confidence == "likely")


def test_a_pod_address_that_was_seen_translated_may_be_so_again() -> None:
    other = Endpoint(OTHER_POD, 8443)
    for seen, confidence in ((other, "likely"), (SERVICE, "proven")):
        samples = {"conntrack": translated(seen, ALIVE)}
        assert said(node(refused(40), listeners=[ELSEWHERE], samples=samples), RULE)[0][2] == confidence


def test_loopback_is_not_translated() -> None:
    here = Endpoint("127.0.0.1", 9090)
    groups = refused(40, to=here, netns=HOST, client="127.0.0.1")
    assert said(node(groups, listeners=[ANOTHER]), RULE) == [("nothing-listens", "warning", "proven")]


def test_a_listener_at_loopback_alone_does_not_listen_for_others() -> None:
    found = node(refused(40), listeners=[listening(at=Endpoint("127.0.0.1", SERVER.port))])
    assert said(found, RULE)[0][0] == "nothing-listens"


def test_a_program_that_closes_each_at_once_was_told_of_a_rejection() -> None:
    closed = initiated("given-up", {0.001: 40})
    found = finding(node(closed, opened(40, to=FAR_SERVER)), RULE)
    assert (found.shape, found.severity, found.confidence) == ("closed-at-once", "warning", "likely")
    assert named(found, "victim") == ["web"]
    assert findings(node(closed, opened(1)), RULE) == []


@pytest.mark.parametrize(("seconds", "told"), [(0.0, 1), (0.019, 1), (0.021, 0), (0.25, 0), (2.0, 0), (30.0, 0)])
def test_who_closes_later_has_a_limit_of_its_own(seconds: float, told: int) -> None:
    assert len(findings(node(given_up(40, seconds=seconds)), RULE)) == told


def test_who_races_two_addresses_was_not_rejected_at_the_slower_one() -> None:
    slower = initiated("given-up", {0.001: 40})
    assert findings(node(slower, opened(40, to=Endpoint("203.0.113.1", SERVER.port))), RULE) == []


def test_a_message_is_told_from_a_reset() -> None:
    assert said(node(rejected(40)), RULE) == [("rejected", "warning", "proven")]
    assert said(node(unreachable({0.0: 40})), RULE) == [("rejected", "warning", "proven")]
    assert said(node(rejected(40, seconds=1.0)), RULE) == [("rejected", "warning", "proven")]


def test_few_messages_within_a_silence_are_for_connect_timeout() -> None:
    assert findings(node(rejected(30), *silent(60)), RULE) == []


def test_a_far_endpoint_that_refuses_all_is_no_proof_of_who_does() -> None:
    found = finding(node(refused(40, to=FAR_SERVER)), RULE)
    assert (found.shape, found.confidence) == ("refuses-all", "likely")
    assert endpoints(found) == [FAR_SERVER]


def test_some_refused_by_a_service_means_one_of_its_endpoints() -> None:
    samples = {"conntrack": translated(SERVICE, ALIVE)}
    found = finding(node(refused(40, to=SERVICE), opened(40, to=SERVICE), samples=samples), RULE)
    assert (found.shape, found.confidence) == ("some-endpoints", "likely")
    assert endpoints(found) == [SERVICE]
    assert "40 of 80 connects (50 %)" in found.title


def test_the_endpoint_that_answers_is_not_named_for_the_one_that_refuses() -> None:
    samples = {"conntrack": translated(SERVICE, SERVER)}
    found = finding(node(refused(40, to=SERVICE), opened(40, to=SERVICE), samples=samples), RULE)
    assert named(found, "peer") == [None]


def test_some_refused_elsewhere_is_intermittent() -> None:
    assert said(node(refused(40, to=FAR_SERVER), opened(40, to=FAR_SERVER)), RULE)[0][0] == "refuses-some"


@pytest.mark.parametrize("listener", [listening(netns=POD_NETNS), listening(at=Endpoint(OTHER_POD, 15090))])
def test_a_server_that_has_just_begun_may_be_starting_whatever_its_sidecar_listens_on(listener: AcceptQueue) -> None:
    old, new = in_container("batch", 8), in_container("batch", 8)
    container = new[8].container
    assert container is not None
    recent = {8: replace(new[8], container=replace(container, started=moment(-5.0).wall))}
    here = {pid: w for pid, w in OWNERS.by_pid.items() if pid != 8}
    for batch, expected in ((old, "proven"), (recent, "possible")):
        workloads = Workloads(by_pid={**here, **batch}, by_netns={POD_NETNS: OWNERS.by_netns[POD_NETNS],
                                                                  OTHER_NETNS: batch[8]})  # fmt: skip
        samples = {"sockets": Sockets(method="bpf", groups=(), accept_queues=(listener,))}
        found = finding(node(refused(40), workloads=workloads, samples=samples), RULE)
        assert (found.shape, found.confidence) == ("nothing-listens", expected)


def test_a_client_without_free_ports_was_not_refused_by_anybody() -> None:
    found = finding(node(initiated("not-sent", {0.0: 40}), opened(40), listeners=[queue(0)]), RULE)
    assert (found.shape, found.severity, found.confidence) == ("no-free-port", "warning", "proven")
    assert "40 of 80 connects (50 %)" in found.title


def test_what_fitted_in_no_group_makes_it_less_sure() -> None:
    found = node(refused(40), listeners=[ELSEWHERE], lost={"refused": 90})
    assert said(found, RULE) == [("nothing-listens", "warning", "likely")]
    assert any("90 ended so of which" in line for line in finding(found, RULE).explanation)
