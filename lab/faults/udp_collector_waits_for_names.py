"""A collector of log lines looks up the name of each sender, and its name server is an address where nobody is now.

Each of its eight threads waits two seconds for every line, so that it takes four a second of the sixty that come, and
its socket drops the rest. By its socket it is a receiver that is too slow, and a larger buffer would fill as well; it
has CPU time to spare, and nothing is wrong with its network but one line in resolv.conf. A second collector, which asks
for no names, loses nothing of the same lines.
"""

from __future__ import annotations

import socket
import time
from threading import Thread

from lab.actor import rest
from lab.case import NAME_RULES, Expected, Named
from lab.connects import ConnectCase, calls, log
from lab.datagrams import counters
from lab.look import Sight
from lab.losses import GATHERER_PORT, gather, report
from lab.names import FOUND, NO_SERVER, NOT_FOUND, PORT, resolving, waiting
from lab.node import BLACK_HOLE, Node

THREADS, PER_SECOND, LINE_BYTES, BUFFER_BYTES = 8, 60, 400, 16_384
TOLD = f"nameserver {BLACK_HOLE}\noptions timeout:1 attempts:2\n"


def collect() -> None:
    """Log how each look-up ended, and after how long."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    receiver.bind(("", GATHERER_PORT))

    def go_on() -> None:
        while True:
            _, (sender, _) = receiver.recvfrom(2_000)
            begin = time.monotonic()
            log(name_of_host(sender), time.monotonic() - begin)

    for _ in range(THREADS):
        Thread(target=go_on).start()
    rest()


def name_of_host(address: str) -> str:
    try:
        socket.getnameinfo((address, 0), socket.NI_NAMEREQD)
    except socket.gaierror as error:
        return NO_SERVER if error.errno == socket.EAI_AGAIN else NOT_FOUND
    return FOUND


class UdpCollectorWaitsForNames(ConnectCase):
    kind = "fault"
    rules = NAME_RULES
    rules_unread = True
    age_seconds = 2

    def start(self) -> None:
        self.node = Node(self.stage, "web", "logs", "mirror")
        web, self.pod, self.beside = self.node.pods
        self.collector = resolving(self.stage, self.pod, "collector", TOLD, collect)
        self.other = self.stage.play(self.beside, "mirror", gather)
        both = [self.pod.address, self.beside.address]
        self.client = self.stage.play(web, "web", report, both, PER_SECOND, LINE_BYTES)

    def look(self) -> Sight:
        made, seen, others = calls(self.collector), counters(self.pod), counters(self.beside)
        asking = waiting(self.pod, BLACK_HOLE)
        late = len(made.where(at_least_seconds=1.9)) == len(made) >= 2 * THREADS and not made.where(FOUND)
        there = late and seen.no_room >= 200 and asking >= THREADS // 2 and others.no_room == 0 < others.read
        return Sight(there, f"{made}; {asking} sockets wait for the name server; {seen}; beside: {others}")

    def expected(self) -> Expected:
        return Expected(
            rule="dns",
            also=("udp-buffers",),
            severities=("warning", "critical"),
            tolerated=(self.collector.who(),),
            innocent=(self.client.who(), self.other.who()),
            bystanders=(self.other.who(),),
            others=(Named(self.collector.who(), ("victim",)),),
            endpoint=(BLACK_HOLE, PORT),
        )
