"""A server so far away that connecting takes 0.3 s, and a client that gives up after 0.8 s: slow, and nothing is lost.

The distance is real: two TUN devices, joined by two programs that keep each packet for half of that time.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import ClassVar

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, counter
from lab.look import Sight, wait_until
from lab.node import Node
from lab.servers import nginx

NEAR, FAR = "10.99.0.1", "10.99.0.2"
ONE_WAY_SECONDS = 0.15
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def carry(address: str, peer: str, here: str, there: str) -> None:
    """What is sent to the peer arrives at the other program late."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", b"tun0", IFF_TUN | IFF_NO_PI))
    for command in (f"addr add {address} peer {peer} dev tun0", "link set tun0 up"):
        subprocess.run(["ip", *command.split()], check=True)
    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    line.bind(here)
    wait_until(Path(there).exists, 10, lambda: there)
    waiting: deque[tuple[float, bytes]] = deque()
    while True:
        first_due = waiting[0][0] - time.monotonic() if waiting else None
        limit = None if first_due is None else max(0.0, first_due)
        ready, _, _ = select.select([device, line.fileno()], [], [], limit)
        if device in ready:
            waiting.append((time.monotonic() + ONE_WAY_SECONDS, os.read(device, 2000)))
        if line.fileno() in ready:
            os.write(device, line.recv(2000))
        while waiting and waiting[0][0] <= time.monotonic():
            line.sendto(waiting.popleft()[1], there)


class ConnectFarServer(ConnectCase):
    kind = "look-alike"
    limit_seconds: ClassVar[float] = 0.8

    def start(self) -> None:
        self.node = Node(self.stage, "client", "far")
        client, far = self.node.pods
        near_end, far_end = (str(self.stage.directory / end) for end in ("near", "far"))
        self.stage.play(client, "near-end", carry, NEAR, FAR, near_end, far_end)
        self.stage.play(far, "far-end", carry, FAR, NEAR, far_end, near_end)
        wait_until(lambda: Path(near_end).exists() and Path(far_end).exists(), 10, self.stage.logs)
        self.server = nginx(self.stage, far)
        self.client = self.stage.play(client, "checkout", call, [(FAR, 80)], 20, self.limit_seconds)

    def look(self) -> Sight:
        made, repeated = calls(self.client), counter(self.node.pods[0].netns, "TCPSynRetrans")
        there = len(made) >= 20 and len(made.where(ANSWERED, at_least_seconds=0.3)) == len(made) and not repeated
        return Sight(there, f"{made}; {repeated} SYNs repeated")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.server.who()))
