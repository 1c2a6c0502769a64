"""The sample of the sockets collector: every socket of the kernel, in groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import msgspec

from whodunnet.model.bounds import Ages, Count, PageSize, Port, Seconds, Signed

Protocol = Literal["tcp", "mptcp", "udp", "unix", "other"]
Role = Literal["listener", "accepted", "initiated", "unconnected"]
Holding = Literal[
    "descriptor",  # a process has it open
    "accept-queue",  # connected, waiting for accept()
    "orphan",  # closed by its process, the kernel still delivers or waits
    "kernel",  # made by the kernel itself (NFS, MPTCP subflows, ...)
    "no-descriptor",  # has a file, but in no descriptor table: in flight over a unix socket, or io_uring
]
Symptom = Literal[
    "none",
    "unread",  # 16 KiB or more unread, or a receive window that is full
    "window-closed",  # data to send, and the peer's window is closed
    "never-connected",  # made and never bound to a peer
    "dead",  # was or tried to be connected; reset, refused or timed out; the descriptor is still open
]

OWN_SHARE = 0.8
"""Of listeners that share a port, whose queue holds so much of what waits there: what is in others comes and goes."""

AGE_BOUNDS_SECONDS: tuple[int, ...] = (1, 2, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400)
"""Upper bounds of the age classes of SocketGroup.ages; one more class follows for everything older."""


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """An address with a port. address is None for an accepted group (any client of that local port).

    port is None where many ports of one address are meant (the connections of a remote client).
    """

    address: str | None
    port: Port | None


class SocketGroup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All sockets that share owner, namespace, protocol, state, role, holding, symptom and endpoint.

    owner_pid: a process that holds the descriptor, None where no process does.
    endpoint: the local port for listeners and accepted sockets, the peer for initiated ones, None if merged or none.
    memory_bytes: r + w + f of ss's skmem, which is what tcp_mem counts (kernel: __sk_mem_schedule).
    unread_bytes: received and not read by the application, without the FIN (ss Recv-Q).
    unsent_bytes: written by the application and not acknowledged by the peer (ss Send-Q).
    unchanged: of those with a symptom or in an accept queue: how many were there at the previous snapshot with the very
        same read and acknowledge positions; None at the first snapshot, and where the method cannot tell.
    ages: sockets by age class (AGE_BOUNDS_SECONDS): for closed peers and accept queues since the last segment came,
        for all others since data last moved in either direction. Empty where the kernel keeps no time (listeners,
        sockets without a peer, connects under way).
    shared: how many of them are open in more than one descriptor or process (each still counts once).
    unmarked: how many with a symptom cannot be compared in the next snapshot, for lack of room.
    """

    owner_pid: Count | None = None
    netns: Count | None
    protocol: Protocol
    family: Count = 0  # 4, 6 or 0
    state: str  # "established", "close-wait", ... lower case names of the TCP states; "none" for other protocols
    role: Role
    holding: Holding
    symptom: Symptom = "none"
    endpoint: Endpoint | None = None
    cgroup_id: Count | None = None  # cgroup v2 id, kept where no process owns the socket
    sockets: Count
    memory_bytes: Signed = 0
    receive_bytes: Count = 0
    send_bytes: Count = 0
    unread_bytes: Count = 0
    unsent_bytes: Count = 0
    unchanged: Count | None = None
    shared: Count = 0
    unmarked: Count = 0
    ages: Ages = ()

    def older_than(self, seconds: int) -> int:
        """Number of sockets whose age is at least `seconds`, which must be one of AGE_BOUNDS_SECONDS."""
        return sum(self.ages[AGE_BOUNDS_SECONDS.index(seconds) + 1 :])


class StuckSocket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One socket with a symptom, with both ends, so that a full send queue can be followed to its reader."""

    owner_pid: Count | None = None
    netns: Count
    symptom: Symptom
    holding: Holding
    role: Role
    local: Endpoint
    remote: Endpoint
    memory_bytes: Signed
    unread_bytes: Count
    unsent_bytes: Count
    unchanged: bool | None = None


class AcceptQueue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One listener and the fill of its accept queue (sk_ack_backlog against sk_max_ack_backlog).

    shared: several processes have it open; owner_pid is the first of them.
    requests: half-open connections, whose SYN was answered and whose handshake is not complete; None: not told.
    """

    owner_pid: Count | None = None
    netns: Count
    local: Endpoint
    waiting: Count
    limit: Count
    shared: bool = False
    requests: Count | None = None


class DroppingSocket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A UDP socket that has dropped packets since it was made (sk_drops): no room, or not for it (checksum, filter).

    inode: of its file, which tells it from others of the same address. dropped: packets, in 32 bits of the kernel.
    remote: None where it is not connected. unread_bytes, limit_bytes: what waits in it with the kernel's own share, and
    how much of that may (ss skmem r and rb). shared: several processes have it open; owner_pid is the first of them.
    """

    owner_pid: Count | None = None
    netns: Count
    inode: Count
    local: Endpoint
    remote: Endpoint | None = None
    dropped: Count
    unread_bytes: Signed
    limit_bytes: Signed
    shared: bool = False


class NameSocket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A UDP socket that is connected to port 53 of somebody, or bound to port 53 itself.

    inode: of its file, which tells it from others. remote: None where it is not connected. shared: several processes
    have it open; owner_pid is the first of them. unread_bytes: of datagrams that came, with the kernel's own share.
    """

    owner_pid: Count | None = None
    netns: Count
    inode: Count
    local: Endpoint
    remote: Endpoint | None = None
    shared: bool = False
    unread_bytes: Signed = 0


class Sockets(msgspec.Struct, frozen=True, tag="sockets", kw_only=True, omit_defaults=True):
    """One pass over the sockets of the kernel.

    method: "bpf" sees every namespace; "sock_diag" only the namespaces it could enter, and no unhashed socket.
    all_processes: False where processes may exist that this pass cannot see (another pid namespace, hidden ones).
    alloc_sockets: the kernel's own number of TCP sockets (sockstat, global), the smaller of just before and just after:
        that many at least were there all the time, if none came and went.
    listeners_cut: there were more listeners than accept_queues holds, so nobody knows who else listens on a port.
    dropping: UDP sockets that have dropped packets. dropping_cut: there were more of them.
    names: UDP sockets that ask name servers or are one's; None in a recording of before. names_cut: there were more.
    time_wait, request_sockets: minisockets, which hold no TCP memory and are not in sockstat's alloc.
    stuck: at most a bounded, evenly drawn sample of `stuck_total` sockets with a symptom.
    other_sockets, other_memory_bytes: sockets that fitted in no group any more (bounded maps), summed.
    lost: sockets that could not be read or counted for sure (moved chains, full de-duplication map, processes gone).
    follows: whether the snapshot before it, with which `unchanged` compares, is the one before it in its recording too;
        not where some between were left out.
    not_seen: sentences about what this pass cannot see by its nature, for the report.
    fallback_reason, missing_capability: why the method is not "bpf", and the right that would have allowed it.
    """

    method: Literal["bpf", "sock_diag"]
    groups: tuple[SocketGroup, ...]
    stuck: tuple[StuckSocket, ...] = ()
    stuck_total: Count = 0
    accept_queues: tuple[AcceptQueue, ...] = ()
    listeners_cut: bool = False
    dropping: tuple[DroppingSocket, ...] = ()
    dropping_cut: bool = False
    names: tuple[NameSocket, ...] | None = None
    names_cut: bool = False
    time_wait: Count = 0
    request_sockets: Count = 0
    other_sockets: Count = 0
    other_memory_bytes: Signed = 0
    lost: Count = 0
    netns_total: Count | None = None
    netns_unread: Count = 0
    all_processes: bool = True
    alloc_sockets: Count | None = None
    page_size_bytes: PageSize = 4096
    not_seen: tuple[str, ...] = ()
    longest_step_seconds: Seconds = 0.0
    follows: bool = True
    fallback_reason: str | None = None
    missing_capability: str | None = None

    def listeners(self, owner: Callable[[int], Hashable] = int) -> dict[tuple[int, int | None], int | None]:
        """(netns, port) -> who listens; None where several owners do (SO_REUSEPORT): nobody can tell whose queue it is.

        owner: what makes two processes one. A queue that init shares was handed on by it (socket activation).
        """
        found: dict[tuple[int, int | None], int | None] = {}
        if self.listeners_cut:
            return found
        for q in self.accept_queues:
            if q.shared and q.owner_pid == 1:
                found[q.netns, q.local.port] = None
                continue
            first = found.setdefault((q.netns, q.local.port), q.owner_pid)
            if first is not None and (q.owner_pid is None or owner(first) != owner(q.owner_pid)):
                found[q.netns, q.local.port] = None
        return found

    def queue_owners(self, owner: Callable[[int], Hashable] = int) -> dict[tuple[int, int | None], int | None]:
        """(netns, port) -> who has the accept queue that connections wait in, of several listeners too.

        None where it is not known, or where queues of several owners hold some. owner: as in listeners().
        """
        found, filled = self.listeners(owner), dict[tuple[int, int | None], list[AcceptQueue]]()
        for q in () if self.listeners_cut else self.accept_queues:
            if q.waiting:
                filled.setdefault((q.netns, q.local.port), []).append(q)
        return found | {place: _who_has_most(queues, owner) for place, queues in filled.items()}

    @staticmethod
    def owner_of(g: SocketGroup, queue_owners: dict[tuple[int, int | None], int | None]) -> int | None:
        """The process that holds a group, or, for an accept queue, that should accept it."""
        if g.holding == "accept-queue" and g.netns is not None and g.endpoint is not None:
            return queue_owners.get((g.netns, g.endpoint.port))
        return g.owner_pid

    @property
    def tcp_sockets(self) -> int:
        """Full TCP sockets found, as sockstat's `alloc` counts them."""
        return sum(g.sockets for g in self.groups if g.protocol == "tcp") + self.other_sockets

    @property
    def tcp_memory_bytes(self) -> int:
        """Memory of all TCP sockets found, as sockstat's `mem` counts it (in bytes)."""
        return sum(g.memory_bytes for g in self.groups if g.protocol == "tcp") + self.other_memory_bytes


def _who_has_most(queues: Sequence[AcceptQueue], owner: Callable[[int], Hashable]) -> int | None:
    """Whose nearly all is that waits in queues of one port: the process of that owner that has most of it."""
    known = [
        (q.owner_pid, q.waiting) for q in queues if q.owner_pid is not None and not (q.shared and q.owner_pid == 1)
    ]
    waiting = Counter[Hashable]()
    for pid, n in known:
        waiting[owner(pid)] += n
    who, most = next(iter(waiting.most_common(1)), (None, 0))
    if most < OWN_SHARE * sum(q.waiting for q in queues):
        return None
    return max((one for one in known if owner(one[0]) == who), key=lambda one: one[1])[0]


def in_order(sockets: Sockets) -> Sockets:
    """The same pass with everything in an order that stays from pass to pass.

    Hash maps have none: of two equal owners always the same is then named first, and a recording compresses well.
    """
    return msgspec.structs.replace(
        sockets,
        groups=tuple(sorted(sockets.groups, key=_group_key)),
        stuck=tuple(sorted(sockets.stuck, key=lambda s: (s.netns, _end_key(s.local), _end_key(s.remote)))),
        accept_queues=tuple(sorted(sockets.accept_queues, key=_queue_key)),
        dropping=tuple(sorted(sockets.dropping, key=lambda s: (s.netns, s.inode))),
        names=None if sockets.names is None else tuple(sorted(sockets.names, key=lambda s: (s.netns, s.inode))),
    )


def _group_key(g: SocketGroup) -> tuple[object, ...]:
    return (
        g.owner_pid or 0, g.netns or 0, g.protocol, g.family, g.state, g.role, g.holding, g.symptom,
        _end_key(g.endpoint), g.cgroup_id or 0,
    )  # fmt: skip


def _queue_key(q: AcceptQueue) -> tuple[object, ...]:
    return q.netns, _end_key(q.local), q.owner_pid or 0


def _end_key(end: Endpoint | None) -> tuple[str, int]:
    return (end.address or "", end.port or 0) if end else ("", 0)
