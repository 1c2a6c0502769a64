"""keepalive-mismatch: who is named at both ends, what each remedy costs, and what names do to the text."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.addresses import Addresses
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import ASKED_SERVICE, Finding
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Workloads
from whodunnet.rules.identity import endpoint_text

from .endings import FAR_SERVER, SERVER, accepted, initiated, watched
from .keepalives import LATE, RULE, closed, failed, late_data, reset, said
from .nodes import finding, findings, in_container, named, parties, pids
from .tracking import OTHER_POD, OWNERS, POD, POD_NETNS, SERVICE, flow, pods, table, waiting


def roles(found: Finding) -> list[tuple[str, str | None]]:
    return list(zip((p.role for p in found.parties), pods(found.parties), strict=True))


def test_the_client_is_the_culprit_and_the_server_the_peer_with_its_timeout() -> None:
    found = finding(watched(*closed(), failed(LATE)), RULE)
    assert roles(found) == [("culprit", "web"), ("peer", "batch")]
    client, server = found.parties
    assert server.endpoint == SERVER
    assert server.effect == "closes idle connections after 5.0 s"
    assert client.effect == "uses connections again after up to 6.4 s idle"


def test_a_server_elsewhere_is_named_by_its_address() -> None:
    found = finding(watched(*closed(to=FAR_SERVER, here=False), failed(LATE, to=FAR_SERVER)), RULE)
    assert roles(found) == [("culprit", "web"), ("peer", None)]
    assert found.parties[1].endpoint == FAR_SERVER
    assert "198.51.100.7:443 closes them after 5.0 s" in found.title


def test_of_a_proxy_only_the_hop_behind_it_is_named() -> None:
    """Who asks the proxy is served by it on connections that are in order."""
    gateway = Endpoint(POD, 8080)
    before = [accepted("closed-by-peer", {8.0: 20}, at=gateway, netns=POD_NETNS, client="10.244.0.7", owner_pid=7)]
    before += [initiated("closed-here", {8.0: 20}, to=gateway, client="10.244.0.7", owner_pid=9, netns=4_026_532_300)]
    found = finding(watched(*before, *closed(), failed(LATE)), RULE)
    assert roles(found) == [("culprit", "web"), ("peer", "batch")]


def test_two_clients_behind_one_address_are_told_apart() -> None:
    """The one looks before it uses a connection again."""
    careful = initiated("closed-by-peer", {5.0: 20}, owner_pid=9, comm="app9")
    owners = Workloads(by_pid={**OWNERS.by_pid, **in_container("careful", 9)}, by_netns=OWNERS.by_netns)
    found = finding(watched(*closed(), careful, failed(LATE), workloads=owners), RULE)
    assert pods(found.parties) == ["web", "batch"]


def test_two_clients_that_both_come_too_late_are_two_findings() -> None:
    owners = Workloads(by_pid={**OWNERS.by_pid, **in_container("other", 9)}, by_netns=OWNERS.by_netns)
    both = [failed(LATE), failed({5.5: 40}, owner_pid=9, comm="app9")]
    found = findings(watched(*closed(), *both, workloads=owners), RULE)
    assert [pods(parties(f, "culprit")) for f in found] == [["other"], ["web"]]
    assert len({f.id for f in found}) == 2


def test_a_client_whose_processes_share_a_container_is_one() -> None:
    owners = Workloads(by_pid={**in_container("web", 7, 17), **in_container("batch", 8)}, by_netns=OWNERS.by_netns)
    found = finding(watched(*closed(), failed({6.0: 1}), failed({6.0: 1}, owner_pid=17), workloads=owners), RULE)
    assert found.confidence == "proven"


def test_a_client_in_two_namespaces_is_two_findings() -> None:
    """Each has a server of its own at the same loopback address."""
    here = {"to": Endpoint("127.0.0.1", 8000), "client": "127.0.0.1"}
    groups = [
        g
        for netns, pid in ((1001, 7), (1002, 9))
        for g in (initiated("closed-by-peer", {5.0: 20}, netns=netns, owner_pid=pid, **here),
                  failed(LATE, netns=netns, owner_pid=pid, **here))
    ]  # fmt: skip
    found = findings(watched(*groups, workloads=Workloads(by_pid=in_container("agent", 7, 9))), RULE)
    assert len({f.id for f in found}) == len(found) == 2


def test_a_client_that_is_here_is_not_said_to_be_elsewhere() -> None:
    """Its own groups were merged for lack of room."""
    merged = initiated("closed-by-peer", 1, client=None)
    found = finding(watched(accepted("closed-here", {5.0: 20}), late_data(9), merged), RULE)
    assert pods(parties(found, "victim")) == ["web"]
    assert not any("not on this node" in line for line in found.explanation)


def test_of_a_container_the_process_that_came_too_late_is_named() -> None:
    """Another one of it asks the same server in order; two that both come too late are named as the container."""
    quick = [initiated("opened", {0.001: 50}, owner_pid=6), initiated("closed-here", {0.0: 50}, owner_pid=6)]
    owners = Workloads(by_pid={**in_container("web", 6, 7), **in_container("batch", 8)})
    found = finding(watched(*quick, *closed(), failed(LATE), workloads=owners), RULE)
    assert pids(found, "culprit") == [7]
    found = finding(watched(*quick, *closed(), failed(LATE), failed(LATE, owner_pid=6), workloads=owners), RULE)
    assert (pods(parties(found, "culprit")), pids(found, "culprit")) == (["web"], [None])


def test_a_client_that_is_gone_keeps_the_name_it_had() -> None:
    found = finding(watched(*closed(), failed(LATE), workloads=Workloads()), RULE)
    assert found.title.startswith("app7 uses idle connections")


def test_a_client_that_nobody_knows_is_an_address_and_no_culprit() -> None:
    groups = [*closed(owner_pid=None, comm=""), failed(LATE, owner_pid=None, comm="")]
    found = finding(watched(*groups, workloads=Workloads(), addresses=Addresses()), RULE)
    assert [p.role for p in found.parties] == ["victim", "peer"]
    assert found.parties[0].endpoint == Endpoint(POD, None)


def test_clients_that_are_gone_and_share_no_more_than_a_name_are_not_proven() -> None:
    """Two scripts of one interpreter in the node's own namespace, say: one may be in order."""
    each = [{"owner_pid": pid, "comm": "python3", "process_started_seconds": 9.0 + pid} for pid in (1001, 1002)]
    groups = [*closed(to=FAR_SERVER, here=False, **each[0]), failed(LATE, to=FAR_SERVER, **each[1])]
    assert said(watched(*groups, workloads=Workloads())) == [("reused-too-late", "warning", "likely")]


def test_where_one_failure_was_seen_nobody_is_the_culprit() -> None:
    assert parties(finding(watched(*closed(), failed({6.0: 1})), RULE), "culprit") == []


@pytest.mark.parametrize("groups", [
    [reset({4.7: 10, 5.9: 12})],
    [initiated("closed-by-peer", {0.6 + 0.9 * n: 1 for n in range(60)}), failed({3.0: 5, 20.0: 5})],
    [accepted("closed-here", {5.0: 20}, client="198.51.100.20"), late_data(9, client="198.51.100.20")],
])  # fmt: skip
def test_only_who_was_seen_to_come_too_late_is_the_culprit(groups: list[ConnectionGroup]) -> None:
    found = finding(watched(*groups), RULE)
    assert [p.role for p in found.parties] == ["victim", "peer"]


def test_behind_a_service_the_server_is_the_endpoint_that_closed() -> None:
    pod = Endpoint(OTHER_POD, 8000)
    tracked: Conntrack = table(flow(SERVICE, 5, answered_by=pod))
    groups = [initiated("closed-by-peer", {5.0: 9}, to=SERVICE), failed(LATE, to=SERVICE)]
    node = watched(*groups, accepted("closed-here", {5.0: 9}), samples={"conntrack": tracked})
    found = finding(node, RULE)
    assert roles(found) == [("culprit", "web"), ("peer", "batch"), ("peer", None)]
    assert [p.endpoint for p in found.parties[1:]] == [pod, SERVICE]
    assert found.parties[2].effect == ASKED_SERVICE


def test_a_server_that_two_share_has_no_name() -> None:
    """Two namespaces have the same address, as networks of Docker do."""
    other = accepted("closed-here", {5.0: 20}, netns=POD_NETNS, owner_pid=9, comm="app9")
    owners = Workloads(by_pid={**OWNERS.by_pid, **in_container("other", 9)}, by_netns=OWNERS.by_netns)
    found = finding(watched(*closed(), other, failed(LATE), workloads=owners), RULE)
    assert roles(found) == [("culprit", "web"), ("peer", None)]


def test_names_from_the_node_are_cleaned_and_not_taken_for_places_in_the_text() -> None:
    hostile = named(7, comm="\x1b[31m{peer}").by_pid[7]
    owners = Workloads(by_pid={7: hostile, 8: OWNERS.by_pid[8]})
    found = finding(watched(*closed(), failed(LATE), workloads=owners), RULE)
    assert "{peer} uses idle connections" in found.title
    assert "\x1b" not in found.title + found.summary


def test_addresses_from_a_recording_are_cleaned_too() -> None:
    place = Endpoint("1.2.3.4\x1b[0m\n", 80)
    found = finding(watched(*closed(to=place), failed(LATE, to=place)), RULE)
    texts = [found.title, found.summary, *found.explanation, *(e.statement + e.repeat for e in found.evidence)]
    assert not any("\x1b" in text or "\n" in text for text in texts)
    assert len(endpoint_text(Endpoint("x" * 500, 80))) < 80


def test_each_remedy_has_its_price_and_what_a_connect_takes_here() -> None:
    found = finding(watched(*closed(), failed(LATE), initiated("opened", {0.02: 9})), RULE)
    capture, expire, retry, once, longer = found.remedies
    assert capture.action == "capture"
    assert "for instance after 4.0 s, where the server does after 5.0 s" in expire.do
    assert "idempotent" in retry.risk
    assert "20.00 ms here" in once.risk
    assert "it moves the limit" in longer.effect
    assert all(r.command is None for r in found.remedies[1:])


def test_what_is_forgotten_in_between_is_kept_by_keep_alive_or_expires_sooner() -> None:
    found = finding(watched(reset({4.7: 10, 5.9: 12})), RULE)
    assert any("(4.7 s)" in r.do for r in found.remedies)
    assert any("TCP_KEEPIDLE" in r.do for r in found.remedies)
    assert not any("server's idle timeout" in r.do for r in found.remedies)


def test_it_says_who_has_such_a_timeout_and_why_it_seems_to_depend_on_others() -> None:
    uvicorn = named(8, comm="uvicorn").by_pid[8]
    owners = Workloads(by_pid={7: OWNERS.by_pid[7], 8: uvicorn})
    text = " ".join(finding(watched(*closed(), failed(LATE), workloads=owners), RULE).explanation)
    assert "as shipped, as far as known: Uvicorn." in text
    assert "each endpoint has an idle pool of its own" in text
    odd = finding(watched(*closed(41.0), failed({50.0: 4})), RULE)
    assert odd.explanation[-1].endswith("no product that whodunnet knows.")
    longer = finding(watched(*closed(10.0), failed({12.0: 4}), workloads=owners), RULE)
    assert (
        longer.explanation[-1] == "As shipped, as far as known, Uvicorn closes after 5.0 s: this one is set otherwise."
    )


def test_open_connections_in_snapshots_give_a_lower_bound() -> None:
    kept = replace(waiting(SERVER, 3, "established"), ages=(0, 0, 0, 3, *[0] * 8))
    others = replace(kept, owner_pid=8, ages=(*[0] * 11, 3))
    found = finding(watched(*closed(), failed(LATE), sockets=[kept, others]), RULE)
    (bound,) = [e for e in found.evidence if e.source == "sockets collector"]
    assert (bound.value, bound.unit) == (5, "seconds")
    assert "at least" in bound.statement


def test_the_identity_stays_from_window_to_window() -> None:
    one, other = (finding(watched(*closed(n=n), failed({6.0 + n / 10: n})), RULE) for n in (5, 25))
    assert one.id == other.id
    moved = finding(watched(*closed(to=FAR_SERVER, here=False), failed(LATE, to=FAR_SERVER)), RULE)
    assert moved.id != one.id


def test_a_forked_server_is_one_server() -> None:
    """The listener's owner is asked where several processes accept."""
    workers = [accepted("closed-here", {5.0: 9}, owner_pid=pid, comm="gunicorn") for pid in (21, 22)]
    groups = [initiated("closed-by-peer", {5.0: 18}), failed(LATE), *workers]
    owners = Workloads(by_pid={**in_container("web", 7), **in_container("shop", 20, 21, 22)})
    assert said(watched(*groups, workloads=owners)) == [("reused-too-late", "warning", "proven")]
    assert pods(finding(watched(*groups, workloads=owners), RULE).parties) == ["web", "shop"]
