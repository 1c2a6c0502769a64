"""A shop has ten sockets more in CLOSE_WAIT each second; what is wrong is the database behind it, which was stopped.

The shop connects to the database for each request, and waits without a limit. Since somebody stopped the database
(SIGSTOP, a debugger), its kernel has taken nine connections and drops the SYN of any other. The shop's callers give up
after a second and close; its threads do not come to do the same. To restart the shop would clear all that can be seen
of it, for a moment.
"""

from __future__ import annotations

import os
import signal
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab.case import QUEUE_RULES, Expected, Named
from lab.connects import ANSWERED, GAVE_UP, ConnectCase, call, calls, named, serve_in_turn
from lab.load import REQUEST
from lab.look import Sight, connections, wait_until
from lab.node import Node
from lab.servers import up
from lab.stage import status

PORT, DATABASE_PORT, BACKLOG = 8080, 5432, 8


class Server(ThreadingHTTPServer):
    request_queue_size = 100


def serve(database: str) -> None:
    class Orders(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with socket.create_connection((database, DATABASE_PORT)) as connection:
                connection.sendall(REQUEST)
                self.wfile.write(connection.recv(4096))

    Server(("", PORT), Orders).serve_forever()


class CloseWaitBehindStoppedDatabase(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = QUEUE_RULES
    age_seconds = 8

    def start(self) -> None:
        self.node = Node(self.stage, "client", "shop", "database")
        client, self.shop_pod, self.database_pod = self.node.pods
        arguments = (DATABASE_PORT, BACKLOG, 0.005)
        self.database = self.stage.play(self.database_pod, "database", serve_in_turn, *arguments)
        up(self.stage, self.database_pod, self.database, DATABASE_PORT)
        self.shop = self.stage.play(self.shop_pod, "shop", serve, self.database_pod.address)
        up(self.stage, self.shop_pod, self.shop, PORT)
        self.client = self.stage.play(client, "checkout", call, [(self.shop_pod.address, PORT)], 10, 1)
        wait_until(lambda: len(calls(self.client).where(ANSWERED)) >= 10, 10, self.stage.logs)
        os.kill(self.database.pid, signal.SIGSTOP)

    def look(self) -> Sight:
        waiting = connections(self.shop_pod.netns).where("CLOSE-WAIT", local_port=PORT)
        (listener,) = connections(self.database_pod.netns).where("LISTEN", local_port=DATABASE_PORT)
        made, state = calls(self.client), status(self.database.pid)
        database = f"database in state {state}, {listener.unread} in its queue"
        there = len(waiting) >= 50 and listener.unread > BACKLOG and state == "T"
        nobody = {one.outcome for one in made[-20:]} == {GAVE_UP}
        return Sight(there and nobody, f"{waiting} of the shop's in CLOSE-WAIT; {database}; {made}")

    def expected(self) -> Expected:
        """That the shop does not close is true and may be said; who is to be woken has to be."""
        return Expected(
            rule="accept-queue",
            also=("connect-timeout", "socket-leak"),
            severities=("warning", "critical"),
            tolerated=(self.shop.who(), self.database.who()),
            innocent=(self.client.who(),),
            others=(
                Named(self.database.who(state="stopped"), ("reader", "holder", "peer", "culprit")),
                named(self.shop),
            ),
        )
