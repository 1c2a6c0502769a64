"""A tunnel with a smaller MTU, and a pod that hears no ICMP: all that makes a black hole, and yet every upload arrives.

The node writes a smaller maximum segment size into each handshake that it forwards (MSS clamping, as every router with
a tunnel does), so that no TCP segment is ever too big for the way. The pod's firewall drops ICMP, its own device has an
MTU of 1,500 and that of the uplink is 1,400: whoever compares settings alone finds the fault that there is not.
"""

from __future__ import annotations

import socket

from lab.actor import connected, every
from lab.case import Expected
from lab.connects import counter, filter_forwarded, filtered
from lab.look import Sight
from lab.node import OUTSIDE, Node
from lab.stage import inside, ip
from lab.transfers import PORT, TransferCase, repeated, stream, take

MTU, SEGMENT, SIZE = "1400", 1300, 200_000
CLAMP = f"tcp flags & syn == syn counter tcp option maxseg size set {SEGMENT}"


def deliver(address: str) -> None:
    """Two uploads a second, each on a connection of its own, and each waits until all of it was taken."""
    for _ in every(0.5, times=100_000):
        with connected(address, PORT) as connection:
            connection.sendall(bytes(SIZE))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
            print("delivered", flush=True)


class PathMtuClamped(TransferCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "client", "beside")
        client, beside = self.node.pods
        ip("-n", self.node.host.namespace, "link", "set", "eth0", "mtu", MTU)
        filter_forwarded(self.node, CLAMP)
        inside(client, "nft", "add table ip hardened")
        inside(client, "nft", "add chain ip hardened in { type filter hook input priority filter; }")
        inside(client, "nft", "add rule ip hardened in ip protocol icmp counter drop")
        self.server = self.stage.play(self.node.outside, "store", take)
        self.client = self.stage.play(client, "backup", deliver, OUTSIDE)
        self.other = self.stage.play(beside, "web", stream, [OUTSIDE], 3, 6_000, 0.1)

    def look(self) -> Sight:
        said, clamped = counter(self.node.host.netns, "FragFails"), filtered(self.node)
        delivered, n = self.client.log.read_text().count("delivered"), repeated(self.node, 0)
        there = delivered >= 8 and clamped >= 16 and said == 0 and n < 10
        return Sight(there, f"{delivered} delivered, {clamped} handshakes met; {said} packets too big, {n} repeated")

    def expected(self) -> Expected:
        parts = (self.client.who(), self.server.who(), self.other.who())
        return Expected(rule=None, cleared=("path-mtu", "retransmits"), innocent=parts, bystanders=parts)
