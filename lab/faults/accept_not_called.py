"""A server that stopped accepting: its only thread waits for a lock it already holds.

Connects still succeed, because the kernel completes them into the accept queue; the callers have sent their requests
and wait for ever. Nobody's descriptor leads to the sockets in the queue.
"""

from __future__ import annotations

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, connections, sockstat
from lab.servers import up

lock = threading.Lock()


class Orders(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        with lock, lock:  # the second one is never got
            self.send_response(200)


class Server(HTTPServer):
    request_queue_size = 400


def serve() -> None:
    Server(("", 8080), Orders).serve_forever()


def call(address: str) -> None:
    calls = []
    for _ in every(0.02, times=300):
        calls.append(HTTPConnection(address, 8080))
        calls[-1].request("GET", "/orders")
    rest()


class AcceptNotCalled(Case):
    kind = "fault"
    window_seconds = 10
    age_seconds = 40

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = self.stage.play(self.server_pod, "orders", serve)
        up(self.stage, self.server_pod, self.server, 8080)
        self.callers = self.stage.play(self.client_pod, "callers", call, self.server_pod.address)

    def look(self) -> Sight:
        seen = connections(self.server_pod.netns)
        waiting = sum(listener.unread for listener in seen.where("LISTEN", local_port=8080))
        established = seen.where("ESTAB", local_port=8080)
        return Sight(
            waiting >= 290,
            f"accept queue {waiting}, {established} established at the server, sockstat alloc {sockstat()['alloc']}",
        )

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("accept-not-called",),
            culprits=(self.server.who(),),
            innocent=(self.callers.who(),),
        )
