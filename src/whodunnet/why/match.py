"""Which findings explain an error: by their kind, and by whom they concern."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from whodunnet.model.finding import Finding, Party
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Workload
from whodunnet.why.flow import Flow, same_owner
from whodunnet.why.forms import Kind

Relation = Literal["endpoint", "address", "owner", "node", "cause", "loopback", "port", "kind"]
RELATIONS: dict[Relation, str] = {
    "endpoint": "it is about this very endpoint",
    "address": "it is about this address",
    "owner": "it is about whoever is at an end of it",
    "node": "it befalls all of the node",
    "cause": "it is the cause of another one that explains it",
    "loopback": "it is about this endpoint, of which each network namespace has one of its own",
    "port": "it is about the same port; the name in the text was not looked up",
    "kind": "it makes such errors; the text does not say between whom this one was",
}
"""Surest first, with the words for each."""
OF_ONE_PLACE = frozenset({"nic-drops"})
"""Rules that befall the whole node, but for those of their findings that are about one network namespace."""
UNSURE: frozenset[Relation] = frozenset({"loopback", "port", "kind"})


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A finding that explains the error. finding: its id in the diagnosis. because: the relation in plain words.

    sure: it is no mere possibility, and about this very error as far as the text says between whom that was.
    """

    finding: str
    rule: str
    relation: Relation
    because: str
    sure: bool


def explain(kind: Kind, flow: Flow, findings: Sequence[Finding]) -> tuple[Explanation, ...]:
    """Findings that explain an error: the sure ones, by relation and by the order of the kind's rules; then the others.

    What is only worth knowing (info) explains nothing, unless it is info because it is not sure.
    """
    order = {rule: place for place, rule in enumerate(kind.rules)}
    known = {f.id: f for f in findings if f.severity != "info" or f.confidence == "possible"}
    related = {i: relation for i, f in known.items() if (relation := relation_of(f, kind, flow)) is not None}
    unsure = all(relation in UNSURE for relation in related.values())
    for cause in _causes([known[i] for i in related], known):
        related.setdefault(cause.id, "kind" if unsure else "cause")
    places = list(RELATIONS)
    found = [_explanation(known[i], relation) for i, relation in related.items()]
    return tuple(sorted(found, key=lambda e: (not e.sure, places.index(e.relation), order.get(e.rule, len(order)))))


def relation_of(finding: Finding, kind: Kind, flow: Flow) -> Relation | None:
    """What a finding has to do with an error; None if nothing, or if its rule makes no such error."""
    scope = kind.scope(finding.rule, finding.shape)
    if scope is None:
        return None
    place = _place_of(finding)
    if flow.is_unknown:
        return "kind" if scope != "node" or place is not None else "node"
    by_end = _by_endpoint(finding, flow)
    if by_end is not None or flow.pod_is_absent:
        return by_end
    if scope == "node" and place is not None:
        return _by_place(finding, place, flow)
    if scope == "node":
        return None if flow.is_elsewhere else "node"
    if not flow.places or not any(_port(party) for party in finding.parties):
        if _by_owner(finding, flow, flow.owners):
            return "owner"
        return "loopback" if scope == "owner" and _by_owner(finding, flow, flow.listeners) else None
    # It is about other endpoints: what the destination's owner does there has nothing to do with this one.
    return "owner" if scope == "owner" and _by_owner(finding, flow, flow.source_owners) else None


def _place_of(finding: Finding) -> int | None:
    """The network namespace that it is about; None where it is about the node, or connections."""
    if finding.rule not in OF_ONE_PLACE:
        return None
    found = [party.netns for party in finding.parties if isinstance(party.netns, int)]
    return found[0] if found else None


def _by_place(finding: Finding, netns: int, flow: Flow) -> Relation | None:
    """Whether an end of the flow is there; where it is not known where the ends are, that may be."""
    if _by_owner(finding, flow, flow.owners) or any(place.netns == netns for place in flow.places):
        return "owner"
    known = [place.here is False or place.netns is not None for place in flow.places]
    return None if flow.pod is not None or all(known) else "kind"


def _explanation(finding: Finding, relation: Relation) -> Explanation:
    return Explanation(
        finding=finding.id,
        rule=finding.rule,
        relation=relation,
        because=RELATIONS[relation],
        sure=relation not in UNSURE and finding.confidence != "possible",
    )


def _causes(explaining: Sequence[Finding], known: dict[str, Finding]) -> list[Finding]:
    """Causes of these, and theirs."""
    found: dict[str, Finding] = {}
    waiting = [cause for f in explaining for cause in f.caused_by]
    while waiting:
        cause = known.get(waiting.pop())
        if cause is not None and cause.id not in found:
            found[cause.id] = cause
            waiting.extend(cause.caused_by)
    return list(found.values())


def _by_endpoint(finding: Finding, flow: Flow) -> Relation | None:
    """The surest way in which one of its parties is an end of the flow."""
    ends = [p.endpoint for p in finding.parties if isinstance(p.endpoint, Endpoint)]
    with_port = [end for end in ends if end.port is not None]
    sides = flow.sides
    for end in with_port:
        if end in flow.endpoints:
            return "loopback" if any(side.is_loopback and end in side.endpoints for side in sides) else "endpoint"
    for end in ends:
        for side in sides:
            if end.address in side.addresses and (side.port is None or not with_port):
                return "address"
    own_port = [side.port for side in sides if side.address is None and side.port is not None and not side.addresses]
    return "port" if any(end.port in own_port and end.address is not None for end in with_port) else None


def _by_owner(finding: Finding, flow: Flow, owners: Sequence[Workload]) -> bool:
    """Whether one of its parties is one of these owners, or has an address of the pod that was asked about."""
    for party in finding.parties:
        if flow.pod is not None and party.endpoint is not UNSET and party.endpoint.address in flow.addresses:
            return True
        who = _workload(party)
        if who is not None and any(same_owner(who, owner) for owner in owners):
            return True
    return False


def _workload(party: Party) -> Workload | None:
    parts = {name: getattr(party, name) for name in ("process", "container", "pod", "unit")}
    known = {name: part for name, part in parts.items() if not isinstance(part, UnsetType) and part is not None}
    return Workload(**known) if known else None


def _port(party: Party) -> int | None:
    """Of an endpoint with an address."""
    return party.endpoint.port if isinstance(party.endpoint, Endpoint) and party.endpoint.address is not None else None
