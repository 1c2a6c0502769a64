"""What a row of the table of tracked connections stands for: an opener, an address, a destination, a state, ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.flow_owners import FlowOwner, OwnerKind
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import clean
from whodunnet.model.workload import Pod, Workload
from whodunnet.report.identity import endpoint_name, pod_name
from whodunnet.report.owner import workload_label
from whodunnet.report.pod_names import PodNames
from whodunnet.report.protocols import protocol_name
from whodunnet.report.quantity import count

FlowView = Literal["workload", "pod", "source", "destination", "state", "protocol", "netns"]
FLOW_VIEWS: tuple[FlowView, ...] = ("workload", "pod", "source", "destination", "state", "protocol", "netns")
NOT_KEPT = Endpoint(None, None)
"""Of entries that the collector had to merge without their destination."""
_CANDIDATES_SHOWN = 3


class Subject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The identity of one row.

    kind: how far the opener is known (FlowOwner.kind). pods: by --pods, whoever has the address; more than one where
    the list was read while it changed hands. candidates: seen with sockets to the same destinations.
    perhaps_here: "remote", but not all addresses of this node were read.
    """

    kind: OwnerKind | None = None
    workload: Workload | None = None
    address: str | None = None
    netns: int | None = None
    pods: tuple[Pod, ...] = ()
    candidates: tuple[Workload, ...] = ()
    perhaps_here: bool = False
    protocol: str | None = None
    destination: Endpoint | None = None
    state: str | None = None


def key_of(by: FlowView, group: FlowGroup, owner: FlowOwner, pods: PodNames) -> str:
    """Of the row that entries of a group count in; the same from reading to reading."""
    match by:
        case "source":
            return group.source
        case "destination":
            return f"{group.protocol} {group.destination}"
        case "state":
            return f"{group.protocol} {state_of(group)}"
        case "protocol":
            return group.protocol
        case "pod":
            pod = pod_of(owner, pods)
            return owner.key if pod is None else f"pod {pod.namespace}/{pod.name or pod.uid}"
        case _:
            return owner.key


def subject_of(by: FlowView, group: FlowGroup, owner: FlowOwner, pods: PodNames) -> Subject:
    """What that row is."""
    match by:
        case "source":
            return Subject(address=group.source, pods=pods.of(group.source))
        case "destination":
            return Subject(protocol=group.protocol, destination=group.destination or NOT_KEPT)
        case "state":
            return Subject(protocol=group.protocol, state=state_of(group))
        case "protocol":
            return Subject(protocol=group.protocol)
        case "pod" if owner.workload is not None and (pod := pod_of(owner, pods)) is not None:
            return msgspec.structs.replace(opener(owner, pods), workload=Workload(pod=pod))
        case _:
            return opener(owner, pods)


def pod_of(owner: FlowOwner, pods: PodNames) -> Pod | None:
    """The one pod that an opener is in, here or by --pods, if it has a name or an id at all."""
    if owner.workload is not None:
        pod = owner.workload.pod
        return pod if pod is not None and (pod.name or pod.uid) else None
    found = opener(owner, pods).pods
    return found[0] if len(found) == 1 else None


def opener(owner: FlowOwner, pods: PodNames) -> Subject:
    """Whoever opened entries; of a container all its processes are one."""
    workload = owner.workload
    if workload is not None and (workload.container or workload.pod):
        workload = msgspec.structs.replace(workload, process=None, unit=None)
    return Subject(
        kind=owner.kind,
        workload=workload,
        address=owner.address,
        netns=owner.netns,
        pods=pods.of(owner.address) if owner.address is not None and owner.kind not in ("node", "netns") else (),
        candidates=owner.candidates,
    )


def opener_label(owner: FlowOwner, pods: PodNames, gaps: Sequence[str] = ()) -> str:
    """The same in words, without who else was seen there. gaps: as address_gaps."""
    return subject_label(msgspec.structs.replace(doubted(opener(owner, pods), gaps), candidates=()))


def doubted(subject: Subject, gaps: Sequence[str]) -> Subject:
    """The same, where it may be on this node after all. gaps: as address_gaps."""
    doubtful = bool(gaps) and subject.kind == "remote"
    return msgspec.structs.replace(subject, perhaps_here=True) if doubtful else subject


def address_gaps(addresses: Addresses | None) -> tuple[str, ...]:
    """What is not known of the addresses of this node, though they were read."""
    if addresses is None:
        return ()
    unread = f"addresses of {count(addresses.netns_unread, 'network namespace')} could not be read"
    left_out = f"addresses beyond the collector's limit were left out: {addresses.left_out:,}"
    numbers = ((addresses.netns_unread, unread), (addresses.left_out, left_out))
    return tuple(gap for number_of, gap in numbers if number_of)


def state_of(group: FlowGroup) -> str:
    """The kernel's name of a state; offloaded entries have one that nobody is told."""
    return "offloaded" if group.offloaded else group.state


def subject_label(subject: Subject) -> str:
    """Plain words, cleaned."""
    if subject.protocol is not None:
        return _flow_label(subject)
    if subject.workload is not None and subject.kind == "workload":
        return workload_label(subject.workload)
    if subject.address is None:
        read = ", this node's own, whose table is the one above" if subject.kind == "node" else ""
        return netns_label(subject.netns, subject.workload) + read
    address, named = clean(subject.address), " or ".join(map(pod_name, subject.pods))
    match subject.kind:
        case "node":
            return "the node's processes and host-network pods, not told apart" + _seen(subject)
        case "netns":
            return f"programs of netns {subject.netns}, not told apart" + _seen(subject)
        case "remote":
            where = "not found here" if subject.perhaps_here else "not on this node"
            return f"{named} ({address}), {where}" if named else f"{address}, {where}"
        case "ambiguous":
            return f"{named or address}{f' ({address})' if named else ''}, in several network namespaces"
    return f"{named} ({address})" if named else address


def netns_label(netns: int | None, workload: Workload | None = None) -> str:
    """A network namespace, and who is known to be in it."""
    where = f"netns {netns}" if netns is not None else "an unknown netns"
    return f"{where} ({workload_label(workload)})" if workload is not None else where


def destination_name(endpoint: Endpoint) -> str:
    """ "10.96.0.1:80"; an address alone where there are no ports; words where it was not kept."""
    return "destinations that were not kept" if endpoint == NOT_KEPT else endpoint_name(endpoint)


def _flow_label(subject: Subject) -> str:
    protocol = protocol_name(subject.protocol or "")
    if subject.state is not None:
        return protocol if subject.state == "none" else f"{protocol} {clean(subject.state)}"
    if subject.destination is not None:
        return f"{protocol} to {destination_name(subject.destination)}"
    return protocol


def _seen(subject: Subject) -> str:
    names = [workload_label(w) for w in subject.candidates[:_CANDIDATES_SHOWN]]
    more = len(subject.candidates) - len(names)
    return f"; seen: {', '.join(names)}{f' and {more} more' if more else ''}" if names else ""
