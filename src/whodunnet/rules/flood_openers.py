"""Who opened the entries of one reading, and of which kinds they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.flow_owners import FlowOwner, FlowOwners
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint
from whodunnet.model.workload import Workload
from whodunnet.rules.flood_kinds import DATAGRAMS, WASTEFUL, YOUNG_SECONDS, Kind, Part, parts_of, timeout_name
from whodunnet.rules.table_window import TableReading, TableWindow


class Flow(msgspec.Struct, frozen=True):
    """What entries of one opener have in common. translated: by NAT, in either direction."""

    kind: Kind
    protocol: str
    destination: Endpoint | None
    answered_by: Endpoint | None
    translated: bool


class Opener(msgspec.Struct):
    """Entries of one opener in one reading.

    young: by kind, without a packet for less than YOUNG_SECONDS. inferred: wasteful ones whose socket is gone.
    unproven: wasteful ones whose sender never had to show that it has its address. in_use: busy TCP ones by
    destination. charge: wasteful entries that it answers for: its own, with what relays opened for it, without what it
    opened for others. excuse: why it is not the one although it has the entries. doubt: which of the programs behind
    its address it is, in words, where that is not known. older: wasteful ones that were idle before it was started.
    sources: wasteful entries by source address. timeouts: of each wasteful kind, entries by the name of their timeout.
    """

    owner: FlowOwner
    entries: int = 0
    inferred: int = 0
    unproven: int = 0
    older: int = 0
    kinds: Counter[Kind] = msgspec.field(default_factory=Counter)
    young: Counter[Kind] = msgspec.field(default_factory=Counter)
    flows: Counter[Flow] = msgspec.field(default_factory=Counter)
    in_use: Counter[Endpoint | None] = msgspec.field(default_factory=Counter)
    charge: float = 0.0
    excuse: str | None = None
    doubt: str | None = None
    sources: Counter[str] = msgspec.field(default_factory=Counter)
    timeouts: Counter[tuple[Kind, str]] = msgspec.field(default_factory=Counter)

    @property
    def wasteful(self) -> int:
        return sum(self.kinds[kind] for kind in WASTEFUL)

    @property
    def kind(self) -> Kind:
        """The wasteful kind it has most of."""
        return max(WASTEFUL, key=lambda kind: self.kinds[kind])

    @property
    def main(self) -> Flow | None:
        """Where most of that kind lead, None where they lead to more places than were kept."""
        counts: Counter[Endpoint | None] = Counter()
        for flow, n in self.flows.items():
            counts[flow.destination] += n if flow.kind == self.kind else 0
        most = max(counts, key=lambda destination: counts[destination], default=None)
        return next((f for f in self.flows if most is not None and (f.kind, f.destination) == (self.kind, most)), None)

    def to(self, destination: Endpoint | None) -> int:
        """Entries of its main kind that lead there."""
        return sum(n for flow, n in self.flows.items() if (flow.kind, flow.destination) == (self.kind, destination))

    @property
    def destinations(self) -> int:
        """To how many endpoints its main kind leads, as far as they were kept."""
        return len({flow.destination for flow in self.flows if flow.kind == self.kind})

    @property
    def rate(self) -> float:
        """New entries of its main kind a second, as far as the youngest tell."""
        return self.young[self.kind] / YOUNG_SECONDS


class Openers(msgspec.Struct, kw_only=True):
    """All openers of one reading, by the key of the owner.

    inbound: wasteful entries that lead to an owner of this node, by its key and that of the opener.
    taken: entries that lead to a pod or container with a namespace of its own, by inode number.
    sent: wasteful entries that lead into a namespace from elsewhere, by inode number.
    """

    reading: TableReading
    owners: FlowOwners
    by_key: dict[str, Opener]
    inbound: dict[str, Counter[str]]
    taken: dict[int, tuple[Workload, int]]
    sent: Counter[int]

    @property
    def total(self) -> int:
        """All entries: what was read, or what the kernel counts if that is more."""
        return max(self.reading.count, self.reading.table.entries_read, 1)

    @property
    def wasteful(self) -> float:
        """Sum of all charges."""
        return sum(opener.charge for opener in self.by_key.values())

    @property
    def attributed(self) -> float:
        """Share of all entries whose opener is known by name, or by an address that is its alone."""
        known = sum(o.entries for o in self.by_key.values() if o.owner.kind in ("workload", "remote") or o.doubt)
        return min(known / self.total, 1.0)


def openers_of(reading: TableReading, window: TableWindow, idle_age: int) -> Openers:
    """Split every group of a reading by owner and kind. Charges are of their own entries only."""
    sockets, then = window.sockets_at(reading.at)
    owners = FlowOwners(
        reading.table, reading.addresses, sockets, reading.workloads, then, window.makers, reading.at.boot_seconds
    )
    found = Openers(reading=reading, owners=owners, by_key={}, inbound={}, taken={}, sent=Counter())
    for group in reading.table.groups:
        parts = parts_of(group, idle_age)
        answering, into = _answering(group, owners)
        for owner, n in owners.split(group):
            opener = found.by_key.setdefault(owner.key, Opener(owner))
            wasteful = _add(opener, group, _part_of(parts, n, group.entries), owner)
            opener.older += min(_older(group, owner, reading) * n // max(group.entries, 1), wasteful)
            if answering is not None and wasteful:
                found.inbound.setdefault(answering, Counter())[owner.key] += wasteful
            if into is not None and into != owner.netns:
                found.sent[into] += wasteful
        _count_taken(found.taken, group, owners)
    for opener in found.by_key.values():
        opener.charge = opener.wasteful - (opener.older if 2 * opener.older <= opener.wasteful else 0)
        _choose_address(opener)
    return found


def _part_of(parts: Sequence[Part], n: int, entries: int) -> Iterator[Part]:
    """n of the entries of a group, in equal shares of its parts; the last part has what rounding leaves."""
    left = n
    for part in parts[:-1]:
        share = part.entries * n // max(entries, 1)
        left -= share
        yield Part(part.kind, share, part.young * n // max(entries, 1))
    for part in parts[-1:]:
        yield Part(part.kind, left, min(part.young * n // max(entries, 1), left))


def _add(opener: Opener, group: FlowGroup, parts: Iterator[Part], owner: FlowOwner) -> int:
    """Count parts of a group for one opener; how many entries of them are wasteful."""
    wasteful = 0
    translated = group.answered_by is not None or group.source_as is not None
    for part in parts:
        opener.entries += part.entries
        opener.kinds[part.kind] += part.entries
        opener.young[part.kind] += part.young
        if part.kind == "busy":
            opener.in_use[group.destination] += part.entries if group.protocol == "tcp" else 0
            continue
        wasteful += part.entries
        opener.timeouts[part.kind, timeout_name(group)] += part.entries
        opener.flows[Flow(part.kind, group.protocol, group.destination, group.answered_by, translated)] += part.entries
    opener.sources[group.source] += wasteful
    opener.inferred += wasteful if owner.inferred else 0
    opener.unproven += wasteful if group.protocol in DATAGRAMS or not group.replied else 0
    return wasteful


def _older(group: FlowGroup, owner: FlowOwner, reading: TableReading) -> int:
    """Entries without a packet for longer than a named owner has been there: it cannot have sent their last one.

    A container that was started anew has its pod's address for as long as the pod. Not of entries with an open socket.
    """
    started = _since(owner, reading)
    if started is None:
        return 0
    age = (reading.at.wall - started).total_seconds()
    bound = next((bound for bound in AGE_BOUNDS_SECONDS if bound >= age), None)
    return group.idle_for(bound) if bound is not None else 0


def _since(owner: FlowOwner, reading: TableReading) -> datetime | None:
    """Since when it may have had the address; None where that is not known, or its sockets show that it has."""
    known = owner.workload
    if known is None:
        return None
    if owner.key == f"netns {owner.netns}":
        if (since := reading.workloads.since_by_netns.get(owner.netns or 0)) is not None:
            return since
    elif not owner.inferred:
        return None
    starts = [part.started for part in (known.container, known.process) if part is not None]
    return min((at for at in starts if at is not None), default=None)


def _choose_address(opener: Opener) -> None:
    """Of several addresses of one owner, that with most; none of equals, of which none is the one."""
    if opener.owner.address is not None:
        (first, most), *others = opener.sources.most_common(2)
        alone = all(n < most for _, n in others)
        opener.owner = replace(opener.owner, address=first if alone else None)


def _answering(group: FlowGroup, owners: FlowOwners) -> tuple[str | None, int | None]:
    """Key of whoever on this node answers a group, and the namespace it leads to."""
    for endpoint in (group.answered_by, group.destination):
        if endpoint is not None and endpoint.address is not None:
            return owners.answering(endpoint), owners.namespace_of(endpoint.address)
    return None, None


def _count_taken(taken: dict[int, tuple[Workload, int]], group: FlowGroup, owners: FlowOwners) -> None:
    for endpoint in (group.answered_by, group.destination):
        if endpoint is not None and endpoint.address is not None:
            workload = owners.answerer(endpoint.address)
            if workload is not None and workload.netns is not None:
                taken[workload.netns] = workload, taken.get(workload.netns, (workload, 0))[1] + group.entries
            return
