"""A pod that waits for an address which does not answer, or which it does not reach; and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.finding import Cleared, Finding
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, SocketGroup
from whodunnet.rules.catalogue import catalogue

from .nodes import answers, findings, parties
from .tracking import PLACES, POD, POD_NETNS, flow, table, tables, waiting

RULE = "service-hang"
ENTRY = catalogue()[RULE]
GONE = Endpoint("203.0.113.77", 443)
ELSEWHERE = Endpoint("203.0.113.5", 443)
FLOOR, SCAN = int(ENTRY.limit("min_entries")), int(ENTRY.limit("scan_targets"))
TRIES = int(ENTRY.limit("scan_tries"))


def hang(*groups: FlowGroup, moments: int = 2, seconds: float = 10.0, **other: Any) -> Recording:
    """The same groups at each moment."""
    return tables(*[table(*groups)] * moments, seconds=seconds, **other)


def said(node: Recording) -> list[tuple[str | None, str, str]]:
    return [(f.shape, f.severity, f.confidence) for f in findings(node, RULE)]


def cleared(node: Recording) -> Cleared:
    (answer,) = answers(node, RULE)
    assert isinstance(answer, Cleared)
    return answer


def endpoints(found: Finding) -> list[Endpoint]:
    return [p.endpoint for p in parties(found, "peer") if isinstance(p.endpoint, Endpoint)]


def place(prefix: int = 32, devices: tuple[str, ...] = ("eth0",), **other: Any) -> Addresses:
    """The pod's namespace with an address on each device."""
    own = tuple(
        DeviceAddress(address=a, prefix_length=prefix, device=d)
        for a, d in zip((POD, "fe80::1"), devices, strict=False)
    )
    return Addresses(by_netns={**PLACES.by_netns, POD_NETNS: own}, **other)


def dropped(*groups: FlowGroup, sockets: Sequence[SocketGroup] | None = None, **other: Any) -> Recording:
    """A pod that has a tracked connection elsewhere, and whose sockets wait for an endpoint without an entry."""
    waits = [waiting(GONE, FLOOR)] if sockets is None else sockets
    moments = other.pop("moments", 2)
    given = {"addresses": place(), **other}
    return hang(flow(ELSEWHERE, 1), *groups, moments=moments, sockets=[waits] * moments, **given)
