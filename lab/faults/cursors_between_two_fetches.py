"""Twenty results that a program reads in large pieces, and between two of them it computes: still for eight seconds.

So a job reads that fetches some thousand rows by its cursor, works on them, and fetches the next. Meanwhile there is
unread data on its side, the window is closed, and nginx has a full send queue, as with a response that nobody reads.
Any look shorter than eight seconds sees no byte move on most of them.
"""

from __future__ import annotations

import time
from http.client import HTTPConnection
from threading import Thread

from lab.actor import rest
from lab.case import Case, Expected
from lab.host import short_of_tcp_memory
from lab.look import Sight, connections, never_read
from lab.servers import nginx

CURSORS, ROWS, WORK_SECONDS = 20, 300_000, 8.0
BEFORE_READY = 3
"""Fetches that each has made."""


def report(address: str) -> None:
    for number in range(CURSORS):
        Thread(target=fetch_in_turn, args=(address, WORK_SECONDS * number / CURSORS)).start()
    rest()


def fetch_in_turn(address: str, begin_after: float) -> None:
    time.sleep(begin_after)
    while True:
        connection = HTTPConnection(address)
        connection.request("GET", "/large")
        response = connection.getresponse()
        while response.read(ROWS):
            print("fetched", flush=True)
            time.sleep(WORK_SECONDS)
        connection.close()


class CursorsBetweenTwoFetches(Case):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 20
    ready_within_seconds = 90

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "report", report, self.server_pod.address)

    def look(self) -> Sight:
        full = never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=CURSORS - 3)
        served = connections(self.server_pod.netns).where("ESTAB", local_port=80)
        fetched = self.client.log.read_text().count("fetched")
        there = full.there and len(served) == CURSORS and fetched >= CURSORS * BEFORE_READY
        return Sight(there, f"{full.seen}; {fetched} fetches on {len(served)} connections")

    def expected(self) -> Expected:
        also = ("tcp-memory",) if short_of_tcp_memory() else ()
        return Expected(rule=None, also=also, innocent=(self.server.who(), self.client.who()))
