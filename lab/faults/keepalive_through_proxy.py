"""The same behind a gateway: the client sees status 502 now and then, and its own connections are all in order.

Each thread of the gateway keeps one connection to Uvicorn (http.client) and does not look at it before it asks on it.
The hop that is wrong is the one from gateway to Uvicorn; the client, whose pool looks first, is only the victim.
"""

from __future__ import annotations

import time
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab.case import Expected
from lab.keepalive import WatchedCase, mismatch
from lab.look import Sight
from lab.pools import ask, say, stopwatch, told, went, with_requests
from lab.servers import up, uvicorn

PORT, GATEWAY_PORT = 8000, 8080


def forward(address: str, port: int, upstream: str, upstream_port: int) -> None:
    class Gateway(BaseHTTPRequestHandler):
        """One for each connection that comes in, in a thread of its own."""

        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.upstream = HTTPConnection(upstream, upstream_port, timeout=10)
            self.used_at = time.monotonic()

        def do_GET(self) -> None:
            idle = time.monotonic() - self.used_at
            try:
                ask(self.upstream)
                self.answer(200)
            except (HTTPException, OSError) as error:
                say("failed", idle, f"{type(error).__name__}: {error}")
                self.answer(502)
            self.used_at = time.monotonic()

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Its log is for failures."""

    ThreadingHTTPServer((address, port), Gateway).serve_forever()


class KeepaliveThroughProxy(WatchedCase):
    kind = "fault"
    server_waits = (5.0, 5.0)

    def start(self) -> None:
        self.client_pod, self.proxy_pod, self.server_pod = self.stage.pods("client", "proxy", "server")
        server, proxy = self.server_pod.address, self.proxy_pod.address
        self.server = uvicorn(self.stage, self.server_pod, PORT, keep_alive_seconds=5)
        self.watch = self.stage.play(self.proxy_pod, "stopwatch", stopwatch, server, PORT, 5)
        self.gateway = self.stage.play(self.proxy_pod, "gateway", forward, proxy, GATEWAY_PORT, server, PORT)
        up(self.stage, self.proxy_pod, self.gateway, GATEWAY_PORT)
        url = f"http://{proxy}:{GATEWAY_PORT}/"
        self.client = self.stage.play(self.client_pod, "orders", with_requests, url, 20, (5.2, 6.5))

    def look(self) -> Sight:
        sight = self.measured(self.failing(self.gateway, self.proxy_pod.netns))
        return Sight(sight.there and bool(told(self.client, "failed")), f"{sight.seen}; {went(self.client)}")

    def expected(self) -> Expected:
        return mismatch(self.gateway, self.server, (self.server_pod.address, PORT), self.watch, self.client)
