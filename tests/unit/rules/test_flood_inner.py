"""Who is named where a namespace opens connections for others behind it, by its own address (docker in docker)."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.finding import Finding
from whodunnet.model.sockets import Endpoint, SocketGroup
from whodunnet.model.workload import Process, Workload

from .floods import CROWD, said_of
from .flows import CLIENT, FAR, HOST, HOST_ADDRESS, SERVICE, PodAt, busy, churn, in_role, only, opened, twice

BUILDER = PodAt(1)
INNER, SHADOW = 4_026_532_601, 4_026_532_602
INSIDE = "172.17.0.2"
DAEMON = Workload(process=Process(pid=70, comm="dockerd"), netns=BUILDER.netns)
INSTALLER = Workload(process=Process(pid=71, comm="installer"), netns=INNER)
OTHER = Workload(process=Process(pid=72, comm="neighbour"), netns=SHADOW)
SOCKETS = (opened(71, FAR, 3, netns=INNER),)
MANY = 5_300


def device(address: str, name: str = "eth0", kind: str = "veth") -> DeviceAddress:
    return DeviceAddress(address=address, prefix_length=24, device=name, kind=kind)


PLACES = {
    HOST: (device(HOST_ADDRESS),),
    BUILDER.netns: (device(BUILDER.address), device("172.17.0.1", "docker0", "bridge")),
    INNER: (device(INSIDE),),
}


def inside(n: int = MANY, source: str = INSIDE, to: Endpoint = FAR) -> FlowGroup:
    """Entries in the builder's own table, whose source it translates if that is another address."""
    return churn(source, to, n, source_as=BUILDER.address if source != BUILDER.address else None)


def filled(
    *own: FlowGroup, sockets: tuple[SocketGroup, ...] = SOCKETS, also: tuple[FlowGroup, ...] = (), **how: Any
) -> Finding:
    """A table full of what has the builder's address. own: what its own table says, None of it if that was not read."""
    places = how.pop("places", PLACES)
    if own:
        how["inner"] = {BUILDER.netns: own}
    fields = {"sole": {BUILDER.netns: DAEMON, INNER: INSTALLER, SHADOW: OTHER}, **how}
    groups = (*CROWD, *also, churn(BUILDER.address, FAR, MANY))
    return only(twice(*groups, addresses=Addresses(by_netns=places), sockets=list(sockets), dropped=9, **fields))


def test_whose_address_was_translated_and_who_has_the_sockets_is_named() -> None:
    found = filled(inside())
    (culprit,) = [p for p in found.parties if p.role == "culprit"]
    assert (in_role(found, "culprit"), culprit.netns) == (["installer"], INNER)
    assert (found.claim, found.confidence) == ("floods", "proven")
    assert found.title.startswith("installer fills the connection tracking table with 5,300 short connections")
    assert f"have {BUILDER.address} of network namespace {BUILDER.netns}, which opened none" in " ".join(
        found.explanation
    )
    opens = said_of(found, "that installer (pid 71) really has open")
    assert opens is not None
    assert opens.value == 3


def test_the_only_process_of_a_namespace_that_translates_is_not_named_for_whom_nobody_sees() -> None:
    """Short connections were not met at any reading."""
    found = filled(inside(), sockets=())
    assert (found.claim, in_role(found, "culprit")) == ("holds", [])
    (holder,) = [p for p in found.parties if p.role == "holder"]
    assert (holder.netns, holder.process, holder.endpoint) == (BUILDER.netns, None, Endpoint(BUILDER.address, None))
    assert found.title.startswith(f"Somebody behind {BUILDER.address} fills")
    assert "translates the addresses of others" in " ".join(found.explanation)
    assert "dockerd" not in found.title + found.summary + " ".join(found.explanation)


def test_a_pod_that_translates_is_the_place() -> None:
    found = filled(inside(), sockets=(), pods=[BUILDER], sole={})
    assert (found.claim, in_role(found, "culprit"), in_role(found, "holder")) == ("holds", [], ["web-1"])
    assert found.title.startswith("Somebody behind shop/web-1 fills")


def test_of_two_who_have_the_inner_address_nobody_is_named() -> None:
    """One with an idle connection there may be behind another pod, and the other opens short ones."""
    twins = PLACES | {SHADOW: (device(INSIDE),)}
    assert in_role(filled(inside(), places=twins), "culprit") == []
    both = (*SOCKETS, opened(72, FAR, 3, netns=SHADOW))
    assert in_role(filled(inside(), places=twins, sockets=both), "culprit") == []


def test_who_is_seen_in_the_table_by_that_address_is_not_behind_another_one() -> None:
    """A container of the node itself, whose network has the same addresses; the inner one is out of sight."""
    places = {n: own for n, own in PLACES.items() if n != INNER} | {SHADOW: (device(INSIDE),)}
    sockets = (opened(72, FAR, 3, netns=SHADOW),)
    assert in_role(filled(inside(), places=places, sockets=sockets, also=(busy(INSIDE, FAR, 3),)), "culprit") == []


@pytest.mark.parametrize(("own", "named"), [(4_900, ["dockerd"]), (200, ["installer"])])
def test_what_a_namespace_opened_itself_is_its_own(own: int, named: list[str]) -> None:
    sockets = (*SOCKETS, opened(70, FAR, 9, netns=BUILDER.netns))
    found = filled(inside(own, BUILDER.address), inside(MANY - own), sockets=sockets)
    assert in_role(found, "culprit") == named


def test_what_a_namespace_opened_itself_needs_no_socket() -> None:
    """Its short connections were met at no reading; of another in it there are five."""
    found = filled(inside(4_995, BUILDER.address), inside(5), sockets=())
    assert in_role(found, "culprit") == ["dockerd"]


def test_what_its_table_leads_elsewhere_does_not_count() -> None:
    sockets = (*SOCKETS, opened(70, FAR, 9, netns=BUILDER.netns))
    found = filled(inside(MANY, BUILDER.address), inside(9_000, to=SERVICE), sockets=sockets)
    assert in_role(found, "culprit") == ["dockerd"]


ALONE = PLACES | {BUILDER.netns: (device(BUILDER.address),)}
OWN_SOCKETS = (opened(70, FAR, 1, netns=BUILDER.netns),)


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"counts": {BUILDER.netns: MANY}, "sockets": ()}, []),
        ({"counts": {BUILDER.netns: MANY}, "sockets": OWN_SOCKETS}, ["dockerd"]),
        ({"counts": {BUILDER.netns: MANY}, "sockets": (), "places": ALONE}, ["dockerd"]),
        ({"counts": {BUILDER.netns: 90}, "sockets": ()}, ["dockerd"]),
        ({"counts": {BUILDER.netns: MANY}, "sockets": (), "inner": {BUILDER.netns: ()}}, ["dockerd"]),
    ],
    ids=["may translate", "has sockets there", "is in one network", "has few entries", "translates nothing"],
)
def test_where_its_own_table_was_not_read_who_may_translate_needs_sockets(
    how: dict[str, Any], named: list[str]
) -> None:
    assert in_role(filled(**how), "culprit") == named


def test_others_are_judged_as_before() -> None:
    found = only(twice(*CROWD, churn(CLIENT, SERVICE, MANY), inner={BUILDER.netns: (inside(),)}, sockets=[]))
    assert in_role(found, "culprit") == [CLIENT]
