"""Who is named for a table that is full: every kind, its look-alike, and how few make up the excess."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Workload

from .floods import CROWD, OTHER, POD, filled_by, said_of
from .flows import (
    CLIENT,
    FAR,
    HOST_ADDRESS,
    SERVICE,
    PodAt,
    addresses_of,
    busy,
    churn,
    culprits,
    flow,
    idle,
    in_role,
    is_cleared,
    names,
    only,
    over,
    twice,
    unanswered,
)
from .nodes import ages, process

# --- Each kind ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "shape"),
    [
        (churn(POD.address, SERVICE, 5_300), "churn"),
        (churn(POD.address, SERVICE, 5_300, state="fin-wait"), "churn"),
        (churn(POD.address, SERVICE, 5_300, state="close", ages=over(5_300, 10)), "churn"),
        (names(POD.address, Endpoint("203.0.113.5", 123), 5_300), "churn"),
        (names(POD.address, Endpoint("203.0.113.5", None), 5_300, protocol="icmp"), "churn"),
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
        names(POD.address, Endpoint("203.0.113.5", None), 5_300, protocol="icmp", ages=over(5_300, 10)),
        names(POD.address, Endpoint("203.0.113.5", None), 5_300, protocol="icmpv6", ages=()),
        unanswered(POD.address, Endpoint("192.0.2.11", 8472), 5_300, protocol="udp", state="none"),
        unanswered(POD.address, Endpoint("192.0.2.11", 4789), 5_300, protocol="udp", state="none"),
        flow(POD.address, Endpoint("192.0.2.11", None), 5_300, protocol="gre", state="none"),
        idle(POD.address, FAR, 5_300, merged=True),
        idle(POD.address, SERVICE, 5_300, replied=False, assured=False),
    ],
    ids=["in use", "idle for less", "idle unknown", "offloaded", "half open", "closed by the other side", "stream",
         "offloaded stream", "pings in use", "pings unknown", "overlay", "vxlan", "gre", "direction unknown",
         "one way"],
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
