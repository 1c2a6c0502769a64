"""A smaller MTU behind the node, and path MTU discovery as it should be: told once for each new address, then smaller.

The first packets to an address nobody has sent to before are too big; the node says so, and TCP repeats them at once in
smaller pieces. Each upload arrives. Whoever sees full-sized packets dropped and repeated takes it for a black hole, or
for a path that loses packets.
"""

from __future__ import annotations

import socket
from itertools import count

from lab.actor import connected, every
from lab.case import Expected
from lab.connects import counter
from lab.look import Sight
from lab.node import Node
from lab.stage import ip
from lab.transfers import PORT, TransferCase, repeated, take

MTU, SIZE = "1400", 400_000


def deliver() -> None:
    """Each upload to an address of its own, two a second, and time for it to arrive; tell how long that took."""
    numbers = count(1)
    for _ in every(0.5, times=250):
        with connected(f"203.0.113.{next(numbers)}", PORT) as connection:
            connection.sendall(bytes(SIZE))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
            print("delivered", flush=True)


class PathMtuDiscovered(TransferCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "client")
        (client,) = self.node.pods
        ip("-n", self.node.host.namespace, "link", "set", "eth0", "mtu", MTU)
        self.server = self.stage.play(self.node.outside, "store", take)
        self.client = self.stage.play(client, "courier", deliver)

    def look(self) -> Sight:
        said, n = counter(self.node.host.netns, "FragFails"), repeated(self.node, 0)
        delivered = self.client.log.read_text().count("delivered")
        there = delivered >= 6 and said >= 6 and n >= 6
        return Sight(there, f"{delivered} delivered; {said} packets were too big, {n} segments repeated")

    def expected(self) -> Expected:
        parts = (self.client.who(), self.server.who())
        return Expected(rule=None, cleared=("path-mtu", "retransmits"), innocent=parts, bystanders=parts)
