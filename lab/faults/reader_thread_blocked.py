"""A program that has read its thirty streams for a while, and then no more: the one thread that reads them is blocked.

It hands what it reads to another thread through a queue of limited length; that thread has died of an exception, the
queue is full, and the reader waits for room for ever. The program runs, and is not stopped: its main thread goes on to
ask the same server for small things, and is answered. nginx holds most of the memory.
"""

from __future__ import annotations

import time
from http.client import HTTPConnection, HTTPResponse
from queue import Queue
from threading import Thread

from lab.case import Case, Expected
from lab.look import Sight, connections, never_read
from lab.pools import ask
from lab.servers import nginx
from lab.stage import status

STREAMS, PIECE, PIECES_BEFORE_IT_DIES = 30, 20_000, 1500


def subscribe(address: str) -> None:
    pieces: Queue[bytes] = Queue(maxsize=100)
    Thread(target=consume, args=(pieces,)).start()
    Thread(target=read_in_turn, args=([stream(address) for _ in range(STREAMS)], pieces)).start()
    beat = HTTPConnection(address)
    while True:
        ask(beat)
        print("alive", flush=True)
        time.sleep(0.2)


def stream(address: str) -> HTTPResponse:
    connection = HTTPConnection(address)
    connection.request("GET", "/large")
    return connection.getresponse()


def read_in_turn(streams: list[HTTPResponse], pieces: Queue[bytes]) -> None:
    while True:
        for one in streams:
            pieces.put(one.read(PIECE))
        time.sleep(0.02)


def consume(pieces: Queue[bytes]) -> None:
    for _ in range(PIECES_BEFORE_IT_DIES):
        pieces.get()
    raise ValueError("a record of an unknown kind")


class ReaderThreadBlocked(Case):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "subscriber", subscribe, self.server_pod.address)
        self.acked = self.beats = 0

    def look(self) -> Sight:
        """Every stream was read for a while, none moves from look to look, and the program does."""
        sight = never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=STREAMS)
        acked = [c.acked for c in connections(self.server_pod.netns).where("ESTAB", local_port=80) if c.unsent]
        beats, state = self.client.log.read_text().count("alive"), status(self.client.pid)
        stands, lives = self.acked == sum(acked), beats > self.beats
        self.acked, self.beats = sum(acked), beats
        read = min(acked, default=0) > PIECE * PIECES_BEFORE_IT_DIES // STREAMS
        seen = f"{sight.seen}; at least {min(acked, default=0)} bytes acked of each; {beats} small answers, {state}"
        return Sight(sight.there and read and stands and lives and state in "RS", seen)

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            severities=("info", "warning"),  # thirty, and they become no more
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
            endpoint=(self.server_pod.address, 80),
        )
