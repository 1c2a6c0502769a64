"""Idle connections that the server closes, and that nobody ever asks on again.

Each of four clients a second asks once, keeps its connection for eight seconds, and closes it: for the last three of
them it is in CLOSE_WAIT. No request fails, since none is made.
"""

from __future__ import annotations

import time
from collections import deque
from http.client import HTTPConnection

from lab.actor import every, rest
from lab.keepalive import ENOUGH, PairCase
from lab.look import Sight, connections, tcp_counter
from lab.pools import ask
from lab.servers import uvicorn
from lab.stage import Player

A_SECOND = 4
KEPT_SECONDS = 8


def ask_once(address: str, port: int) -> None:
    kept: deque[tuple[float, HTTPConnection]] = deque()
    for _ in every(1 / A_SECOND, times=10_000):
        ask(connection := HTTPConnection(address, port, timeout=10))
        kept.append((time.monotonic() + KEPT_SECONDS, connection))
        while kept[0][0] <= time.monotonic():
            kept.popleft()[1].close()
    rest()


class KeepaliveNeverUsedAgain(PairCase):
    kind = "look-alike"
    server_waits = (5.0, 5.0)

    def serve(self) -> Player:
        return uvicorn(self.stage, self.server_pod, self.port, keep_alive_seconds=5)

    def call(self) -> Player:
        return self.stage.play(self.client_pod, "reporter", ask_once, self.address, self.port)

    def look(self) -> Sight:
        waiting = connections(self.client_pod.netns).where("CLOSE-WAIT", peer_port=self.port)
        resets = tcp_counter(self.client_pod.netns, "EstabResets")
        there = len(waiting) >= ENOUGH and not resets
        return self.measured(Sight(there, f"{len(waiting)} in CLOSE-WAIT, {resets} resets"))
