"""Transfers between pods of a node, and what became of them, for the cases of segments that are sent again."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from lab.actor import connected, every, rest
from lab.case import REPEAT_RULES, Case
from lab.connects import counter
from lab.node import Node

PORT = 9000


class TransferCase(Case):
    """A case with a node, and with transfers that go on from before the window until after it."""

    rules: ClassVar[tuple[str, ...]] = REPEAT_RULES
    age_seconds: ClassVar[int] = 0

    node: Node

    @property
    def enter(self) -> Path | None:
        return self.node.host.netns


def take() -> None:
    """A server that reads all that comes and answers nothing."""
    listener = socket.create_server(("", PORT), backlog=128)
    while True:
        threading.Thread(target=_read, args=(listener.accept()[0],), daemon=True).start()


def _read(accepted: socket.socket) -> None:
    with suppress(OSError):
        while accepted.recv(65_536):
            pass


def stream(addresses: list[str], connections: int, size: int, pause: float) -> None:
    """Messages of this size on some connections to each address, as they are taken."""
    for address in addresses:
        for _ in range(connections):
            threading.Thread(target=_send, args=(address, size, pause), daemon=True).start()
    rest()


def _send(address: str, size: int, pause: float) -> None:
    with connected(address, PORT) as connection, suppress(OSError):
        for _ in every(pause, times=100_000):
            connection.sendall(b"x" * size)


def upload(address: str, size: int, pause: float) -> None:
    """A new connection for each upload; who hangs is not waited for."""
    held = []
    for _ in every(pause, times=1_000):
        held.append(connected(address, PORT))
        held[-1].setblocking(False)
        with suppress(BlockingIOError):
            held[-1].send(b"x" * size)


def repeated(node: Node, pod: int) -> int:
    """Segments that a pod has sent again, SYNs excepted."""
    netns = node.pods[pod].netns
    return counter(netns, "RetransSegs") - counter(netns, "TCPSynRetrans")
