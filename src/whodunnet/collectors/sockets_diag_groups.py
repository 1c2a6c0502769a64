"""The groups of the sockets sample from single sockets, as sock_diag gives them. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from random import Random
from typing import NamedTuple, TypeVar

import msgspec

from whodunnet.collectors.sockets_diag_single import (
    Held,
    Seen,
    accept_queue,
    age_ms_of,
    dropping_socket,
    endpoint_of,
    existed,
    holding_of,
    name_socket,
    position_of,
    role_of,
    symptom_of,
)
from whodunnet.kernel.netlink.sock_diag_messages import InetSocket, PlainSocket
from whodunnet.kernel.procfs.descriptors import SocketHolders
from whodunnet.model.sockets import (
    AGE_BOUNDS_SECONDS,
    AcceptQueue,
    DroppingSocket,
    Endpoint,
    Holding,
    NameSocket,
    Protocol,
    Role,
    SocketGroup,
    StuckSocket,
    Symptom,
)

T = TypeVar("T")
ENDPOINT_GROUPS_MAX = 65_536
GROUPS_MAX = ENDPOINT_GROUPS_MAX + 16_384
"""The rest is for groups whose endpoint was merged away."""
STUCK_MAX = 16_384
ACCEPT_QUEUES_MAX = 16_384
DROPPING_MAX = 16_384
NAMES_MAX = 1024
NAMES_PORT = 53
POSITIONS_MAX = 65_536
PENDING_MAX = 65_536

_AGE_BOUNDS_MS = tuple(1000 * seconds for seconds in AGE_BOUNDS_SECONDS)


class Positions:
    """Where sockets with a symptom, or in an accept queue, stood at the previous snapshot, at most POSITIONS_MAX.

    Keyed with the namespace too, since before Linux 5.9 cookies repeat from one to the next.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[int, int], tuple[int, int]] | None = None
        self._now: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def first(self) -> bool:
        """Whether no snapshot was finished yet."""
        return self._before is None

    def begin(self) -> None:
        """Start a snapshot; a previous one that was not finished is forgotten."""
        self._now = {}

    def finish(self) -> None:
        """Make the snapshot just taken the previous one."""
        self._before, self._now = self._now, {}

    def unchanged(self, netns: int, found: InetSocket) -> bool | None:
        """Whether it was there with the same read and acknowledge positions; None at the first snapshot."""
        key, position = (netns, found.cookie), position_of(found)
        if len(self._now) < POSITIONS_MAX:
            self._now[key] = position
        return None if self._before is None else self._before.get(key) == position


class _Key(NamedTuple):
    """What the sockets of a SocketGroup share; the names are those of its fields."""

    owner_pid: int | None
    netns: int
    protocol: Protocol
    family: int
    state: str
    role: Role
    holding: Holding
    symptom: Symptom
    endpoint: Endpoint | None
    cgroup_id: int | None


class _Sum(msgspec.Struct):
    """What is added up over the sockets of a group; the names are those of SocketGroup's fields."""

    sockets: int = 0
    memory_bytes: int = 0
    receive_bytes: int = 0
    send_bytes: int = 0
    unread_bytes: int = 0
    unsent_bytes: int = 0
    unchanged: int | None = None
    shared: int = 0
    ages: list[int] | None = None


class Grouping:
    """Adds up sockets as they come; pure. `holders` were read before the sockets were."""

    def __init__(self, holders: SocketHolders, previous: Positions) -> None:
        self.lost = 0
        self.pending: list[Seen] = []
        self.queues: list[AcceptQueue] = []
        self.queues_left_out = 0
        self.dropping: list[DroppingSocket] = []
        self.dropping_cut = False
        self.names: list[NameSocket] = []
        self.names_cut = False
        self.stuck: list[StuckSocket] = []
        self.stuck_total = 0
        self.other = _Sum()
        self._holders = holders
        self._previous = previous
        self._sums: dict[_Key, _Sum] = {}
        self._random = Random(0)

    def add(self, netns: int, protocol: Protocol, found: InetSocket | PlainSocket, ports: frozenset[int]) -> None:
        """One socket. Without a known descriptor it waits for `settle`. ports: where its namespace listens."""
        seen = Seen(netns, protocol, found, ports)
        held = holding_of(seen, self._holders)
        if held is not None:
            self._count(seen, held)
        elif len(self.pending) < PENDING_MAX:
            self.pending.append(seen)
        else:
            self._lose(seen)

    def settle(self, holders: SocketHolders, elapsed_ms: float) -> None:
        """Place the sockets that wait. holders: read after the sockets. elapsed_ms: since the first reading began.

        A socket is said to have no descriptor only if both readings were complete and it is older than the first;
        else it may have been opened after the one and closed before the other.
        """
        complete = self._holders.complete and holders.complete
        for seen in self.pending:
            held = holding_of(seen, holders)
            if held is None and complete and existed(seen.found, elapsed_ms):
                held = Held("no-descriptor")
            if held is None:
                self._lose(seen)
            else:
                self._count(seen, held)
        self.pending.clear()

    def groups(self) -> tuple[SocketGroup, ...]:
        """Everything counted so far."""
        return tuple(
            SocketGroup(
                **key._asdict(),
                **{name: getattr(total, name) for name in _Sum.__struct_fields__ if name != "ages"},
                ages=tuple(total.ages or ()),
            )
            for key, total in self._sums.items()
        )

    def _lose(self, seen: Seen) -> None:
        self.lost += 1
        self._count(seen, Held("descriptor"))

    def _count(self, seen: Seen, held: Held) -> None:
        found = seen.found
        key = _plain_key(seen, held) if isinstance(found, PlainSocket) else _tcp_key(seen, held, found)
        total = self._sum(key)
        _add(total, found, held.shared)
        if isinstance(found, PlainSocket):
            self._add_listed(seen, held, found)
        else:
            _add_flow(total, found, held.holding)
            if key.role == "listener":
                one = accept_queue(seen.netns, held, found)
                self.queues_left_out += not _keep(self.queues, ACCEPT_QUEUES_MAX, one)
            self._add_position(total, key, found)

    def _add_listed(self, seen: Seen, held: Held, found: PlainSocket) -> None:
        if found.memory.drops and seen.protocol == "udp":
            self.dropping_cut |= not _keep(self.dropping, DROPPING_MAX, dropping_socket(seen.netns, held, found))
        if NAMES_PORT in (found.local[1], found.remote[1]):
            self.names_cut |= not _keep(self.names, NAMES_MAX, name_socket(seen.netns, held, found))

    def _sum(self, key: _Key) -> _Sum:
        """The sum for a key: without endpoint if there are too many, and with all others in the end."""
        if key not in self._sums and len(self._sums) >= ENDPOINT_GROUPS_MAX:
            key = key._replace(endpoint=None)
        total = self._sums.get(key)
        if total is None:
            if len(self._sums) >= GROUPS_MAX:
                return self.other if key.protocol == "tcp" else _Sum()
            total = self._sums[key] = _Sum(unchanged=None if self._previous.first else 0)
        return total

    def _add_position(self, total: _Sum, key: _Key, found: InetSocket) -> None:
        stuck = key.symptom in ("unread", "window-closed")
        if not stuck and key.holding != "accept-queue":
            return
        unchanged = self._previous.unchanged(key.netns, found)
        if total.unchanged is not None:
            total.unchanged += bool(unchanged)
        if stuck:
            self._draw(_stuck(key, found, unchanged))

    def _draw(self, candidate: StuckSocket) -> None:
        """Reservoir sampling (Vitter, algorithm R): every candidate has the same chance to be kept."""
        self.stuck_total += 1
        if len(self.stuck) < STUCK_MAX:
            self.stuck.append(candidate)
        elif (place := self._random.randrange(self.stuck_total)) < STUCK_MAX:
            self.stuck[place] = candidate


def _tcp_key(seen: Seen, held: Held, found: InetSocket) -> _Key:
    role = role_of(found, seen.ports)
    return _Key(
        owner_pid=held.owner_pid,
        netns=seen.netns,
        protocol=seen.protocol,
        family=found.family,
        state=found.state,
        role=role,
        holding=held.holding,
        symptom=symptom_of(found),
        endpoint=endpoint_of(found, role),
        cgroup_id=found.cgroup_id if held.owner_pid is None else None,
    )


def _plain_key(seen: Seen, held: Held) -> _Key:
    return _Key(
        owner_pid=held.owner_pid,
        netns=seen.netns,
        protocol=seen.protocol,
        family=seen.found.family,
        state="none",
        role="unconnected",
        holding=held.holding,
        symptom="none",
        endpoint=None,
        cgroup_id=seen.found.cgroup_id if held.owner_pid is None else None,
    )


def _stuck(key: _Key, found: InetSocket, unchanged: bool | None) -> StuckSocket:
    return StuckSocket(
        owner_pid=key.owner_pid,
        netns=key.netns,
        symptom=key.symptom,
        holding=key.holding,
        role=key.role,
        local=Endpoint(found.local_address, found.local_port),
        remote=Endpoint(found.remote_address, found.remote_port),
        memory_bytes=found.memory.total_bytes if found.memory else 0,
        unread_bytes=found.unread_bytes,
        unsent_bytes=found.unsent_bytes,
        unchanged=unchanged,
    )


def _keep(kept: list[T], most: int, one: T) -> bool:
    """Whether there was room for it."""
    if len(kept) >= most:
        return False
    kept.append(one)
    return True


def _add(total: _Sum, found: InetSocket | PlainSocket, shared: bool) -> None:
    total.sockets += 1
    total.shared += shared
    if found.memory is not None:
        total.memory_bytes += found.memory.total_bytes
        total.receive_bytes += found.memory.rmem_alloc
        total.send_bytes += found.memory.wmem_queued


def _add_flow(total: _Sum, found: InetSocket, holding: Holding) -> None:
    total.unread_bytes += found.unread_bytes
    total.unsent_bytes += found.unsent_bytes
    age_ms = age_ms_of(found, holding)
    if age_ms is not None:
        total.ages = total.ages or [0] * (len(AGE_BOUNDS_SECONDS) + 1)
        total.ages[bisect_right(_AGE_BOUNDS_MS, age_ms)] += 1
