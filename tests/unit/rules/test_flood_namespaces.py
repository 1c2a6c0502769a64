"""Who is named where a namespace has an address of its own, and nobody in it is told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.finding import Finding
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Workload

from .floods import CROWD, POD, filled_by, said_of
from .flows import (
    CLIENT,
    FAR,
    HOST_ADDRESS,
    SERVICE,
    PodAt,
    addresses_of,
    churn,
    idle,
    in_role,
    listening,
    only,
    opened,
    twice,
)
from .nodes import process

LEFT = PodAt(5)
"""Of a namespace that is not known to be a pod's, and whose programs are not told apart."""


def left_by(*groups: FlowGroup, also: Sequence[PodAt] = (), **how: Any) -> Finding:
    return filled_by(*groups, pods=(POD, *also), **{"addresses": addresses_of(POD, LEFT, *also), **how})


def test_a_namespace_that_nobody_is_in_any_more_is_named_by_its_address() -> None:
    found = left_by(idle(LEFT.address, SERVICE, 5_300), sockets=[opened(7, FAR, 1)])
    (culprit,) = [p for p in found.parties if p.role == "culprit"]
    assert (culprit.endpoint, culprit.netns, culprit.process) == (Endpoint(LEFT.address, None), LEFT.netns, None)
    assert (found.claim, found.confidence, found.shape) == ("floods", "likely", "idle-established")
    assert found.title.startswith(f"{LEFT.address} has 5,300 idle connections")
    assert "a namespace without a process in sight" in " ".join(found.explanation)
    assert "several programs" not in " ".join(found.explanation)
    known = said_of(found, "whose opener is known")
    assert known is not None
    assert known.value == 1


def test_programs_of_one_namespace_are_named_by_its_address_and_not_told_apart() -> None:
    by_pid = {pid: Workload(process=process(pid), netns=LEFT.netns) for pid in (7, 8)}
    for sockets in ([opened(7, SERVICE, 3, netns=LEFT.netns), opened(8, SERVICE, 4, netns=LEFT.netns)], []):
        found = left_by(churn(LEFT.address, SERVICE, 5_300), by_pid=by_pid, sockets=sockets)
        assert (in_role(found, "culprit"), found.confidence) == ([LEFT.address], "likely")
        assert "programs of that namespace, not told apart" in " ".join(found.explanation)


def test_nobody_is_said_to_be_out_of_sight_where_nobody_looked() -> None:
    assert "without a process" not in " ".join(left_by(idle(LEFT.address, SERVICE, 5_300)).explanation)


def test_a_namespace_whose_address_another_one_has_too_is_not_accused() -> None:
    """Although only this one was seen with sockets to that destination."""
    twin = PodAt(6)
    twin.address = LEFT.address
    sockets = [opened(pid, SERVICE, 3, netns=LEFT.netns) for pid in (7, 8)]
    by_pid = {pid: Workload(process=process(pid), netns=LEFT.netns) for pid in (7, 8)}
    found = left_by(churn(LEFT.address, SERVICE, 5_300), also=(twin,), sockets=sockets, by_pid=by_pid)
    assert (found.claim, in_role(found, "culprit")) == ("holds", [])
    assert "another network namespace of this node has its address too" in " ".join(found.explanation)


@pytest.mark.parametrize(("sent", "named"), [(3_519, [LEFT.address]), (3_520, [])])
def test_a_namespace_that_is_sent_about_as_much_may_only_pass_it_on(sent: int, named: list[str]) -> None:
    """Who of its programs listens there is known, who of them opened the others is not."""
    inbound = churn(CLIENT, SERVICE, sent, answered_by=Endpoint(LEFT.address, 4140))
    by_pid = {pid: Workload(process=process(pid), netns=LEFT.netns) for pid in (7, 8)}
    found = only(twice(
        *CROWD[:20], inbound, churn(LEFT.address, FAR, 4_400), pods=(POD,), addresses=addresses_of(POD, LEFT),
        by_pid=by_pid, sockets=[], queues=[listening(7, 4140, netns=LEFT.netns)],
    ))  # fmt: skip
    assert in_role(found, "culprit") == named


def test_where_the_nodes_own_namespace_is_not_known_no_namespace_is_accused() -> None:
    found = filled_by(churn(HOST_ADDRESS, SERVICE, 5_300), netns=None)
    assert (found.claim, in_role(found, "culprit")) == ("holds", [])


def test_of_several_addresses_of_a_namespace_that_with_most_is_named() -> None:
    second = PodAt(7)
    second.netns = LEFT.netns
    some = {**addresses_of(POD, LEFT).by_netns}
    some[LEFT.netns] += addresses_of(second).by_netns[LEFT.netns]
    groups = [churn(LEFT.address, SERVICE, 1_300), churn(second.address, SERVICE, 4_000)]
    assert in_role(left_by(*groups, addresses=Addresses(by_netns=some)), "culprit") == [second.address]
