"""Incident 5 as it was told: calls fail if another downstream was called in between, and in quick succession none does.

The client has a pool for each of two servers and calls them in turn, one every three seconds: each pool is idle for
six, which is longer than Uvicorn waits. Another client with the same kind of pool calls one of them every second.
"""

from __future__ import annotations

from dataclasses import replace

from lab.case import Expected, Named
from lab.keepalive import SERVER_ROLES, WatchedCase, mismatch
from lab.look import Sight
from lab.pools import stopwatch, with_http_client
from lab.servers import uvicorn

PORT = 8000
IDLE = (5.2, 6.5)


class KeepaliveDownstreamsInTurn(WatchedCase):
    kind = "fault"
    server_waits = (5.0, 5.0)

    def start(self) -> None:
        self.client_pod, *self.server_pods = self.stage.pods("client", "stock", "prices")
        self.servers = [uvicorn(self.stage, pod, PORT, keep_alive_seconds=5) for pod in self.server_pods]
        stock, prices = (pod.address for pod in self.server_pods)
        self.watch = self.stage.play(self.client_pod, "stopwatch", stopwatch, stock, PORT, 5)
        self.client = self.stage.play(self.client_pod, "checkout", with_http_client, [stock, prices], PORT, 10, IDLE)
        self.steady = self.stage.play(self.client_pod, "ticker", with_http_client, [stock], PORT, 5, (0.8, 1.2))

    def look(self) -> Sight:
        failing, steady = self.failing(self.client, self.client_pod.netns), self.answered(self.steady)
        return self.measured(Sight(failing.there and steady.there, f"{failing.seen}; {steady.seen}"))

    def expected(self) -> Expected:
        stock, prices = self.servers
        found = mismatch(self.client, stock, (self.server_pods[0].address, PORT), self.watch, self.steady)
        return replace(
            found,
            endpoint=None,  # one finding for each of them
            mentions=tuple(f"{pod.address}:{PORT}" for pod in self.server_pods),
            innocent=(*found.innocent, prices.who()),
            others=(*found.others, Named(prices.who(), SERVER_ROLES)),
        )
