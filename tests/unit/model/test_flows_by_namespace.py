"""model.flow_owners: entries that left by the address of a namespace, and who opened them there or behind it."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.flow_owners import FlowOwner, FlowOwners
from whodunnet.model.sockets import SocketGroup
from whodunnet.model.workload import Workloads

from .test_flow_owners import (
    ENDPOINTS,
    NODE,
    OTHER,
    POD,
    PROGRAM,
    TOOLS,
    WEB,
    WORKLOADS,
    flow,
    held,
    reading,
)


def device(address: str, name: str = "eth0") -> DeviceAddress:
    return DeviceAddress(address=address, prefix_length=24, device=name)


BRIDGED = {NODE: (device("10.0.0.1"),), TOOLS: (device("10.1.0.3"), device("172.17.0.1", "docker0"))}
TWINS = BRIDGED | {OTHER: (device("172.17.0.1", "docker0"),)}


def left_from(
    inner: str, places: dict[int, tuple[DeviceAddress, ...]], workloads: Workloads, *held: SocketGroup
) -> Any:
    """Who opened what left by the address of TOOLS, and had another one in its own table."""
    group = flow("10.1.0.3")
    conntrack = Conntrack(
        loaded=True, netns=NODE, groups=(group,), inner={TOOLS: (flow(inner, source_as="10.1.0.3"),)}
    )  # fmt: skip
    return FlowOwners(conntrack, Addresses(by_netns=places), [reading(*held)], workloads).split(group)


@pytest.mark.parametrize("held", [(), (held(90, 3, netns=TOOLS),)], ids=["no socket", "socket"])
@pytest.mark.parametrize(("inner", "places"), [("172.17.0.1", BRIDGED), ("172.17.0.1", TWINS), ("127.0.0.1", BRIDGED)])
def test_nobody_behind_a_namespace_has_one_of_its_own_addresses(
    inner: str, places: dict[int, tuple[DeviceAddress, ...]], held: tuple[SocketGroup, ...]
) -> None:
    assert left_from(inner, places, WORKLOADS, *held) == [
        (FlowOwner(key=f"netns {TOOLS}", kind="workload", workload=PROGRAM, netns=TOOLS), 5)
    ]


def test_what_a_namespace_opened_by_another_own_address_is_split_by_sockets() -> None:
    nobody = Workloads(by_pid={90: PROGRAM})
    parts = left_from("172.17.0.1", BRIDGED, nobody, held(90, 3, netns=TOOLS))
    assert [(owner.key, owner.via, n) for owner, n in parts] == [
        (f"pid 90 in {TOOLS}", None, 3), (f"netns {TOOLS}", None, 2),
    ]  # fmt: skip


def behind_tools(groups: tuple[FlowGroup, ...], inner: tuple[FlowGroup, ...], *held: SocketGroup) -> dict[str, int]:
    """Owners of groups that left by the address of TOOLS, which is 172.17.0.1 inside; its neighbour there is WEB."""
    places = BRIDGED | {WEB: (device("172.17.0.9"),)}
    conntrack = Conntrack(loaded=True, netns=NODE, groups=groups, inner={TOOLS: inner})
    nobody = Workloads(by_pid={90: PROGRAM}, by_netns={WEB: POD})
    all_owners = FlowOwners(conntrack, Addresses(by_netns=places), [reading(*held)], nobody)
    found: dict[str, int] = {}
    for group in groups:
        for owner, n in all_owners.split(group):
            found[owner.key] = found.get(owner.key, 0) + n
    return found


OF_TWO = {"172.17.0.9": 6, "172.17.0.1": 3}
GATE_SOCKETS = held(90, 3, netns=TOOLS), held(77, 1, netns=WEB)


def test_each_has_what_its_entries_and_sockets_tell_and_nobody_what_is_in_no_other_table() -> None:
    inner = flow("172.17.0.9", 4, source_as="10.1.0.3"), flow("172.17.0.1", 2, source_as="10.1.0.3")
    own = flow("10.1.0.3", 3)
    assert behind_tools((flow("10.1.0.3", 10),), (*inner, own), *GATE_SOCKETS) == {
        f"netns {WEB}": 4, f"pid 90 in {TOOLS}": 3, f"netns {TOOLS}": 2, f"behind {TOOLS}": 1,
    }  # fmt: skip


def test_the_only_one_seen_in_a_namespace_has_left_only_what_was_not_of_those_behind_it() -> None:
    inner = [flow(address, n, state="time-wait", source_as="10.1.0.3") for address, n in OF_TWO.items()]
    seen = held(90, 1, netns=TOOLS, state="syn-sent"), held(77, 1, netns=WEB)
    assert behind_tools((flow("10.1.0.3", 10, state="time-wait"),), tuple(inner), *seen) == {
        f"netns {WEB}": 6, f"pid 90 in {TOOLS}": 3, f"behind {TOOLS}": 1,
    }  # fmt: skip


def test_a_namespace_is_not_given_what_others_had_by_another_protocol() -> None:
    """It asked for the time; what was behind it has closed its connections."""
    ours = flow("10.1.0.3", 1_900)
    merged = flow("10.1.0.3", 2_048, None, protocol="udp", merged=True)
    inner = flow("172.17.0.9", 60, ENDPOINTS[0], source_as="10.1.0.3"), merged
    assert behind_tools((ours,), inner) == {f"behind {TOOLS}": 1_900}


@pytest.mark.parametrize(("merged", "own"), [(2_001, 2_000), (2_000, 2_000), (1_000, 1_000)])
def test_a_namespace_is_given_no_more_than_its_own_table_has(merged: int, own: int) -> None:
    inner = flow("172.17.0.9", 60, ENDPOINTS[0], source_as="10.1.0.3"), flow("10.1.0.3", merged, None, merged=True)
    rest = {f"behind {TOOLS}": 2_000 - own} if own < 2_000 else {}
    assert behind_tools((flow("10.1.0.3", 2_000),), inner) == {f"netns {TOOLS}": own} | rest
