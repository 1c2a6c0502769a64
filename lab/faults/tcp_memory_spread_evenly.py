"""TCP memory is short, and nobody is to blame: thirty uploads, each with a thirtieth of it, on a link that is too slow.

Every upload asked for a large send buffer and fills it; the archive at the other end reads whatever comes. All of them
move, none leaks: the limits (lowered for this) or the link are too small, and no name may be given as the culprit's.
"""

from __future__ import annotations

import selectors
import socket

from lab.case import Case, Expected
from lab.host import TCP_MEM, read
from lab.look import Sight, connections, sockstat, wait_until
from lab.servers import up

PORT = 8730
UPLOADS = 30
SO_SNDBUFFORCE = 32


def archive() -> None:
    server = socket.create_server(("", PORT), backlog=128)
    ready = selectors.DefaultSelector()
    ready.register(server, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fileobj is server:
                ready.register(server.accept()[0], selectors.EVENT_READ)
            else:
                socket.socket.recv(key.fileobj, 1_000_000)  # type: ignore[arg-type]


def upload(address: str) -> None:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1_500_000)
    connection.connect((address, PORT))
    while True:
        connection.sendall(bytes(100_000))


class TcpMemorySpreadEvenly(Case):
    kind = "fault"
    changes_global = True

    def start(self) -> None:
        self.pod, self.archive_pod = self.stage.pods("uploads", "archive")
        self.archive = self.stage.play(self.archive_pod, "archive", archive)
        up(self.stage, self.archive_pod, self.archive, PORT)
        self.stage.slow(self.pod, "4mbit")
        self.uploads = [
            self.stage.play(self.pod, f"upload-{n}", upload, self.archive_pod.address) for n in range(UPLOADS)
        ]
        wait_until(lambda: self.queues()[0] >= UPLOADS, 30, lambda: self.queues()[1])
        own = connections(self.pod.netns).pages
        self.maximum = own * 3 // 4
        self.stage.tcp_mem(own // 4, own // 2, self.maximum)

    def queues(self) -> tuple[int, str]:
        """How many uploads have a megabyte to send."""
        seen = connections(self.pod.netns).where("ESTAB", peer_port=PORT)
        return sum(c.unsent > 1_000_000 for c in seen), f"{seen} uploads, {seen.unsent} with unsent data"

    def look(self) -> Sight:
        used = sockstat()["mem"]
        return Sight(used > self.maximum, f"mem {used} pages, tcp_mem {read(TCP_MEM)}; {self.queues()[1]}")

    def expected(self) -> Expected:
        return Expected(rule="tcp-memory", innocent=(self.archive.who(), *(player.who() for player in self.uploads)))
