"""Arbitrary nodes of which the queues of listeners, UDP sockets and the counters of namespaces are known."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.counters import NAMES, Counters
from whodunnet.model.kernel_log import KernelLog, LogLine
from whodunnet.model.snapshot import AnySample, Recording
from whodunnet.model.sockets import AcceptQueue, DroppingSocket, Endpoint, Sockets

from . import arbitrary_quotas, arbitrary_suspects
from .arbitrary import ADDRESSES, NAMESPACES, PIDS, Dice, changing, sockets, workloads
from .nodes import FROM_BOOT, group

KNOWN = tuple(f"{section}.{name}" for section, names in NAMES.items() for name in names)
ASKED = (
    "TcpExt.ListenOverflows", "TcpExt.TCPReqQFullDrop", "TcpExt.TCPReqQFullDoCookies", "TcpExt.SyncookiesSent",
    "TcpExt.SyncookiesRecv", "Udp.RcvbufErrors", "Udp.MemErrors", "Udp.SndbufErrors", "Udp.InErrors",
    "Udp.InDatagrams", "Udp6.RcvbufErrors",
)  # fmt: skip
RISES = (0, 0, 0, 1, 9, 10, 20, 500, 10**6)
PORTS = (53, 80, 8080)


def queue_recordings() -> st.SearchStrategy[Recording]:
    return st.integers(0, 2**48).map(lambda seed: recording_of(Dice(seed)))


def recording_of(d: Dice) -> Recording:
    kinds = {
        "counters": counters, "sockets": queues, "workloads": workloads, "kernel_log": log,
        "cpu_quota": arbitrary_quotas.quotas, "cpu_pressure": arbitrary_suspects.cpus,
    }  # fmt: skip
    return changing(d, kinds, _later, (0.0, 1.0, 5.0), None)


def counters(d: Dice) -> Counters:
    known = KNOWN if d.random() < 0.9 else ()
    by_netns = {netns: {name: d.one(RISES) for name in ASKED} for netns in NAMESPACES if d.random() < 0.9}
    return Counters(known=known, by_netns=by_netns, netns_read=len(by_netns), netns_unread=d.one((0, 0, 2)))


def queues(d: Dice) -> Sockets:
    listening = d.several(3, lambda: accept_queue(d))
    waiting = (
        group("accept-not-called", q.waiting, age=d.one((0, 5, 60)), unchanged=d.one((None, 0, q.waiting)),
              netns=q.netns, endpoint=Endpoint(None, q.local.port))
        for q in listening if q.waiting
    )  # fmt: skip
    return replace(
        sockets(d), accept_queues=listening, groups=tuple(waiting), dropping=d.several(3, lambda: dropping(d)),
        listeners_cut=d.one((False, False, True)), dropping_cut=d.one((False, False, False, True)),
    )  # fmt: skip


def accept_queue(d: Dice) -> AcceptQueue:
    return AcceptQueue(
        owner_pid=d.perhaps(lambda: d.one(PIDS)),
        netns=d.one(NAMESPACES),
        local=Endpoint(d.one(("0.0.0.0", *ADDRESSES)), d.one(PORTS)),
        waiting=d.one((0, 1, 3, 6, 129)),
        limit=d.one((0, 1, 5, 128)),
        shared=d.one((False, True)),
        requests=d.one((None, 0, 5, 200)),
    )


def dropping(d: Dice) -> DroppingSocket:
    return DroppingSocket(
        owner_pid=d.perhaps(lambda: d.one(PIDS)),
        netns=d.one(NAMESPACES),
        inode=d.randint(1, 4),
        local=Endpoint(d.one(ADDRESSES), d.one(PORTS)),
        remote=d.perhaps(lambda: Endpoint(d.one(ADDRESSES), d.one(PORTS))),
        dropped=d.one((1, 10, 500, 2**32 - 1)),
        unread_bytes=d.one((-1, 0, 4_000)),
        limit_bytes=d.one((0, 4_000)),
    )


def log(d: Dice) -> KernelLog:
    port = f"{d.one(('', '10.0.0.1:'))}{d.one(PORTS)}"
    text = f"TCP: request_sock_TCP: Possible SYN flooding on port {port}. Sending cookies."
    lines = d.several(2, lambda: LogLine("syn-flooding", d.perhaps(lambda: FROM_BOOT + d.one((0, 1, 9))), text))
    return KernelLog(source="/dev/kmsg", reaches_back_seconds=None, lines=lines)


def _later(d: Dice, sample: AnySample, i: int) -> AnySample:
    """Most counters go on, and some begin again."""
    if isinstance(sample, Counters):
        by_netns = {
            netns: {name: max(value + i * d.one(RISES) - d.one((0,) * 60 + (50,)), 0) for name, value in values.items()}
            for netns, values in sample.by_netns.items()
        }
        return replace(sample, by_netns=by_netns)
    if isinstance(sample, Sockets):
        moved = tuple(replace(s, dropped=(s.dropped + i * d.one(RISES)) % 2**32) for s in sample.dropping)
        return replace(sample, dropping=moved, follows=d.one((True, True, False)))
    return arbitrary_quotas.later(d, sample, i)
