"""A network namespace with sockets and without a process: a prober of the node went in, opened them, and came back.

It checks a pod's network from inside of it (setns), as CNI plugins do, and never reads its answers. The namespace has a
name (a bind mount); who holds its sockets lives in another.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, never_read
from lab.servers import nginx

TIMES = 60
ANY_NAMESPACE = 0


@contextmanager
def inside_of(namespace: str) -> Iterator[None]:
    """Sockets that are made meanwhile belong there. Raises OSError."""
    own, there = (os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in ("/proc/self/ns/net", namespace))
    enter(there)
    try:
        yield
    finally:
        enter(own)
        os.close(own)
        os.close(there)


def enter(namespace: int) -> None:
    """setns(2); os.setns came with Python 3.12."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, ANY_NAMESPACE):
        raise OSError(ctypes.get_errno(), "setns")


def probe(namespace: str, address: str) -> None:
    responses = []
    for _ in every(0.1, TIMES):
        with inside_of(namespace):
            connection = HTTPConnection(address)
            connection.request("GET", "/large")
        responses.append(connection.getresponse())
    print("probed", flush=True)
    rest()


def processes_in(namespace: Path) -> int:
    """How many live in a namespace."""
    inode, found = namespace.stat().st_ino, 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found += (process / "ns/net").stat().st_ino == inode
        except OSError:
            continue
    return found


class LeakInNamespaceWithoutProcess(Case):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.probed_pod, self.own_pod, self.server_pod = self.stage.pods("probed", "prober", "server")
        self.server = nginx(self.stage, self.server_pod)
        probed = (str(self.probed_pod.netns), self.server_pod.address)
        self.prober = self.stage.play(self.own_pod, "prober", probe, *probed)

    def look(self) -> Sight:
        sight = never_read(self.probed_pod.netns, self.server_pod.netns, 80, at_least=TIMES)
        living = processes_in(self.probed_pod.netns)
        return Sight(sight.there and not living, f"{sight.seen}; {living} processes in the namespace")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.prober.who(),),
            innocent=(self.server.who(),),
            endpoint=(self.server_pod.address, 80),
        )
