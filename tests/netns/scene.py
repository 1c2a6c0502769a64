"""Sockets of every kind in one namespace, and what one pass of the BPF walk found there."""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from netns.namespace import (
    DEADLINE_SECONDS,
    SILENT,
    Namespace,
    Row,
    at_rest,
    wait_until,
)
from whodunnet.kernel.bpf.socket_walk import Pass, SocketWalk
from whodunnet.model.sockets import AcceptQueue, SocketGroup, StuckSocket

HERE = "127.0.0.1"
DRIFT_PAGES_PER_CPU = 256
LARGE, SMALL = 20011, 101
MPTCP = 262
FIN_WAIT_2 = 5
MANY = 17_011
"""More endpoints than the groups map has room for (16,384), within 20,000 descriptors."""

Pair = tuple[socket.socket, socket.socket]


class Found(NamedTuple):
    """What one pass found in one namespace."""

    groups: list[SocketGroup]
    stuck: list[StuckSocket]
    queues: list[AcceptQueue]
    whole: Pass

    @property
    def tcp(self) -> list[SocketGroup]:
        return [g for g in self.groups if g.protocol == "tcp"]

    def sockets_by(self, *fields: str) -> Counter[tuple[object, ...]]:
        """TCP sockets by the values of these fields."""
        total: Counter[tuple[object, ...]] = Counter()
        for g in self.tcp:
            total[tuple(getattr(g, field) for field in fields)] += g.sockets
        return total

    def total(self, field: str) -> int:
        """Sum of a field over all TCP groups."""
        return sum(getattr(g, field) for g in self.tcp)

    def one(self, **wanted: object) -> SocketGroup:
        """The only TCP group that has these values."""
        (group,) = [g for g in self.tcp if all(getattr(g, key) == value for key, value in wanted.items())]
        return group


class Scene:
    """Sockets of one namespace. Every method makes `count` connections and leaves both ends as its name says."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.keep = namespace.keep
        self.listener = self.keep(socket.create_server((HERE, 0), backlog=512))
        self.dual = self.keep(socket.create_server(("::", 0), family=socket.AF_INET6, backlog=512, dualstack_ipv6=True))
        self.port: int = self.listener.getsockname()[1]
        self.dual_port: int = self.dual.getsockname()[1]

    def pairs(self, count: int, address: str = HERE, listener: socket.socket | None = None) -> list[Pair]:
        """(client, server)."""
        listener = listener or self.listener
        return [self.pair(address, listener) for _ in range(count)]

    def pair(self, address: str, listener: socket.socket) -> Pair:
        client = self.keep(socket.create_connection((address, listener.getsockname()[1])))
        return client, self.keep(listener.accept()[0])

    def unread(self, count: int, size: int = LARGE) -> list[Pair]:
        made = self.pairs(count)
        for client, _ in made:
            client.sendall(bytes(size))
        return made

    def stuck(self, count: int) -> list[Pair]:
        """The client writes until the server's buffer and its own are full."""
        made = self.pairs(count)
        for client, server in made:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262144)
            fill(client)
        return made

    def close_wait(self, count: int, data: bytes = b"") -> list[Pair]:
        made = self.pairs(count)
        for client, _ in made:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        wait_until(lambda: all(tcp_info(client)[0] == FIN_WAIT_2 for client, _ in made), "the peers' acknowledgements")
        return made

    def waiting(self, count: int) -> list[socket.socket]:
        """In the accept queue of the listener: make them last, accept() would take them first."""
        return [self.keep(socket.create_connection((HERE, self.port))) for _ in range(count)]

    def never_connected(self, count: int) -> list[socket.socket]:
        return [self.keep(socket.socket()) for _ in range(count)]

    def bound(self, count: int) -> list[socket.socket]:
        made = self.never_connected(count)
        for one in made:
            one.bind((HERE, 0))
        return made

    def dead(self, count: int) -> list[socket.socket]:
        """Clients that the server has reset; the servers are gone."""
        made = self.pairs(count)
        for client, server in made:
            reset(server)
            assert is_ready(client, select.POLLIN, DEADLINE_SECONDS)
        return [client for client, _ in made]

    def syn_sent(self, count: int) -> list[socket.socket]:
        made = self.never_connected(count)
        for client in made:
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect((SILENT, 9))
        return made


def fill(client: socket.socket) -> None:
    """Write until the buffer stays full: the peer takes more for a while after it was full for the first time."""
    client.setblocking(False)
    while is_ready(client, select.POLLOUT, 0.3):
        with suppress(BlockingIOError):
            client.send(bytes(65536))


def tcp_info(one: socket.socket) -> bytes:
    """The beginning of struct tcp_info (include/uapi/linux/tcp.h); the first byte is the state."""
    return one.getsockopt(socket.SOL_TCP, socket.TCP_INFO, 104)


def is_ready(one: socket.socket, event: int, seconds: float) -> bool:
    """select() would end at 1,024 descriptors."""
    poll = select.poll()
    poll.register(one, event)
    return bool(poll.poll(1000 * seconds))


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def look(walk: SocketWalk, namespace: Namespace) -> Found:
    """One pass, of which only this namespace."""
    found = walk.read()
    return Found(
        [g for g in found.groups if g.netns == namespace.number],
        [s for s in found.stuck if s.netns == namespace.number],
        [q for q in found.accept_queues if q.netns == namespace.number],
        found,
    )


def look_at_rest(walk: SocketWalk, namespace: Namespace) -> tuple[Found, list[Row]]:
    return namespace(lambda: at_rest(lambda: look(walk, namespace)))


def assert_as_ss(found: Found, rows: list[Row]) -> None:
    """Number by state, r + w + f, unread and unsent bytes; ss cannot see sockets that are in no hash."""
    states = Counter(row.state for row in rows)
    assert {state: n for (state,), n in found.sockets_by("state").items() if state != "close"} == states
    assert found.total("memory_bytes") == sum(row.memory for row in rows)
    flows = [row for row in rows if row.state != "listen"]
    assert found.total("unread_bytes") == sum(row.unread for row in flows)
    assert found.total("unsent_bytes") == sum(row.send for row in flows)
    assert found.whole.lost == 0


@contextmanager
def child(program: str, **rest: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a Python program, in the namespace of the calling thread."""
    command = [sys.executable, "-c", f"import os, socket, sys\nprint(flush=True)\n{program}"]
    with subprocess.Popen(  # type: ignore[call-overload]
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **rest
    ) as process:
        assert process.stdout.readline()
        yield process
        process.kill()
