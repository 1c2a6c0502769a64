"""A server that answers everybody and then closes by a reset (SO_LINGER 0), as some do to leave no TIME_WAIT behind.

Every client has read its answer by then, and asks for the next one on a new connection: nothing is lost.
"""

from __future__ import annotations

import socket
import time

from lab.actor import every
from lab.case import Expected
from lab.connects import ANSWER, ANSWERED, CLOSED, NEVER, ConnectCase, calls, counter, log, name_of, reset_at_close
from lab.load import REQUEST
from lab.look import Sight
from lab.node import Node
from lab.servers import up

PORT = 8080


def answer_and_reset() -> None:
    listener = socket.create_server(("", PORT), backlog=100)
    while True:
        with listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(ANSWER)
            reset_at_close(connection)


def ask_until_closed(address: str) -> None:
    for _ in every(0.05, times=int(NEVER)):
        begin = time.monotonic()
        with socket.create_connection((address, PORT), timeout=5) as connection:
            connected = time.monotonic() - begin
            connection.sendall(REQUEST)
            log(how_it_ended(connection), connected)


def how_it_ended(connection: socket.socket) -> str:
    """Answered: all of the answer was read before the reset."""
    received = 0
    try:
        while data := connection.recv(4096):
            received += len(data)
    except ConnectionResetError as error:
        return ANSWERED if received == len(ANSWER) else name_of(error)
    return CLOSED


class ResetAfterEveryAnswer(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = self.stage.play(server, "orders", answer_and_reset)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(client, "checkout", ask_until_closed, server.address)

    def look(self) -> Sight:
        made, sent = calls(self.client), counter(self.node.pods[1].netns, "OutRsts")
        return Sight(len(made) >= 20 and made.share(ANSWERED) == 1 and sent >= 20, f"{made}; {sent} resets sent")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.server.who()))
