"""Name servers that are asked: who waits for them, what connection tracking saw of it, and what our own queries got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Final

import msgspec

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.counter_window import CounterWindow, counter_window
from whodunnet.model.flow_owners import FlowOwners, is_loopback
from whodunnet.model.resolvers import Lookup, ResolvConf, Resolvers
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint, NameSocket, Sockets
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.dns_waits import PORT, Wait, find_waits
from whodunnet.rules.openers import owners_of

LOCALHOST: Final = "127.0.0.1"
DOCKER: Final = "127.0.0.11"
"""Of a container of docker: dockerd answers there, at a port that iptables puts in place of 53."""
UDP: Final = ("Udp", "Udp6")


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One name server, and what was seen of it. place: of one on a loopback, the namespace; each has its own.

    files: that name it. waits: sockets that stayed for `wait`, or were given up. unanswered: entries of connection
    tracking to it without an answer for `wait`, and not older than `recent`; groups: these. asked_now: also those that
    were asked, or asked again, a moment ago. answered: entries with an answer within the window, in any reading;
    tracked: whether there was any entry to it. endpoints: who stands behind it, where it is translated: unanswered
    entries of each. lookups: our own queries.
    """

    address: str
    place: int | None
    files: tuple[ResolvConf, ...]
    waits: tuple[Wait, ...] = ()
    unanswered: int = 0
    asked_now: int = 0
    groups: tuple[FlowGroup, ...] = ()
    answered: int = 0
    tracked: bool = False
    endpoints: tuple[tuple[Endpoint, int], ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.address, PORT)

    @property
    def questions(self) -> int:
        """Without an answer: the larger of what sockets and entries say, which are mostly the same ones."""
        return max(len(self.waits), self.unanswered)

    @property
    def askers(self) -> set[int]:
        """Network namespaces of sockets that wait for it."""
        return {wait.socket.netns for wait in self.waits}

    def lookups_that(self, outcome: str) -> list[Lookup]:
        return [lookup for lookup in self.lookups if lookup.outcome == outcome]


class Reading(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Everything the rule looks at. readings: of sockets, with names. seconds: between the first and the last of them;
    apart_seconds: between two, at most.

    tracking: the newest reading of connection tracking with its entries; None: not known. counted: None: not known.
    """

    at: Moment
    recording: Recording
    resolvers: Resolvers
    servers: tuple[Server, ...]
    readings: int
    seconds: float
    apart_seconds: float
    tracking: Conntrack | None
    counted: CounterWindow | None

    @cached_property
    def owners(self) -> FlowOwners:
        return owners_of(self.recording)

    def rise(self, netns: int, name: str) -> int | None:
        """Of Udp.NoPorts and the like, of both families; None where that was not counted."""
        if self.counted is None or netns not in self.counted.rises:
            return None
        return sum(self.counted.rises[netns].get(f"{kind}.{name}", 0) for kind in UDP)

    @cached_property
    def names(self) -> tuple[NameSocket, ...] | None:
        """The newest sockets that are for names, if all of them are known."""
        sockets = self.recording.last(Sockets)
        if sockets is None or sockets.names_cut or not sockets.all_processes or sockets.netns_unread:
            return None
        return sockets.names

    def home(self, server: Server, netns: int) -> int | None:
        """The namespace of this node in which a server's address is, as asked from one; None if in none, or several."""
        if is_loopback(server.address):
            return netns
        found = self.owners.namespace_of(server.address)
        addresses = self.recording.last(Addresses) or Addresses()
        of_service = {a.address for every in addresses.by_netns.values() for a in every if a.of_service}
        return None if server.address in of_service else found

    def listeners(self, server: Server, netns: int) -> list[NameSocket] | None:
        """UDP sockets that take what is sent to it there; None where they are not all known."""
        if self.names is None:
            return None
        return [s for s in self.names if s.netns == netns and _takes(s.local, server.address)]


def read(recording: Recording, entry: Entry) -> Reading:
    """Of the whole window."""
    resolvers = recording.last(Resolvers)
    assert resolvers is not None  # the collector is required
    every = [(at, s, w) for at, s, w in recording.owned_sockets() if s.names is not None]
    begin = recording.snapshots[0].at.boot_seconds
    tables = [
        (at.boot_seconds - begin, c) for at, c in recording.series(Conntrack) if c.loaded and c.dump_failure is None
    ]
    files: dict[tuple[str, int | None], list[ResolvConf]] = {}
    for conf in resolvers.files:
        for address in dict.fromkeys(conf.servers or (LOCALHOST,)):
            files.setdefault((address, conf.netns if is_loopback(address) else None), []).append(conf)
    counted = counter_window(recording)
    waits = find_waits(every, resolvers, counted, entry.limit("wait"))
    return Reading(
        at=recording.snapshots[-1].at,
        recording=recording,
        resolvers=resolvers,
        servers=tuple(_server(place, of_it, waits, tables, resolvers, entry) for place, of_it in files.items()),
        readings=len(every),
        seconds=every[-1][0].boot_seconds - every[0][0].boot_seconds if every else 0.0,
        apart_seconds=max((b[0].boot_seconds - a[0].boot_seconds for a, b in pairwise(every)), default=0.0),
        tracking=tables[-1][1] if tables else None,
        counted=counted,
    )


def _server(
    where: tuple[str, int | None], files: Sequence[ResolvConf], waits: Iterable[Wait],
    tables: Sequence[tuple[float, Conntrack]], resolvers: Resolvers, entry: Entry,
) -> Server:  # fmt: skip
    address, place = where
    told = {conf.netns for conf in files}
    lookups = tuple(x for x in resolvers.lookups if x.server == address and place in (None, x.netns))
    seen = [(after, table) for after, table in tables if place in (None, table.netns)]
    to_it = [(after, [g for g in table.groups if _is_to(g, address)]) for after, table in seen]
    open_ones = tuple(g for g in (to_it[-1][1] if to_it else ()) if not g.replied and _unanswered(g, entry))
    endpoints: Counter[Endpoint] = Counter()
    for g in open_ones:
        if g.answered_by is not None:
            endpoints[g.answered_by] += _unanswered(g, entry)
    unanswered = sum(_unanswered(g, entry) for g in open_ones)
    ours = sum(lookup.outcome in ("waiting", "refused") for lookup in lookups)
    return Server(
        address=address,
        place=place,
        files=tuple(files),
        waits=tuple(
            wait
            for wait in waits
            if wait.socket.remote is not None and wait.socket.remote.address == address and wait.socket.netns in told
        ),
        unanswered=max(unanswered - ours, 0),
        asked_now=sum(_asked(g, entry) for g in (to_it[-1][1] if to_it else ())),
        groups=open_ones,
        answered=max((_answered(groups, after, to_it[-1][0], entry) for after, groups in to_it), default=0),
        tracked=any(groups for _, groups in to_it),
        endpoints=tuple(endpoints.most_common()),
        lookups=lookups,
    )


def _is_to(g: FlowGroup, address: str) -> bool:
    return g.protocol == "udp" and not g.merged and g.destination == Endpoint(address, PORT)


def _unanswered(g: FlowGroup, entry: Entry) -> int:
    """Entries whose last packet was a question, long enough ago and not too long."""
    if g.replied or not g.ages:
        return 0
    return g.idle_for(int(entry.limit("wait"))) - g.idle_for(int(entry.limit("recent")))


def _asked(g: FlowGroup, entry: Entry) -> int:
    """Entries without an answer, not older than `recent`."""
    return sum(g.ages) - g.idle_for(int(entry.limit("recent"))) if g.ages and not g.replied else 0


def _answered(groups: Iterable[FlowGroup], after: float, last: float, entry: Entry) -> int:
    """Entries with an answer, the last packet within the window; all of them where their time is not known.

    after: seconds from the window's begin to this reading, last: to the newest one. What was answered before says
    nothing, as the server may have stopped since. Of a window too short for that: with the last packet of late.
    """
    recent = int(entry.limit("recent"))
    bounds = [bound for bound in AGE_BOUNDS_SECONDS if bound <= min(after, recent)]
    if last < entry.limit("wait"):
        bounds = [recent]
    replied = [g for g in groups if g.replied]
    within = sum(sum(g.ages) - g.idle_for(bounds[-1]) for g in replied if g.ages) if bounds else 0
    return within + sum(g.idle_unknown for g in replied)


def _takes(local: Endpoint, address: str) -> bool:
    """Whether a socket bound there gets what is sent to an address: its own, or any."""
    return local.port == PORT and (local.address in (None, address) or not str(local.address).strip("0.:"))
