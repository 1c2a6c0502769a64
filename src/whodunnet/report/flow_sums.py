"""Tracked connections of one reading summed by owner, destination or whatever else a row stands for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.flow_owners import FlowOwner, FlowOwners, OwnerKind
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Workload, Workloads
from whodunnet.report.flow_subject import (
    NOT_KEPT,
    FlowView,
    Subject,
    address_gaps,
    doubted,
    key_of,
    opener_label,
    state_of,
    subject_of,
)
from whodunnet.report.pod_names import PodNames

Asked = tuple[str, Endpoint]
"""Protocol and destination of an entry, before anything was translated."""


@dataclass
class Sum:
    """Entries of one row.

    states: of TCP. others: of other protocols, by protocol. asked: by destination, each with how many are unreplied.
    answers: by destination and the endpoint that it was translated to, with how many are unreplied.
    """

    subject: Subject = field(default_factory=Subject)
    entries: int = 0
    unreplied: int = 0
    inferred: int = 0
    states: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    asked: Counter[Asked] = field(default_factory=Counter)
    silent: Counter[Asked] = field(default_factory=Counter)
    answers: Counter[tuple[Asked, Endpoint]] = field(default_factory=Counter)
    answered: Counter[tuple[Asked, Endpoint]] = field(default_factory=Counter)
    openers: Counter[str] = field(default_factory=Counter)
    candidates: Counter[Workload] = field(default_factory=Counter)
    owners: dict[str, FlowOwner] = field(default_factory=dict)

    def count(self, group: FlowGroup, owner: FlowOwner, entries: int) -> None:
        """entries: those of the group that are this owner's."""
        asked = (group.protocol, group.destination or NOT_KEPT)
        self.entries += entries
        self.unreplied += 0 if group.replied else entries
        self.inferred += entries if owner.inferred else 0
        if group.protocol == "tcp":
            self.states[state_of(group)] += entries
        else:
            self.others[group.protocol] += entries
        self.asked[asked] += entries
        if not group.replied:
            self.silent[asked] += entries
        if group.answered_by is not None:
            self.answers[asked, group.answered_by] += entries
            self.answered[asked, group.answered_by] += entries if group.replied else 0
        self.owners.setdefault(owner.key, owner)
        for candidate in owner.candidates:
            self.candidates[candidate] += entries

    def add(self, part: Sum) -> None:
        """What a sum of several rows shows: entries by state."""
        self.entries += part.entries
        self.unreplied += part.unreplied
        self.inferred += part.inferred
        self.states += part.states
        self.others += part.others

    @property
    def tcp_entries(self) -> int:
        return sum(self.states.values())


class Reading:
    """One sample of the table with whatever tells who opened what."""

    def __init__(
        self, conntrack: Conntrack, owners: FlowOwners, workloads: Workloads, gaps: Sequence[str] = ()
    ) -> None:
        """gaps: as address_gaps."""
        self.conntrack = conntrack
        self.owners = owners
        self.workloads = workloads
        self.gaps = gaps

    @cached_property
    def parts(self) -> list[tuple[FlowGroup, FlowOwner, int]]:
        """Every group with each of its openers, and how many entries that one has."""
        return [(group, *part) for group in self.conntrack.groups for part in self.owners.split(group)]

    def sums(self, by: FlowView, pods: PodNames) -> dict[str, Sum]:
        """Every entry that is in a group, under its row."""
        if by == "netns":
            return self._by_netns()
        found: dict[str, Sum] = {}
        labels: dict[str, str] = {}
        for group, owner, entries in self.parts:
            key = key_of(by, group, owner, pods)
            row = found.get(key)
            if row is None:
                row = found[key] = Sum(subject=doubted(subject_of(by, group, owner, pods), self.gaps))
            row.count(group, owner, entries)
            if by == "destination":
                if owner.key not in labels:
                    labels[owner.key] = opener_label(owner, pods, self.gaps)
                row.openers[labels[owner.key]] += entries
        return found

    def _by_netns(self) -> dict[str, Sum]:
        """Entries of every namespace; what they are is known of the one that was read."""
        found = {}
        for netns, entries in self.conntrack.counts.items():
            owner = FlowOwner(key=f"netns {netns}", kind="netns", netns=netns)
            was_read = netns == self.conntrack.netns
            kind: OwnerKind = "node" if was_read else "netns"
            row = Sum(subject=Subject(kind=kind, netns=netns, workload=self.tenant(netns)))
            for group in self.conntrack.groups if was_read else ():
                row.count(group, owner, group.entries)
            row.entries = entries
            found[owner.key] = row
        return found

    def tenant(self, netns: int) -> Workload | None:
        """Whoever alone is in a namespace."""
        return self.workloads.by_netns.get(netns) or self.workloads.sole_by_netns.get(netns)

    def opened(self, by: FlowView, row: Sum, sources: Counter[int]) -> int | None:
        """TCP connections that a row's owners opened themselves and have open; None where that is not known.

        sources: how many source addresses each namespace has in the table.
        """
        match by:
            case "state" | "protocol" | "netns":
                return None
            case "destination":
                return self.opened_to(row, row.subject.protocol, row.subject.destination)
            case "source":
                netns, *more = {owner.netns for owner in row.owners.values()} or {None}  # it has no entry any more
                if more or netns is None or sources[netns] != 1:
                    return None
                return self.owners.opened_sockets(FlowOwner(key=f"netns {netns}", kind="netns", netns=netns))
        counts = [self.owners.opened_sockets(owner) for owner in row.owners.values()]
        known = [count for count in counts if count is not None]
        return sum(known) if known and len(known) == len(counts) else None

    def opened_to(self, row: Sum, protocol: str | None, destination: Endpoint | None) -> int | None:
        """The same, to one destination; of several owners in one namespace all its sockets."""
        if protocol != "tcp" or destination is None or destination == NOT_KEPT:
            return None
        owners = row.owners
        if len(owners) > 1:
            places = {owner.netns for owner in owners.values()}
            owners = {f"netns {n}": FlowOwner(key=f"netns {n}", kind="netns", netns=n) for n in places if n is not None}
        counts = [self.owners.open_to(owner, destination) for owner in owners.values()]
        known = [count for count in counts if count is not None]
        return sum(known) if known else None

    def name_of(self, address: str | None, pods: PodNames) -> Workload | None:
        """Who has an address, on this node or by --pods; None if unknown or more than one."""
        if address is None:
            return None
        local = self.owners.answerer(address)
        if local is not None or self.owners.is_local(address):
            return local
        named = pods.of(address)
        return Workload(pod=named[0]) if len(named) == 1 else None


def read_at(recording: Recording, conntrack: Conntrack, *, newest: bool) -> Reading:
    """The first or the newest reading of a recording; short connections are looked for in all its readings."""
    readings = recording.owned_sockets()
    addresses = [sample for _, sample in recording.series(Addresses)]
    if not newest:
        readings.reverse()
        addresses.reverse()
    workloads = all_workloads(sample for _, sample in recording.series(Workloads))
    known = addresses[-1] if addresses else None
    sockets, then = [sample for _, sample, _ in readings], [named for *_, named in readings]
    return Reading(conntrack, FlowOwners(conntrack, known, sockets, workloads, then), workloads, address_gaps(known))


def all_workloads(samples: Iterable[Workloads]) -> Workloads:
    """Whoever was met in any reading: an owner that has gone keeps its name, and so its key."""
    merged = Workloads()
    for sample in samples:
        merged = msgspec.structs.replace(
            sample,
            by_pid={**merged.by_pid, **sample.by_pid},
            by_netns={**merged.by_netns, **sample.by_netns},
            sole_by_netns={**merged.sole_by_netns, **sample.sole_by_netns},
        )
    return merged


def sources_by_netns(sums: Iterable[Sum]) -> Counter[int]:
    """How many source addresses of the table each namespace has."""
    found: defaultdict[int, set[str]] = defaultdict(set)
    for row in sums:
        for owner in row.owners.values():
            if owner.netns is not None and row.subject.address is not None:
                found[owner.netns].add(row.subject.address)
    return Counter({netns: len(addresses) for netns, addresses in found.items()})
