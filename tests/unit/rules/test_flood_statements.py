"""What is said of a table that is full: numbers that add up, addresses, and what to do."""

from __future__ import annotations

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.model.workload import Workloads

from .floods import CROWD, OTHER, POD, filled_by, said_of
from .flows import (
    CLIENT,
    FAR,
    HOST_ADDRESS,
    SERVICE,
    PodAt,
    busy,
    churn,
    idle,
    in_role,
    name,
    names,
    node,
    opened,
    over,
    table,
    unanswered,
)
from .nodes import ages, process

DNS = Endpoint("10.96.0.10", 53)
KEPT = (4_300, 4_650, 5_000, 5_300)
"""Connections that a pod keeps, reading by reading."""


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
    (names(POD.address, FAR, 5_300, protocol="icmp"), "icmp_timeout=10"),
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
    tables = [table(*CROWD, idle(POD.address, SERVICE, n)) for n in KEPT]
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
        for s, n in zip(full.snapshots, KEPT, strict=True)
    )  # fmt: skip
    diagnosis = diagnose(replace(full, snapshots=snapshots), ["socket-leak", "conntrack-table"])
    assert [(f.rule, f.shape) for f in diagnosis.findings] == [
        ("socket-leak", "held-open"), ("conntrack-table", "idle-established"),
    ]  # fmt: skip
    assert diagnosis.findings[1].caused_by == (diagnosis.findings[0].id,)
