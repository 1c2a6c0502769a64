"""What is known of a single socket that sock_diag gave: who holds it, its role, symptom and age. No I/O."""

from __future__ import annotations

from typing import NamedTuple

from whodunnet.kernel.netlink.sock_diag_messages import FIN_RECEIVED, InetSocket, PlainSocket
from whodunnet.kernel.procfs.descriptors import SocketHolders
from whodunnet.model.sockets import AcceptQueue, DroppingSocket, Endpoint, Holding, NameSocket, Protocol, Role, Symptom

UNREAD_BYTES = 16_384
_TIMED = frozenset({"established", "fin-wait-1", "fin-wait-2"}) | FIN_RECEIVED  # before these tcp_sock holds no times


class Held(NamedTuple):
    holding: Holding
    owner_pid: int | None = None
    shared: bool = False


class Seen(NamedTuple):
    """A socket and where. ports: on which its namespace listens."""

    netns: int
    protocol: Protocol
    found: InetSocket | PlainSocket
    ports: frozenset[int]


def holding_of(seen: Seen, holders: SocketHolders) -> Held | None:
    """Who holds it; None for a socket with a file in none of the descriptors of `holders`."""
    found = seen.found
    if found.inode:
        pid = holders.pids.get(found.inode)
        return None if pid is None else Held("descriptor", pid, found.inode in holders.shared)
    if isinstance(found, PlainSocket):
        # A unix stream that was not accepted yet; a UDP socket gets here only if the kernel made it without a file.
        return Held("accept-queue" if seen.protocol == "unix" else "kernel")
    waiting = found.state in ("established", "close-wait") and found.local_port in seen.ports
    return Held("accept-queue" if waiting else "orphan")


def role_of(found: InetSocket, ports: frozenset[int]) -> Role:
    """ports: where the socket's namespace listens; a connection with such a local port came in through it."""
    if found.state == "listen":
        return "listener"
    if found.state == "close":
        return "unconnected"
    return "accepted" if found.local_port in ports else "initiated"


def symptom_of(found: InetSocket) -> Symptom:
    """Unread data wins over a closed window: who does not read is the nearer cause."""
    if found.state == "close":
        tried = found.remote_port != 0 or (found.info is not None and found.info.segs_out > 0)
        return "dead" if tried else "never-connected"
    unread = found.unread_bytes
    if unread >= UNREAD_BYTES or (unread > 0 and found.receive_window_full):
        return "unread"
    return "window-closed" if found.unsent_bytes > 0 and found.send_window_closed else "none"


def age_ms_of(found: InetSocket, holding: Holding) -> int | None:
    """Milliseconds as SocketGroup.ages defines them; None where the kernel keeps no time."""
    if found.info is None or found.state not in _TIMED:
        return None
    if holding == "accept-queue" or found.state in FIN_RECEIVED:
        return found.info.last_ack_recv_ms
    return min(found.info.last_data_recv_ms, found.info.last_data_sent_ms)


def existed(found: InetSocket | PlainSocket, elapsed_ms: float) -> bool:
    """Whether it is known to be older than that: data moved last, or the connection began, before."""
    age = age_ms_of(found, "descriptor") if isinstance(found, InetSocket) else None
    return age is not None and age >= elapsed_ms


def endpoint_of(found: InetSocket, role: Role) -> Endpoint | None:
    if role in ("listener", "accepted"):
        return Endpoint(None, found.local_port)
    return Endpoint(found.remote_address, found.remote_port) if found.remote_port else None


def position_of(found: InetSocket) -> tuple[int, int]:
    """How far the application has read and the peer has acknowledged."""
    if found.info is None:
        return found.receive_queue, found.send_queue
    return found.info.bytes_received - found.receive_queue, found.info.bytes_acked


def accept_queue(netns: int, held: Held, found: InetSocket) -> AcceptQueue:
    return AcceptQueue(
        owner_pid=held.owner_pid,
        netns=netns,
        local=Endpoint(found.local_address, found.local_port),
        waiting=found.receive_queue,
        limit=found.send_queue,
        shared=held.shared,
    )


def dropping_socket(netns: int, held: Held, found: PlainSocket) -> DroppingSocket:
    return DroppingSocket(
        owner_pid=held.owner_pid,
        netns=netns,
        inode=found.inode,
        local=Endpoint(*found.local),
        remote=_remote(found),
        dropped=found.memory.drops,
        unread_bytes=found.memory.rmem_alloc,
        limit_bytes=found.memory.rcvbuf,
        shared=held.shared,
    )


def name_socket(netns: int, held: Held, found: PlainSocket) -> NameSocket:
    return NameSocket(
        owner_pid=held.owner_pid,
        netns=netns,
        inode=found.inode,
        local=Endpoint(*found.local),
        remote=_remote(found),
        shared=held.shared,
        unread_bytes=found.memory.rmem_alloc,
    )


def _remote(found: PlainSocket) -> Endpoint | None:
    return Endpoint(*found.remote) if found.remote[1] else None
