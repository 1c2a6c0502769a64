"""A server of Python's http.server refuses large uploads and closes without reading them: the kernel resets each.

It says why (413), and farewell; but http.client sends the whole body before it reads, and that fails. To the client's
kernel the reset comes after a FIN, as if an idle connection had been used again; but it was never idle.
"""

from __future__ import annotations

from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab.actor import every
from lab.case import Expected
from lab.connects import ANSWERED, NEVER, ConnectCase, answerable, calls, counter, log, name_of, named
from lab.look import Sight
from lab.node import Node
from lab.servers import up

PORT, BODY_BYTES = 8080, 2_000_000


class Uploads(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_error(413)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 100


def refuse_uploads() -> None:
    Server(("", PORT), Uploads).serve_forever()


def back_up(address: str) -> None:
    for _ in every(0.1, times=int(NEVER)):
        connection = HTTPConnection(address, PORT, timeout=5)
        try:
            connection.request("POST", "/backup", body=bytes(BODY_BYTES))
            connection.getresponse().read()
            log(ANSWERED, 0)
        except OSError as error:
            log(name_of(error), 0)
        finally:
            connection.close()


class ResetUnreadUpload(ConnectCase):
    kind = "fault"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "uploads", refuse_uploads)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "backup", back_up, server.address)

    def look(self) -> Sight:
        made = calls(self.client)
        closed = counter(self.node.pods[1].netns, "TCPAbortOnClose")
        return Sight(
            len(made) >= 10 and made.share(ANSWERED) < 0.5 and closed >= 10, f"{made}; {closed} closed with unread data"
        )

    def expected(self) -> Expected:
        return Expected(
            rule="resets",
            tolerated=(self.server.who(),),
            innocent=(self.client.who(),),
            others=(named(self.client), answerable(self.server)),
            endpoint=(self.node.pods[1].address, PORT),
        )
