"""Every listener over the window: how full its two queues were, and whether it took what waited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, AcceptQueue, Endpoint, Sockets
from whodunnet.model.workload import Workload, Workloads
from whodunnet.rules.identity import HALTED

Key = tuple[int, Endpoint, int | None]
Port = tuple[int, int | None]
MATES_LISTED = 3
NO_AGES = (0,) * (len(AGE_BOUNDS_SECONDS) + 1)
Place = tuple[int, int | None, int]
"""Namespace, port, and 4 or 6 where sockets of both listen there, each with its own connections; else 0."""


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of its queue; of several that one owner has at one address (SO_REUSEPORT) the fullest."""

    at: Moment
    waiting: int
    limit: int
    requests: int | None

    @property
    def full(self) -> bool:
        """As the kernel has it (sk_acceptq_is_full): one more than the limit fits in."""
        return self.waiting > self.limit

    @property
    def full_of_requests(self) -> bool:
        """As the kernel has it (inet_csk_reqsk_queue_is_full)."""
        return self.requests is not None and self.requests >= max(self.limit, 1)


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """An owner who listens at an address. owner: None where it is not known, or where many took part.

    fills: of each reading it was in. several: others take connections of the same port too. sole: at no other port of
    its namespace, nor for another family, anybody listens. shared: several processes have it open, of which pid is one.
    complete: all listeners were read. left, stayed: of connections that waited at its port at one reading, how many
    were gone at the next, and how many were still there; None where no two readings can be compared. ages: of those
    waiting now, at its port. mates: where it is shared, further processes of its owner that are stopped or frozen now.
    """

    netns: int
    local: Endpoint
    pid: int | None
    owner: Workload | None
    fills: tuple[Fill, ...]
    several: bool
    sole: bool
    shared: bool
    complete: bool
    left: int | None
    stayed: int | None
    ages: tuple[int, ...]
    mates: tuple[Workload, ...] = ()

    @property
    def full(self) -> int:
        """In how many readings its accept queue was full."""
        return sum(fill.full for fill in self.fills)

    @property
    def always_full(self) -> bool:
        """In each of two readings or more."""
        return 1 < len(self.fills) == self.full

    @property
    def fullest(self) -> Fill:
        """The reading with most waiting above its limit."""
        return max(self.fills, key=lambda fill: (fill.waiting - fill.limit, fill.at.boot_seconds))

    @property
    def halted(self) -> bool:
        """Whether its process is stopped or frozen now, with connections in a full queue; of several, nobody knows."""
        process = self.owner.process if self.owner and not self.shared else None
        return process is not None and process.state in HALTED and self.fills[-1].full

    @property
    def took_nothing(self) -> bool:
        """Whether it left alone everything that waited, in each step between readings."""
        return self.left == 0 and bool(self.stayed)

    def waiting_for(self, seconds: int) -> int:
        """How many wait now of whom nothing came for so long (one of AGE_BOUNDS_SECONDS)."""
        return sum(self.ages[AGE_BOUNDS_SECONDS.index(seconds) + 1 :])

    def full_for(self, seconds: int) -> bool:
        """Whether nobody got a place for so long: whenever one is taken out of a full queue, somebody new gets in."""
        old = self.waiting_for(seconds)
        return self.fills[-1].full and self.fills[-1].waiting <= old == sum(self.ages)


def listeners(recording: Recording) -> list[Listener]:
    """All that were listening at the newest reading of sockets, in an order that stays."""
    every = recording.owned_sockets()
    if not every:
        return []
    fills: dict[Key, list[Fill]] = {}
    for at, sample, _ in every:
        for key, fill in _fills(at, sample).items():
            fills.setdefault(key, []).append(fill)
    last = every[-1][1]
    both = _of_both_families([sample for _, sample, _ in every])
    at_place = Counter(_place(q.netns, q.local.port, family(q.local), both) for q in last.accept_queues)
    shared = {key_of(q) for q in last.accept_queues if q.shared}
    places: dict[int, set[Place]] = {}
    for _, sample, _ in every:
        for q in sample.accept_queues:
            places.setdefault(q.netns, set()).add(_place(q.netns, q.local.port, family(q.local), both))
    named = _named(every)
    moved, ages = _moved([sample for _, sample, _ in every], both), _ages(last, both)
    return [
        Listener(
            netns=netns,
            local=local,
            pid=pid,
            owner=named.get(pid) if pid is not None else None,
            fills=tuple(fills[netns, local, pid]),
            several=at_place[place] > 1,
            sole=len(places[netns]) == 1 and not last.listeners_cut,
            shared=(netns, local, pid) in shared,
            complete=not last.listeners_cut,
            left=moved[place][0] if place in moved else None,
            stayed=moved[place][1] if place in moved else None,
            ages=ages.get(place, NO_AGES),
            mates=_mates(pid, named) if (netns, local, pid) in shared else (),
        )
        for netns, local, pid in sorted(_fills(every[-1][0], last), key=_order)
        for place in (_place(netns, local.port, family(local), both),)
    ]


def _mates(pid: int | None, named: dict[int, Workload]) -> tuple[Workload, ...]:
    """Workers, say, of which only those are known that have another socket open too; a few of them."""
    first = named.get(pid) if pid is not None else None
    if first is None or first.process is None or (first.process.exe is None and first.container is None):
        return ()
    found = [
        other
        for _, other in sorted(named.items())
        if other.process is not None
        and other.process.pid != pid
        and other.process.state in HALTED
        and other.process.exe == first.process.exe
        and (other.netns, other.container, other.unit) == (first.netns, first.container, first.unit)
    ]
    return tuple(found[:MATES_LISTED])


def _order(key: Key) -> tuple[int, int, int]:
    """By numbers, which stay the same in a redacted recording; else as they were read."""
    netns, local, pid = key
    return netns, local.port or 0, pid or 0


def key_of(q: AcceptQueue) -> Key:
    """A queue that init has open too was handed on by it (socket activation): nobody knows whose it is."""
    return q.netns, q.local, None if q.shared and q.owner_pid == 1 else q.owner_pid


def _of_both_families(samples: Sequence[Sockets]) -> frozenset[Port]:
    """Ports at which sockets of IPv4 and of IPv6 listen: a connection is of the same kind as its listener."""
    found: dict[Port, set[int]] = {}
    for sample in samples:
        for q in sample.accept_queues:
            found.setdefault((q.netns, q.local.port), set()).add(family(q.local))
    return frozenset(port for port, families in found.items() if families == {4, 6})


def _place(netns: int, port: int | None, kind: int, both: frozenset[Port]) -> Place:
    return netns, port, kind if (netns, port) in both else 0


def family(local: Endpoint) -> int:
    """4 or 6; 0 where the address is not known."""
    return 0 if local.address is None else 6 if ":" in local.address else 4


def _fills(at: Moment, sample: Sockets) -> dict[Key, Fill]:
    found: dict[Key, Fill] = {}
    for q in sample.accept_queues:
        fill = Fill(at=at, waiting=q.waiting, limit=q.limit, requests=q.requests)
        before = found.get(key_of(q))
        if before is None or fill.waiting - fill.limit > before.waiting - before.limit:
            found[key_of(q)] = fill
    return found


def _named(every: Sequence[tuple[Moment, Sockets, Workloads | None]]) -> dict[int, Workload]:
    """Owners by pid, as the newest reading that knows them has them."""
    found: dict[int, Workload] = {}
    for _, _, workloads in every:
        found |= workloads.by_pid if workloads else {}
    return found


def _moved(samples: Sequence[Sockets], both: frozenset[Port]) -> dict[Place, tuple[int, int]]:
    """By place, of the connections that waited there before each step, how many were gone after it and how many not."""
    found: dict[Place, tuple[int, int]] = {}
    for before, then in pairwise(samples):
        if not then.follows:
            continue
        stayed = {place: unchanged for place, (_, unchanged) in _waiting(then, both).items()}
        for place, (comparable, _) in _waiting(before, both).items():
            left, kept = found.get(place, (0, 0))
            same = min(stayed.get(place, 0), comparable)
            found[place] = (left + comparable - same, kept + same)
    return found


def _waiting(sample: Sockets, both: frozenset[Port]) -> dict[Place, tuple[int, int]]:
    """By place, how many wait that can be looked for in the next reading, and how many were there in the one before."""
    found: dict[Place, tuple[int, int]] = {}
    for g in sample.groups:
        if g.holding == "accept-queue" and g.protocol == "tcp" and g.netns is not None and g.endpoint is not None:
            place = _place(g.netns, g.endpoint.port, g.family, both)
            comparable, unchanged = found.get(place, (0, 0))
            found[place] = (comparable + g.sockets - g.unmarked, unchanged + (g.unchanged or 0))
    return found


def _ages(sample: Sockets, both: frozenset[Port]) -> dict[Place, tuple[int, ...]]:
    """By place, how many wait of each age."""
    found: dict[Place, list[int]] = {}
    for g in sample.groups:
        if g.holding != "accept-queue" or g.netns is None or g.endpoint is None:
            continue
        here = found.setdefault(_place(g.netns, g.endpoint.port, g.family, both), [*NO_AGES])
        for age, n in enumerate(g.ages):
            here[age] += n
    return {place: tuple(here) for place, here in found.items()}
