"""A rolling restart in place: the new process listens beside the old one (SO_REUSEPORT), and the old one drains.

It was told to end (SIGTERM), accepts nobody any more, and waits for its last user to go: a dashboard that has stayed
since the morning and is still sent its figures. But it has not closed its listener, and so the kernel goes on giving it
half of all connects. Each succeeds at once, the queue has room for hundreds, and no answer ever comes. The old process
is alive and sends, the new one answers whoever it is given, and nothing is dropped.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from threading import Event, Thread

from lab.case import QUEUE_RULES, Expected, Named
from lab.connects import ANSWER, ANSWERED, GAVE_UP, ConnectCase, call, calls
from lab.look import Sight, connections, wait_until
from lab.node import Node
from lab.servers import up

PORT, BACKLOG = 8080, 1024
LIVE, FIGURES = b"GET /live HTTP/1.1\r\nHost: lab\r\n\r\n", b"figures\n"


def serve() -> None:
    draining = Event()
    dashboards: list[Thread] = []
    signal.signal(signal.SIGTERM, lambda *_: draining.set())
    listener = socket.create_server(("", PORT), backlog=BACKLOG, reuse_port=True)
    listener.settimeout(0.2)
    while not draining.is_set():
        with suppress(OSError):  # nobody came, or whoever did is gone
            connection = listener.accept()[0]
            if connection.recv(4096).startswith(b"GET /live"):
                dashboards.append(thread := Thread(target=send_figures, args=(connection,)))
                thread.start()
            else:
                with connection:
                    connection.sendall(ANSWER)
    for thread in dashboards:
        thread.join()


def send_figures(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        while True:
            connection.sendall(FIGURES)
            time.sleep(0.5)


def watch(address: str) -> None:
    with socket.create_connection((address, PORT)) as connection:
        connection.sendall(LIVE)
        while connection.recv(4096):
            print("figures", flush=True)


class AcceptQueueOfDrainingProcess(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = QUEUE_RULES
    age_seconds = 6

    def start(self) -> None:
        self.node = Node(self.stage, "office", "client", "server")
        office, client, self.server_pod = self.node.pods
        self.old = self.stage.play(self.server_pod, "orders", serve)
        up(self.stage, self.server_pod, self.old, PORT)
        self.dashboard = self.stage.play(office, "dashboard", watch, self.server_pod.address)
        wait_until(lambda: self.figures > 0, 15, self.stage.logs)
        self.new = self.stage.play(self.server_pod, "orders", serve)
        wait_until(lambda: len(self.queues) == 2, 15, self.stage.logs)
        os.kill(self.old.pid, signal.SIGTERM)
        self.client = self.stage.play(client, "checkout", call, [(self.server_pod.address, PORT)], 8, 2)

    @property
    def figures(self) -> int:
        return self.dashboard.log.read_text().count("figures")

    @property
    def queues(self) -> list[int]:
        return sorted(one.unread for one in connections(self.server_pod.netns).where("LISTEN", local_port=PORT))

    def look(self) -> Sight:
        made, queues = calls(self.client), self.queues
        full_for_one = len(queues) == 2 and queues[0] <= 3 and 15 <= queues[1] < BACKLOG
        there = full_for_one and len(made.where(GAVE_UP)) >= 10 and made.share(ANSWERED) > 0.2
        return Sight(there, f"{made}; {queues} wait in the queues; the dashboard was sent {self.figures} figures")

    def expected(self) -> Expected:
        """Both go by one name: which of them it is, is all that has to be said."""
        return Expected(
            rule="accept-queue",
            also=("connect-timeout", "socket-leak"),
            severities=("warning", "critical"),
            tolerated=(self.old.who(),),
            innocent=(self.new.who(), self.client.who(), self.dashboard.who()),
            bystanders=(self.dashboard.who(),),
            others=(Named(self.old.who(), ("culprit", "holder", "reader", "peer")),),
        )
