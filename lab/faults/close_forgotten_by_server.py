"""A server whose threads wait for a lock that never comes free, and clients that give up: CLOSE_WAIT at the server.

The first request took the lock and waits for a database. Each later one has a thread of its own, which has read the
request and waits. The clients do their part: they wait for a second, close, and try again. What they leave behind is
in CLOSE_WAIT at the server, ten more each second, with nothing unread on either side. It began a moment ago.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock
from typing import ClassVar

from lab.case import Case, Expected
from lab.connects import GAVE_UP, call, calls
from lab.look import Sight, connections, descriptors
from lab.servers import up

PORT = 8080


class Orders(BaseHTTPRequestHandler):
    lock: ClassVar[Lock] = Lock()

    def do_GET(self) -> None:
        with self.lock:
            Event().wait()  # the database does not answer


class Server(ThreadingHTTPServer):
    request_queue_size = 100


def serve() -> None:
    Server(("", PORT), Orders).serve_forever()


class CloseForgottenByServer(Case):
    kind = "fault"
    rules_unread = True
    age_seconds = 5
    window_seconds = 20

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = self.stage.play(self.server_pod, "orders", serve)
        up(self.stage, self.server_pod, self.server, PORT)
        self.client = self.stage.play(self.client_pod, "checkout", call, [(self.server_pod.address, PORT)], 10, 1)

    def look(self) -> Sight:
        waiting = connections(self.server_pod.netns).where("CLOSE-WAIT", local_port=PORT)
        held, made = descriptors(self.server.who().pids, "socket:"), calls(self.client)
        there = len(waiting) >= 50 and held >= len(waiting) and len(made.where(GAVE_UP)) == len(made)
        return Sight(there, f"{waiting} in CLOSE-WAIT at the server, which holds {held} sockets; {made}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            severities=("info", "warning"),  # of seconds: a server that drains looks the same
            shapes=("close-forgotten",),
            culprits=(self.server.who(),),
            innocent=(self.client.who(),),
        )
