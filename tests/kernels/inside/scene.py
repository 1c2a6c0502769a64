"""Makes exactly so many sockets of each kind and reads them by BPF and by sock_diag. Runs in a virtual machine.

`python -m inside.scene '{"idle": 3, ...}'`: one argument, how many of each kind; one JSON document with what was read.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from whodunnet.collectors.sockets import SocketsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.sockets import Sockets

from .facts import (
    CLOSE,
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT2,
    UNACKED,
    idle_seconds,
    sockstat,
    state,
    tcp_info,
    wait_until,
)

T = TypeVar("T")
Pair = tuple[socket.socket, socket.socket]
PIECE = bytes(20_000)  # more than the 16 KiB from which on data counts as unread
KINDS = (
    "idle", "unread", "close_wait", "never_connected", "reset_by_server", "reset_by_client", "shared", "in_flight",
    "orphans", "waiting",
)  # fmt: skip
"""Methods of Scene."""
YOUNGEST_SECONDS = 2.0
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER


class Scene:
    """Each method makes `count` connections in the calling thread's namespace and leaves both ends as its name says."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.kept: list[socket.socket] = []
        self.alive = -1  # closed when we end, for the child that shares sockets
        self.listener = socket.create_server((address, 0), backlog=64)

    def connect(self, listener: socket.socket) -> socket.socket:
        made = socket.create_connection(listener.getsockname())
        self.kept.append(made)
        return made

    def idle(self, count: int) -> list[Pair]:
        made = []
        for _ in range(count):
            client = self.connect(self.listener)
            server, _ = self.listener.accept()
            self.kept.append(server)
            made.append((client, server))
        return made

    def unread(self, count: int) -> None:
        for client, server in self.idle(count):
            client.sendall(PIECE)
            wait_until(partial(has_unread, server, len(PIECE)))

    def close_wait(self, count: int) -> None:
        for client, server in self.idle(count):
            client.shutdown(socket.SHUT_WR)
            wait_until(partial(are_in, {client: FIN_WAIT2, server: CLOSE_WAIT}))

    def never_connected(self, count: int) -> None:
        self.kept += [socket.socket() for _ in range(count)]

    def reset_by_server(self, count: int) -> None:
        for client, server in self.idle(count):
            self.reset(server, client)

    def reset_by_client(self, count: int) -> None:
        for client, server in self.idle(count):
            self.reset(client, server)

    def reset(self, here: socket.socket, there: socket.socket) -> None:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self.close(here)
        wait_until(partial(are_in, {there: CLOSE}))

    def waiting(self, count: int) -> None:
        queue = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.kept.append(queue)
        for _ in range(count):
            self.connect(queue)

    def orphans(self, count: int) -> None:
        for client, _ in self.idle(count):
            fill(client)
            self.close(client)

    def in_flight(self, count: int) -> None:
        here, there = socket.socketpair()
        self.kept += [here, there]
        for client, _ in self.idle(count):
            socket.send_fds(here, [b"x"], [client.fileno()])
            self.close(client)

    def shared(self, count: int) -> None:
        """The clients are open in a child too, which has nothing else."""
        clients = {client.fileno() for client, _ in self.idle(count)}
        (ready, tell), (alive, self.alive) = os.pipe(), os.pipe()
        if os.fork() == 0:
            for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - no Path machinery in a forked child
                if int(name) not in clients | {tell, alive}:
                    with suppress(OSError):
                        os.close(int(name))
            os.write(tell, b"x")
            os.read(alive, 1)  # until the parent is gone
            os._exit(0)
        assert os.read(ready, 1) == b"x"

    def close(self, made: socket.socket) -> None:
        self.kept.remove(made)
        made.close()


def are_in(states: dict[socket.socket, int]) -> bool:
    return all(state(connection) == wanted for connection, wanted in states.items())


def has_unread(connection: socket.socket, size: int) -> bool:
    return waiting_bytes(connection, termios.FIONREAD) == size


def waiting_bytes(connection: socket.socket, request: int) -> int:
    """FIONREAD: received and not read; TIOCOUTQ: written and not acknowledged."""
    value: int = struct.unpack("i", fcntl.ioctl(connection, request, bytes(4)))[0]
    return value


def fill(client: socket.socket) -> None:
    """Write until the peer takes no more: nothing is on its way, and our own buffer is full."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262_144)
    client.setblocking(False)

    def is_full() -> bool:
        with suppress(BlockingIOError):
            while True:
                client.send(bytes(65_536))
        return tcp_info(client, UNACKED) == 0 and waiting_bytes(client, termios.TIOCOUTQ) > 0

    wait_until(is_full)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def inside(namespace: str, call: Callable[[], T]) -> T:
    """Run a function in a thread that enters a named network namespace; the thread is gone afterwards."""

    def enter() -> None:
        with Path("/run/netns", namespace).open() as opened:
            assert ctypes.CDLL(None).setns(opened.fileno(), 0) == 0

    with ThreadPoolExecutor(max_workers=1, initializer=enter) as thread:
        return thread.submit(call).result()


class Namespaces:
    """`held`: descriptors of ours keep it. `own_table`: too, and it has its own hash. `abandoned`: only orphans are
    left in it. None of the three has a process or a mount."""

    def __init__(self) -> None:
        self.numbers = {"own": Path("/proc/self/ns/net").stat().st_ino}
        self.scenes: list[Scene] = []

    def make(self, held: int, own_table: int, abandoned: int) -> None:
        self._add("held")
        self._add("abandoned")
        entries = Path("/proc/sys/net/ipv4/tcp_child_ehash_entries")
        entries.write_text("512")
        self._add("own_table")
        entries.write_text("0")
        ip("-n", "held", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", "abandoned")
        for namespace, address in (("held", "10.9.0.1/24"), ("abandoned", "10.9.0.2/24")):
            ip("-n", namespace, "addr", "add", address, "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")
        self._populate("held", "127.0.0.1", held)
        self._populate("own_table", "127.0.0.1", own_table)
        self._leave_orphans(abandoned)
        for namespace in ("held", "abandoned", "own_table"):
            ip("netns", "del", namespace)

    def _add(self, name: str) -> None:
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
        self.numbers[name] = Path("/run/netns", name).stat().st_ino

    def _populate(self, namespace: str, address: str, count: int) -> None:
        scene = inside(namespace, lambda: Scene(address))
        self.scenes.append(scene)
        inside(namespace, lambda: scene.idle(count))

    def _leave_orphans(self, count: int) -> None:
        """Clients in `abandoned`, servers that do not read in `held`."""
        servers = inside("held", lambda: Scene("10.9.0.1"))
        self.scenes.append(servers)

        def connect_fill_close() -> None:
            for _ in range(count):
                with socket.create_connection(servers.listener.getsockname()) as client:
                    servers.kept.append(servers.listener.accept()[0])
                    fill(client)

        inside("abandoned", connect_fill_close)


def collectors() -> tuple[SocketsCollector, SocketsCollector]:
    roots = Roots()
    support = read_support(roots)
    return SocketsCollector(roots, support), SocketsCollector(roots, support, bpf=False)


def walked(collector: SocketsCollector) -> dict[str, float] | None:
    """What the walk found besides sockets: the HZ its ages rest on, and how many hash tables there are."""
    if collector._walk is None:
        return None
    walk = collector._walk._walk
    return {"hz": walk.hz, "tables": walk.tables_total}


def read(collector: SocketsCollector, connections: list[socket.socket]) -> dict[str, Any]:
    """One sample between two looks at the kernel's totals and at the connections' ages."""
    before, youngest = sockstat(), min(map(idle_seconds, connections))
    sample: Sockets = collector.collect()
    oldest, after = max(map(idle_seconds, connections)), sockstat()
    return {"sample": sample, "before": before, "after": after, "youngest": youngest, "oldest": oldest}


def main(counts: dict[str, int]) -> None:
    scene, namespaces = Scene(), Namespaces()
    for kind in KINDS:
        getattr(scene, kind)(counts[kind])
    namespaces.make(counts["held"], counts["own_table"], counts["abandoned"])
    timed = [s for s in scene.kept if s.family == socket.AF_INET and state(s) in (ESTABLISHED, FIN_WAIT2, CLOSE_WAIT)]
    by_bpf, by_diag = collectors()
    wait_until(lambda: min(map(idle_seconds, timed)) >= YOUNGEST_SECONDS)
    first, second, diag = read(by_bpf, timed), read(by_bpf, timed), read(by_diag, timed)
    print(
        msgspec.json.encode(
            {
                "pid": os.getpid(),
                "netns": namespaces.numbers,
                "port": scene.listener.getsockname()[1],
                "walk": walked(by_bpf),
                "bpf": first,
                "bpf_again": second,
                "sock_diag": diag,
            }
        ).decode()
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
