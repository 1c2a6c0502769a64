"""The sockets sample without BPF: sock_diag namespace by namespace, owners from /proc/*/fd.

CAP_SYS_ADMIN to enter other network namespaces, CAP_SYS_PTRACE to see the descriptors of all processes; without them
it reads its own namespace and processes, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import chain

import msgspec

from whodunnet.collectors.sockets_diag_groups import Grouping, Positions
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.netlink.sock_diag import SockDiag
from whodunnet.kernel.netlink.sock_diag_messages import PlainSocket
from whodunnet.kernel.procfs.descriptors import SocketHolders, read_socket_holders
from whodunnet.kernel.roots import Roots
from whodunnet.model.sockets import Protocol, Sockets

READING_SECONDS_MAX = 5.0
"""No further namespace is entered after this: every dump of one walks the hash table of them all."""

_NOT_SEEN = (
    "TCP sockets that are neither listening, connected nor bound, and those closed by a reset or a time-out whose "
    "descriptor is still open",
    "network namespaces that no process is in and that are not mounted anywhere",
    "whether a socket without a descriptor belongs to the kernel (NFS, iSCSI, ...) or is on its way between processes",
    "MPTCP sockets; their subflows are seen as TCP sockets",
)


class _Pass(msgspec.Struct):
    """What reading the namespaces one by one comes to, besides the sockets."""

    read: int = 0
    unread: int = 0
    too_late: int = 0
    time_wait: int = 0
    request_sockets: int = 0
    interrupted: int = 0
    longest_step_seconds: float = 0.0
    missing: set[Protocol] = msgspec.field(default_factory=set)
    error: UnreadableError | None = None


def collect_by_sock_diag(roots: Roots, page_size_bytes: int, previous: Positions) -> Sockets:
    """One pass over every namespace that can be entered. previous: kept by the caller from snapshot to snapshot.

    Raises UnreadableError if not a single namespace could be read.
    """
    started = time.monotonic()
    previous.begin()
    holders = read_socket_holders(roots.proc)
    grouping = Grouping(holders, previous)
    result = _read_namespaces(roots, grouping, started + READING_SECONDS_MAX)
    if grouping.pending:
        later = read_socket_holders(roots.proc)
        grouping.settle(later, 1000 * (time.monotonic() - started))
    previous.finish()
    return Sockets(
        method="sock_diag",
        groups=grouping.groups(),
        stuck=tuple(grouping.stuck),
        stuck_total=grouping.stuck_total,
        accept_queues=tuple(grouping.queues),
        dropping=tuple(grouping.dropping),
        dropping_cut=grouping.dropping_cut,
        names=tuple(grouping.names),
        names_cut=grouping.names_cut,
        time_wait=result.time_wait,
        request_sockets=result.request_sockets,
        other_sockets=grouping.other.sockets,
        other_memory_bytes=grouping.other.memory_bytes,
        lost=grouping.lost,
        netns_unread=result.unread + result.too_late,
        all_processes=holders.whole_machine,
        page_size_bytes=page_size_bytes,
        not_seen=tuple(_not_seen(result, holders, grouping)),
        longest_step_seconds=result.longest_step_seconds,
    )


def _read_namespaces(roots: Roots, grouping: Grouping, deadline: float) -> _Pass:
    """Each namespace once: our own from this thread, the others from a thread that enters them."""
    result = _Pass()
    own, found = namespaces.own(roots), namespaces.find(roots)
    result.unread += found.unidentified
    for netns, way in ({own: namespaces.Way()} | found.ways).items():
        if netns != own and time.monotonic() > deadline:
            result.too_late += 1
            continue
        read = partial(_read_namespace, netns, grouping, result)
        try:
            if netns == own:
                read()
            else:
                namespaces.inside(way.mount or roots.proc / str(way.pid) / "ns/net", netns, read)
            result.read += 1
        except UnreadableError as error:
            result.unread += 1
            result.error = result.error or error
    if not result.read and result.error is not None:
        raise result.error
    return result


def _read_namespace(netns: int, grouping: Grouping, result: _Pass) -> None:
    """Add every socket of the namespace this thread is in. Raises UnreadableError, then some may have been added."""
    with SockDiag() as diag:
        try:
            listeners = list(diag.listeners())
            ports = frozenset(listener.local_port for listener in listeners)
            for found in chain(listeners, diag.connections()):
                grouping.add(netns, "tcp", found, ports)
            _add_plain("udp", diag.udp(), netns, grouping, result)
            _add_plain("unix", diag.unix(), netns, grouping, result)
        finally:
            result.time_wait += diag.time_wait
            result.request_sockets += diag.request_sockets
            result.interrupted += diag.netlink.interrupted
            result.longest_step_seconds = max(result.longest_step_seconds, diag.netlink.longest_receive_seconds)


def _add_plain(
    protocol: Protocol, sockets: Iterator[PlainSocket], netns: int, grouping: Grouping, result: _Pass
) -> None:
    """udp_diag and unix_diag are modules of their own: without one, the rest is still worth having."""
    try:
        for found in sockets:
            grouping.add(netns, protocol, found, frozenset())
    except UnreadableError as error:
        if error.code != "unsupported":
            raise
        result.missing.add(protocol)


def _not_seen(result: _Pass, holders: SocketHolders, grouping: Grouping) -> Iterator[str]:
    """What this pass cannot see by its nature, and what it was denied this time."""
    yield from _NOT_SEEN
    if result.unread:
        yield f"network namespaces that could not be entered or read: {result.unread} (first reason: {result.error})"
    if result.too_late:
        yield f"network namespaces left out after {READING_SECONDS_MAX:.0f} seconds: {result.too_late}"
    if not holders.whole_machine:
        yield "processes outside of our own container or pid namespace, so that their sockets have no owner here"
    if holders.unreadable:
        yield f"descriptors of processes that could not be read (CAP_SYS_PTRACE): {holders.unreadable}"
    if holders.truncated:
        yield f"descriptors beyond the first {holders.descriptors}"
    if result.interrupted:
        yield f"exact numbers: the kernel's tables changed during {result.interrupted} dumps"
    if grouping.queues_left_out:
        yield f"accept queues of further listeners: {grouping.queues_left_out}"
    for protocol in sorted(result.missing):
        yield f"{protocol} sockets: this kernel has no {protocol}_diag"
