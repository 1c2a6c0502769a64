"""Who opened the tracked connections that a rule is about, and everybody of them as a party."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import UNSET

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.finding import Party, PartyRole
from whodunnet.model.flow_owners import FlowOwner, FlowOwners
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Workload, Workloads
from whodunnet.rules.identity import party

HERE = frozenset({"workload", "node", "netns", "ambiguous"})
"""Kinds of openers that are on this node."""


def owners_of(recording: Recording) -> FlowOwners:
    """By the newest reading of everything; sockets of the whole window."""
    readings = recording.owned_sockets()
    return FlowOwners(
        recording.last(Conntrack) or Conntrack(loaded=False),
        recording.last(Addresses),
        [sockets for _, sockets, _ in readings],
        recording.last(Workloads) or Workloads(),
        [then for *_, then in readings],
    )


def openers(owners: FlowOwners, groups: Iterable[FlowGroup]) -> list[tuple[FlowOwner, int]]:
    """Openers of these groups with the number of their entries, most first."""
    found: dict[str, tuple[FlowOwner, int]] = {}
    for group in groups:
        for owner, entries in owners.split(group):
            _, before = found.get(owner.key, (owner, 0))
            found[owner.key] = (owner, before + entries)
    return sorted(found.values(), key=_most_first)


def _most_first(item: tuple[FlowOwner, int]) -> tuple[int, int, int]:
    """Among equals by numbers, which stay the same in a redacted recording."""
    owner, entries = item
    process = owner.workload.process if owner.workload else None
    return -entries, owner.netns or 0, process.pid if process else 0


def opener_party(role: PartyRole, owner: FlowOwner, hostname: str, effect: str) -> Party:
    """An opener in its role: its workload, else what is known of where it is."""
    if owner.workload is not None:
        return party(role, owner.workload, effect=effect)
    if owner.kind == "node":
        return Party(role=role, node=hostname, effect=f"{effect}; the node's own processes, not told apart")
    if owner.kind == "netns":
        return Party(role=role, netns=owner.netns, effect=f"{effect}; the programs of one network namespace")
    texts = {"remote": "not on this node", "ambiguous": "several network namespaces have this address"}
    more = f"; {texts[owner.kind]}" if owner.kind in texts else ""
    return Party(role=role, endpoint=Endpoint(owner.address, None), effect=f"{effect}{more}")


def endpoint_party(
    role: PartyRole, endpoint: Endpoint, workload: Workload | None, effect: str | None, netns: int | None = None
) -> Party:
    """The far end of entries: an address, and who has it if that is somebody on this node, else its namespace."""
    known = Party(role=role, netns=UNSET if netns is None else netns) if workload is None else party(role, workload)
    return msgspec.structs.replace(known, endpoint=endpoint, effect=UNSET if effect is None else effect)
