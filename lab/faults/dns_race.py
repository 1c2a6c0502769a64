"""A resolver that asks for A and AAAA of a name at the same instant from one socket, as glibc does.

Both questions pass a Service with two endpoints, and each begins an entry of its own; the later one cannot be inserted.
Kernels that solve such a race keep both packets and count it (clash_resolve); older ones drop one (insert_failed), and
the name takes 5 s. Nobody is the culprit: both packets are right.
"""

from __future__ import annotations

import mmap
import os
import socket
import time
from contextlib import suppress
from typing import ClassVar

from lab.actor import every
from lab.case import Expected, Kind, Named
from lab.load import AAAA, A, question
from lab.look import NotThereError, Sight
from lab.node import Node
from lab.servers import dnsmasq
from lab.table import TableCase

DNS = "10.96.0.10"
PER_SECOND = 100
TOGETHER = 20
"""Names in one go; one message can hand over 253 sockets."""

ENOUGH = 20


def ask_at_once(address: str, per_second: int) -> None:
    """Two processes, each on a CPU of its own, send from the same sockets: the first A, the second AAAA."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    turns = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("L")
    first, second = sorted(os.sched_getaffinity(0))[:2]
    if os.fork() == 0:
        ours.close()
        os.sched_setaffinity(0, {second})
        while handed := socket.recv_fds(theirs, 1, TOGETHER)[1]:
            send_in_step([socket.socket(fileno=fd) for fd in handed], AAAA, turns, 1)
        os._exit(0)
    os.sched_setaffinity(0, {first})
    for _ in every(TOGETHER / per_second, times=1_000_000):
        askers = [asker_of(address) for _ in range(TOGETHER)]
        socket.send_fds(ours, [b"x"], [asker.fileno() for asker in askers])
        send_in_step(askers, A, turns, 0)
        for asker in askers:
            with asker, suppress(OSError):
                asker.recv(512)
                asker.recv(512)


def asker_of(address: str) -> socket.socket:
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(0.2)
    asker.connect((address, 53))
    return asker


def send_in_step(askers: list[socket.socket], kind: int, turns: memoryview, me: int) -> None:
    """One question from each socket, when the other process is at the same socket; without it, after a second."""
    asked, end = question(kind), time.monotonic() + 1
    for asker in askers:
        turns[me] += 1
        while turns[1 - me] < turns[me] and time.monotonic() < end:
            pass
        asker.send(asked)


class DnsRace(TableCase):
    kind: ClassVar[Kind] = "fault"
    ready_within_seconds = 10
    changes_global = False
    ask: ClassVar = staticmethod(ask_at_once)

    def start(self) -> None:
        if len(os.sched_getaffinity(0)) < 2:
            raise NotThereError("two packets at the same instant need two CPUs")
        self.node = Node(self.stage, "client", "dns-one", "dns-two")
        self.stage.keep_conntrack_max()
        self.client_pod, *dns_pods = self.node.pods
        self.servers = [dnsmasq(self.stage, pod) for pod in dns_pods]
        self.node.service(DNS, 53, *((pod.address, 53) for pod in dns_pods), protocol="udp")
        self.client = self.stage.play(self.client_pod, "checkout", self.ask, DNS, PER_SECOND)

    def look(self) -> Sight:
        counted = self.table.counted
        solved, lost = counted["clash_resolve"], counted["insert_failed"]
        asked = self.table.entries.where(source=self.client_pod.address, destination=DNS, port=53)
        return Sight(
            self.there(solved + lost, len(asked)), f"races: {solved} solved, {lost} lost; {asked}; {self.table}"
        )

    def there(self, races: int, names: int) -> bool:
        return min(races, names) >= ENOUGH

    def expected(self) -> Expected:
        return Expected(
            rule="dns-race",
            severities=("info", "warning"),
            shapes=("packet-lost", "solved-by-kernel"),
            innocent=(self.client.who(), *(server.who() for server in self.servers)),
            others=(Named(self.client.who(), ("victim",)),),
            endpoint=(DNS, 53),
        )
