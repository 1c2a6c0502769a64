"""A video player over QUIC looks now and then whether larger packets pass (RFC 8899): behind the node they do not.

Its packets of 1,200 bytes pass, all of them, and are acknowledged. The probes are larger than the MTU behind the node,
which throws each away and says so; to the player that is the answer to its question, and no data is in them. The count
of packets that were too big rises for ever, all for one pod, as with a program that does not hear of the path's MTU.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from lab.actor import every
from lab.case import Expected
from lab.connects import counter
from lab.datagrams import counters
from lab.look import Sight
from lab.node import OUTSIDE, Node
from lab.stage import ip
from lab.transfers import TransferCase, repeated, stream, take

IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3  # linux/in.h: never fragmented, whatever is known of the path
MTU, USUAL, PROBE, ACKNOWLEDGEMENT = "1400", 1200, 1440, 60
QUIC_PORT, CONNECTIONS, PER_SECOND, PROBE_ONE_IN = 443, 10, 40, 21


def play_video(address: str) -> None:
    """Some connections, each a socket; probes are in addition, and are not sent again."""
    lines = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(CONNECTIONS)]
    for line in lines:
        line.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
    for number in every(1 / PER_SECOND, times=100_000):
        line = lines[number % CONNECTIONS]
        with suppress(BlockingIOError):
            while line.recv(2_000):
                pass
        line.sendto(bytes(USUAL), (address, QUIC_PORT))
        if number % PROBE_ONE_IN == 0:
            line.sendto(bytes(PROBE), (address, QUIC_PORT))


def acknowledge() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", QUIC_PORT))
        while True:
            _, sender = server.recvfrom(2_000)
            server.sendto(bytes(ACKNOWLEDGEMENT), sender)


class PathMtuProbedByQuic(TransferCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "client", "beside")
        self.pod, beside = self.node.pods
        ip("-n", self.node.host.namespace, "link", "set", "eth0", "mtu", MTU)
        self.server = self.stage.play(self.node.outside, "video", acknowledge)
        self.client = self.stage.play(self.pod, "player", play_video, OUTSIDE)
        self.store = self.stage.play(self.node.outside, "store", take)
        self.other = self.stage.play(beside, "chat", stream, [OUTSIDE], 2, 300, 0.1)

    def look(self) -> Sight:
        said, n = counter(self.node.host.netns, "FragFails"), repeated(self.node, 1)
        sent, answered = counters(self.node.outside).read, counters(self.pod).read
        there = said >= 8 and answered >= 100 and answered >= 0.8 * sent and n < 10
        return Sight(there, f"{said} packets were too big; {answered} of {sent} acknowledged; {n} segments repeated")

    def expected(self) -> Expected:
        parts = (self.client.who(), self.server.who(), self.other.who(), self.store.who())
        return Expected(rule=None, cleared=("path-mtu", "retransmits"), innocent=parts, bystanders=parts)
