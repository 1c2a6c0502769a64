"""Incident 5 after it was mended: requests failed after a pause, and now the client closes what is idle for a second.

gunicorn still closes after 2 s, and between two requests are still more than three: whoever compares the two times
finds the old fault. No connection gets that old any more, none is reset, and the counter of resets stays where it was.
"""

from __future__ import annotations

import time
from http.client import HTTPConnection, HTTPException
from threading import Thread

from lab.actor import rest
from lab.case import CONNECTION_RULES, Case, Expected
from lab.connects import counter
from lab.look import Sight
from lab.pools import ask, say, told, went
from lab.servers import gunicorn

PORT, CLIENTS = 8000, 20
PAUSE, EVICTED_AFTER, MENDED_AFTER = 3.3, 1.0, 12.0


def work(address: str) -> None:
    mended = time.monotonic() + MENDED_AFTER
    for number in range(CLIENTS):
        Thread(target=ask_in_turn, args=(address, mended, PAUSE * number / CLIENTS)).start()
    rest()


def ask_in_turn(address: str, mended: float, begin_after: float) -> None:
    time.sleep(begin_after)
    connection = HTTPConnection(address, PORT, timeout=10)
    while True:
        evicts = time.monotonic() > mended
        try:
            ask(connection)
            say("mended" if evicts else "answered", PAUSE)
        except (HTTPException, OSError) as error:
            say("failed", PAUSE, f"{type(error).__name__}: {error}")
            ask(connection)
        if evicts:
            time.sleep(EVICTED_AFTER)
            connection.close()
        time.sleep(PAUSE - (EVICTED_AFTER if evicts else 0))


class KeepaliveMended(Case):
    kind = "look-alike"
    rules_unread = True
    rules = CONNECTION_RULES
    window_seconds = 8
    age_seconds = 4

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.resets = 0
        self.server = gunicorn(self.stage, self.server_pod, PORT)
        self.client = self.stage.play(self.client_pod, "orders", work, self.server_pod.address)

    def look(self) -> Sight:
        before, self.resets = self.resets, counter(self.client_pod.netns, "EstabResets")
        last = self.client.log.read_text().splitlines()[-3 * CLIENTS :]
        well = len(last) == 3 * CLIENTS and all(line.startswith("mended") for line in last)
        there = well and len(told(self.client, "failed")) >= CLIENTS and before == self.resets >= CLIENTS // 2
        return Sight(there, f"{went(self.client)}; {self.resets} resets, {before} before; {len(last)} of late")

    def expected(self) -> Expected:
        parts = (self.client.who(), self.server.who())
        return Expected(rule=None, cleared=("keepalive-mismatch", "resets"), innocent=parts, bystanders=parts)
