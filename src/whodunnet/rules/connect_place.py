"""What is known of an endpoint on this node: whether anybody listens there, and whether its accept queue is full."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from whodunnet.model.connection_names import End
from whodunnet.model.connection_places import takes
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import PartyRole
from whodunnet.model.flow_owners import is_loopback
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import AcceptQueue, Endpoint, Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Process, Workload, Workloads
from whodunnet.rules.connect_failures import Case
from whodunnet.rules.identity import HALTED

OVERFLOWS = "ListenOverflows"
SEVERAL = (
    "Several listeners take connections there (SO_REUSEPORT), and the queue of one is full: ss -ltnp sport = :{port} "
    "in its network namespace shows whose Recv-Q is above its Send-Q. Connects that meet the others are answered."
)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoint that answers, or should, in a namespace of this node.

    readings: of all listeners there. heard: in how many somebody listened at it. full: in how many its queue was.
    longest: its fullest queue. overflows: packets for which queues of the namespace were full, within the window; None:
    not read. sole: whether no other port is listened on in this namespace. hears: whether somebody listens at it now.
    left: whether somebody has ceased to. unheard: when a reading last had nobody, on the boot clock; None: none had.
    several: whether in some reading more than one listener took what comes there. full_owners: who has those that were
    full, None: not known, or shared by several processes. server: who accepts there, or should; of several listeners
    only who has the one full queue. may_be_ipv6_only: whether in some reading the only listener was at "::", which with
    IPV6_V6ONLY takes no IPv4. translatable: whether NAT may lead from it to others, without anybody seeing it.
    """

    end: End
    endpoint: Endpoint
    readings: int = 0
    heard: int = 0
    full: int = 0
    longest: AcceptQueue | None = None
    overflows: int | None = None
    sole: bool = False
    hears: bool = False
    left: bool = False
    unheard: float | None = None
    several: bool = False
    full_owners: frozenset[int | None] = frozenset()
    server: Workload | None = None
    may_be_ipv6_only: bool = False
    translatable: bool = False

    def overflowed(self, lost: int) -> bool:
        """Whether its queue was full for so many packets: seen full, or counted where it is the only one."""
        near = self.longest is not None and self.longest.waiting >= max(self.longest.limit, 1)
        counted = self.overflows is not None and 2 * self.overflows >= lost > 0
        return self.full > 0 or (counted and (self.sole or near))

    @property
    def words(self) -> tuple[str, ...]:
        """For the explanation of a full queue."""
        return (SEVERAL.format(port=self.endpoint.port),) if self.several else ()

    @property
    def role(self) -> PartyRole:
        """Of who is behind it, when its queue is full; nobody may be known to be the one."""
        if self.server is None:
            return "peer"
        if self.halted:
            return "reader"
        return "culprit" if self.stays_full else "holder"

    @property
    def halted(self) -> str | None:
        """The state of a server that somebody has stopped or frozen: it accepts nothing, and has caused nothing."""
        process = self.server.process if self.server is not None else None
        return process.state if process is not None and process.state in HALTED else None

    @property
    def stays_full(self) -> bool:
        """In each of several readings: it is not full for moments only."""
        return 1 < self.readings == self.full


def place_of(case: Case, recording: Recording, *, translated: bool = True) -> Place | None:
    """None where the endpoint is not on this node, or not known. translated: whether NAT may lead to it."""
    pair = case.tries[0].pair
    if case.endpoint is None or len(pair.answered_by) > 1 or (pair.answered_by and not translated):
        return None
    end, endpoint = pair.server_end, (*pair.answered_by, pair.server)[0]
    if end.netns is None or not end.local or endpoint.address is None:
        return None
    found = Place(
        end=end,
        endpoint=endpoint,
        overflows=_overflows(recording, end.netns),
        translatable=_is_translatable(end, endpoint.address, recording),
    )
    for at, sample in recording.series(Sockets):
        if not sample.listeners_cut and not sample.netns_unread:
            found = _with(found, at, sample)
    return msgspec.structs.replace(found, server=_server(found, recording))


def _server(place: Place, recording: Recording) -> Workload | None:
    workloads = recording.last(Workloads) or Workloads()
    if not place.several:
        mine = place.end.workload
        process = mine.process if mine is not None else None
        newest = workloads.by_pid.get(process.pid) if process is not None else None
        return newest if newest is not None and _is_same(process, newest.process) else mine
    owner = next(iter(place.full_owners)) if len(place.full_owners) == 1 else None
    return workloads.by_pid.get(owner) if owner is not None else None


def _is_same(one: Process | None, other: Process | None) -> bool:
    """Whether it is one process, at two times: a number may be given again."""
    return one is not None and other is not None and (one.comm, one.started) == (other.comm, other.started)


def _with(place: Place, at: Moment, sample: Sockets) -> Place:
    """One more reading."""
    there = [q for q in sample.accept_queues if q.netns == place.end.netns]
    own = [q for q in there if q.local.port == place.endpoint.port and takes(q.local.address, place.endpoint.address)]
    taking = _nearest(own, place.endpoint.address or "")
    # As the kernel has it (sk_acceptq_is_full): one more than the limit fits in.
    full = [q for q in taking if q.waiting > q.limit]
    longest = max([*taking, *filter(None, [place.longest])], key=lambda q: q.waiting - q.limit, default=None)
    return msgspec.structs.replace(
        place,
        readings=place.readings + 1,
        heard=place.heard + bool(own),
        full=place.full + bool(full),
        longest=longest,
        sole={q.local.port for q in there} == {place.endpoint.port},
        hears=bool(own),
        left=place.left or (place.hears and not own),
        unheard=place.unheard if own else at.boot_seconds,
        several=place.several or len(taking) > 1,
        # Without BPF nobody knows who else has it open.
        full_owners=place.full_owners | {None if q.shared or sample.method != "bpf" else q.owner_pid for q in full},
        may_be_ipv6_only=place.may_be_ipv6_only or _may_be_ipv6_only(own, place.endpoint.address or ""),
    )


def _nearest(own: Sequence[AcceptQueue], asked: str) -> Sequence[AcceptQueue]:
    """The kernel prefers who listens at this very address, then IPv4's own for IPv4 (compute_score)."""
    family = [q for q in own if q.local.address is not None and (":" in q.local.address) == (":" in asked)]
    return [q for q in family if q.local.address == asked] or family or own


def _may_be_ipv6_only(own: Sequence[AcceptQueue], asked: str) -> bool:
    return bool(own) and ":" not in asked and all(":" in (q.local.address or "") for q in own)


def _is_translatable(end: End, address: str, recording: Recording) -> bool:
    """Of the host's namespace, of one with more than one tenant, or where translations from it were seen."""
    tables = [table for _, table in recording.series(Conntrack)]
    if is_loopback(address) or (tables and not any(table.loaded for table in tables)):
        return False
    if end.workload is None or any(table.netns == end.netns for table in tables):
        return True
    groups = (g for table in tables for g in table.groups if g.answered_by is not None)
    return any(g.destination is not None and g.destination.address == address for g in groups)


def _overflows(recording: Recording, netns: int) -> int | None:
    counted = [m.counters[netns].get(OVERFLOWS) for _, m in recording.series(TcpMemory) if netns in m.counters]
    known = [n for n in counted if n is not None]
    return max(known[-1] - known[0], 0) if len(known) > 1 else None
