"""Incident 3 with the client in a real pod: it asks for each thumbnail on a connection of its own (requests.get).

A name that should have led to a CDN leads to the origin, and a renderer, which asked for little until then, asks for
two hundred thumbnails a second. requests.get has no session: each call makes a connection and closes it properly, and
the node's table (it is lowered for this) keeps each for two minutes more. A shop in another real pod keeps its few
connections to the same server. The renderer has to be named, with its pod.
"""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Thread

from lab.actor import rest
from lab.case import Expected
from lab.containerd import Containerd
from lab.load import keep_busy
from lab.look import Sight
from lab.table import TableCase, full_of_churn
from lab.who import Who

LIMIT, PER_SECOND, THREADS = 3000, 200, 8
SERVER = "203.0.113.80"


def render(url: str) -> None:
    import requests

    def fetch_in_turn() -> None:
        while True:
            begin = time.monotonic()
            with suppress(requests.RequestException):
                requests.get(url, timeout=2).raise_for_status()
            time.sleep(max(0.0, begin + THREADS / PER_SECOND - time.monotonic()))

    for _ in range(THREADS):
        Thread(target=fetch_in_turn).start()
    rest()


class TableFullByContainerdPod(TableCase):
    kind = "fault"
    rules_unread = True
    ready_within_seconds = 90

    def start(self) -> None:
        self.furnish(LIMIT)
        self.containerd = Containerd(self.stage, self.node)
        self.shop = self.containerd.play("shop", "shop", keep_busy, SERVER, 80, 20, 1)
        self.client = self.containerd.play("renderer", "renderer", render, f"http://{SERVER}/small")

    def look(self) -> Sight:
        own = self.table.entries.where("TIME_WAIT", source=self.client.address, port=80)
        there = self.table.overflows(LIMIT) and len(own) > LIMIT / 2
        return Sight(there, f"{self.table} of {LIMIT}; in TIME_WAIT by {self.client.address}: {len(own)}")

    def expected(self) -> Expected:
        innocent = (self.server.who(), self.shop.who())
        # Entries tell of an address, and thereby of a pod.
        pod = Who(self.client.comm, pod=self.client.uid)
        return full_of_churn((pod,), innocent, endpoint=(SERVER, 80))
