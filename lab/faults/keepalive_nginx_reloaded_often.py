"""An ingress whose controller reloads nginx every three seconds, as it does while pods come and go: nobody is hurt.

At each reload the old worker closes all connections that are idle, however long they have been, and ends; a new one
has the same listener. The pools find their connections closed when they want them again (requests), or are told so
(aiohttp), and open others. Worker after worker goes with all its connections, and no request fails.
"""

from __future__ import annotations

import os
import signal

from lab.actor import every
from lab.case import Expected
from lab.connects import counter
from lab.keepalive import ENOUGH, KeepaliveCase
from lab.look import Sight
from lab.pools import told, went, with_aiohttp, with_requests
from lab.servers import nginx

POOLS, IDLE, RELOAD_SECONDS = 10, (1.0, 2.0), 3.0
ON_ITS_WAY = 2
"""Requests that a worker may have missed, in all, because they came at the moment in which it closed."""


def reload_often(master: int) -> None:
    for _ in every(RELOAD_SECONDS, times=1_000_000):
        os.kill(master, signal.SIGHUP)
        print("reloaded", flush=True)


class KeepaliveNginxReloadedOften(KeepaliveCase):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 10

    def start(self) -> None:
        self.client_pod, server_pod = self.stage.pods("client", "ingress")
        self.server = nginx(self.stage, server_pod)
        self.controller = self.stage.play(server_pod, "controller", reload_often, self.server.pid)
        url = f"http://{server_pod.address}/small"
        self.clients = [
            self.stage.play(self.client_pod, f"pool-{name}", ask, url, POOLS, IDLE)
            for name, ask in (("requests", with_requests), ("aiohttp", with_aiohttp))
        ]

    def look(self) -> Sight:
        """The pools had to open connections anew, many times over, and only because of the reloads."""
        reloads = self.controller.log.read_text().count("reloaded")
        opened = counter(self.client_pod.netns, "ActiveOpens")
        failed = sum(len(told(client, "failed")) for client in self.clients)
        enough = all(len(told(client, "answered")) >= ENOUGH for client in self.clients)
        there = enough and failed <= ON_ITS_WAY and reloads >= 4 and opened >= 3 * POOLS * len(self.clients)
        seen = "; ".join(went(client) for client in self.clients)
        return Sight(there, f"{seen}; {reloads} reloads, {opened} connections opened")

    def expected(self) -> Expected:
        parts = tuple(one.who() for one in (self.server, self.controller, *self.clients))
        return Expected(rule=None, cleared=("keepalive-mismatch",), innocent=parts, bystanders=parts)
