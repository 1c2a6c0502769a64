"""Orphans by the dozen, with full send queues for more than ten seconds each, and nothing is wrong: readers are slow.

A server writes its answer, closes, and thinks no more of it. All that the client has not taken yet is the kernel's to
deliver, and no program has that socket any more. The clients read 20 kB a second, to the end: each file arrives whole,
and as one orphan goes another comes.
"""

from __future__ import annotations

import socket
import time
from threading import Thread

from lab.actor import connected, rest
from lab.case import Case, Expected
from lab.connects import ANSWERED, CLOSED, calls, log
from lab.load import REQUEST
from lab.look import Sight, connections, descriptors, sockstat
from lab.servers import up

PORT, SIZE, DOWNLOADS = 8080, 400_000, 40
PIECE, PAUSE_SECONDS = 10_000, 0.5
LASTS_SECONDS = SIZE / PIECE * PAUSE_SECONDS


def export() -> None:
    with socket.create_server(("", PORT), backlog=100) as listener:
        while True:
            Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def answer(accepted: socket.socket) -> None:
    with accepted:
        accepted.recv(4096)
        accepted.sendall(bytes(SIZE))


def download(address: str) -> None:
    def download_in_turn(begin_after: float) -> None:
        time.sleep(begin_after)
        while True:
            begin, taken = time.monotonic(), 0
            with connected(address, PORT) as connection:
                connection.sendall(REQUEST)
                while piece := connection.recv(PIECE):
                    taken += len(piece)
                    time.sleep(PAUSE_SECONDS)  # its pace
            log(ANSWERED if taken == SIZE else CLOSED, time.monotonic() - begin)

    for number in range(DOWNLOADS):
        Thread(target=download_in_turn, args=(LASTS_SECONDS * number / DOWNLOADS,)).start()
    rest()


class OrphansOfSlowDownloads(Case):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 10
    ready_within_seconds = 90

    def start(self) -> None:
        client, self.server_pod = self.stage.pods("client", "server")
        self.server = self.stage.play(self.server_pod, "exports", export)
        up(self.stage, self.server_pod, self.server, PORT)
        self.client = self.stage.play(client, "player", download, self.server_pod.address)

    def look(self) -> Sight:
        left = connections(self.server_pod.netns).where("FIN-WAIT-1", local_port=PORT).unsent
        held, orphans = descriptors(self.server.who().pids, "socket:"), sockstat()["orphan"]
        made = calls(self.client)
        there = len(left) >= 15 and orphans >= len(left) and len(made) >= 10 and made.share(ANSWERED) == 1
        return Sight(there, f"{left} in FIN-WAIT-1 of {orphans} orphans, the server has {held} sockets; {made}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
