"""Of several who leave a namespace by its address, nobody is named for what another one or the namespace did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.finding import Finding
from whodunnet.model.sockets import Endpoint, SocketGroup

from .flows import (
    FAR,
    HOST,
    HOST_ADDRESS,
    SERVICE,
    SIZE,
    PodAt,
    busy,
    churn,
    crowd,
    flow,
    idle,
    in_role,
    only,
    opened,
    twice,
    unanswered,
)

GATE, INNOCENT, SCANNER = PodAt(1, "gate"), PodAt(2, "innocent"), PodAt(3, "scanner")
PODS = {pod.netns: pod for pod in (GATE, INNOCENT, SCANNER)}
TIME = [Endpoint(f"198.51.{n // 250}.{n % 250}", 123) for n in range(4_000)]
USED = opened(70, FAR, 4_000, netns=INNOCENT.netns)
TRIED = opened(71, FAR, 20, netns=SCANNER.netns, state="syn-sent")


def device(address: str, name: str = "eth0") -> DeviceAddress:
    return DeviceAddress(address=address, prefix_length=24, device=name, kind="veth")


PLACES = {
    HOST: (device(HOST_ADDRESS),),
    GATE.netns: (device(GATE.address), device("172.17.0.1", "docker0")),
    INNOCENT.netns: (device("172.17.0.2"),),
    SCANNER.netns: (device("172.17.0.3"),),
}


def of_gate(flows: list[FlowGroup], inner: list[FlowGroup], *sockets: SocketGroup, size: int = SIZE) -> Finding:
    groups = [*flows, *crowd(20, each=10)]
    return only(twice(
        *groups, size=size, inner={GATE.netns: tuple(inner)}, sockets=list(sockets), dropped=9,
        pods=list(PODS.values()), addresses=Addresses(by_netns=PLACES),
    ))  # fmt: skip


def told(found: Finding) -> tuple[list[str], str]:
    return in_role(found, "culprit"), found.title


def left(make: Callable[..., FlowGroup], pod: PodAt, n: int, to: Endpoint = FAR) -> FlowGroup:
    """In the gate's own table."""
    return make(PLACES[pod.netns][0].address, to, n, source_as=GATE.address)


@pytest.mark.parametrize("make", [unanswered, churn], ids=["unanswered", "short"])
@pytest.mark.parametrize("seen", [True, False], ids=["its sockets were seen", "none of its sockets was seen"])
def test_who_is_busy_where_another_one_floods_is_not_named(make: Callable[..., FlowGroup], seen: bool) -> None:
    flows = [busy(GATE.address, FAR, 4_000), make(GATE.address, FAR, 5_800)]
    inner = [left(busy, INNOCENT, 4_000), left(make, SCANNER, 5_800)]
    culprits, title = told(of_gate(flows, inner, USED, *([TRIED] if seen else [])))
    assert culprits == (["scanner-3"] if seen else [])
    assert title.startswith("shop/scanner-3 fills" if seen else "Somebody behind shop/gate-1 fills")


@pytest.mark.parametrize("hoarder_has", [5_800, 0], ids=["both tables", "gone from the inner one"])
def test_who_is_busy_where_another_one_keeps_idle_connections_is_not_named(hoarder_has: int) -> None:
    """In our table both are one group, of which nobody knows which entries are whose."""
    together = flow(GATE.address, FAR, 9_800, ages=tuple(
        a + b for a, b in zip(busy("", FAR, 4_000).ages, idle("", FAR, 5_800).ages, strict=True)
    ))  # fmt: skip
    inner = [left(busy, INNOCENT, 4_000), left(idle, SCANNER, hoarder_has)]
    culprits, title = told(of_gate([together], inner, USED))
    assert culprits == []
    assert title.startswith("Somebody behind shop/gate-1")


@pytest.mark.parametrize("merged", [3_489, 3_500, 0])
@pytest.mark.parametrize("pod_has", [3_500, 0], ids=["both tables", "gone from the inner one"])
def test_the_namespace_is_not_named_for_connections_while_it_sent_datagrams(pod_has: int, merged: int) -> None:
    asked: Any = {"protocol": "udp", "state": "none"}
    clock = [busy(GATE.address, to, 1, **asked) for to in TIME]
    rest = busy(GATE.address, None, merged, merged=True, **asked)
    inner = [left(busy, INNOCENT, 60, SERVICE), left(idle, SCANNER, pod_has), *clock[:511], rest]
    if not pod_has:
        del inner[1]
    found = of_gate([*clock, idle(GATE.address, FAR, 3_500)], inner, size=8_000)
    assert in_role(found, "culprit") == []
    assert found.title.startswith("Somebody behind shop/gate-1 has 3,500 idle connections")


@pytest.mark.parametrize(("own", "named"), [(3_500, ["gate-1"]), (3_400, ["gate-1"]), (600, [])])
def test_the_namespace_is_named_for_what_it_has_of_them_itself(own: int, named: list[str]) -> None:
    """To so many destinations that they were summed; what is not in its table may be another one's."""
    ours = [idle(GATE.address, Endpoint(to.address, 443), 1) for to in TIME[:3_500]]
    rest = idle(GATE.address, None, own, merged=True)
    found = of_gate([*ours, *crowd(20, first=50, each=210)], [left(busy, INNOCENT, 60), rest], size=8_000)
    assert in_role(found, "culprit") == named


@pytest.mark.parametrize(("first", "named"), [(4_000, ["innocent-2"]), (2_900, ["innocent-2", "scanner-3"])])
def test_single_entries_of_many_destinations_are_not_all_of_the_larger_part(first: int, named: list[str]) -> None:
    """Here of one Service with many endpoints."""
    ends = [Endpoint(f"203.0.113.{n}", 443) for n in range(200)]
    second = 5_800 - first
    flows = [churn(GATE.address, FAR, 29, answered_by=end) for end in ends]
    inner = [left(churn, INNOCENT, first), left(churn, SCANNER, second)]
    found = of_gate([*flows, *crowd(20, first=50, each=190)], inner, USED, TRIED)
    assert in_role(found, "culprit") == named
