"""A Service of two gunicorns, and one was rolled out without --keep-alive: half of all payments fail, at random.

Each customer reserves, thinks for three or four seconds, and pays on the same connection. One replica waits an hour
for that, as it always has; the other has gunicorn's own two seconds. Which of them a connection leads to is chosen by
the node when it is opened, and the client knows only the address of the Service: what has to be told is the replica.
"""

from __future__ import annotations

import time
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from threading import Thread

from lab.actor import rest
from lab.case import Expected
from lab.keepalive import ENOUGH, WatchedCase, mismatch
from lab.look import Sight
from lab.node import Node
from lab.pools import ask, say, stopwatch, told, turns
from lab.servers import gunicorn

SERVICE, SERVICE_PORT, PORT = "10.96.0.30", 80, 8000
CUSTOMERS, THINKING = 20, (3.2, 4.2)


def check_out(address: str) -> None:
    for begin_after, seconds in turns(CUSTOMERS, THINKING):
        Thread(target=check_out_in_turn, args=(address, begin_after, seconds)).start()
    rest()


def check_out_in_turn(address: str, begin_after: float, seconds: float) -> None:
    time.sleep(begin_after)
    while True:
        connection = HTTPConnection(address, SERVICE_PORT, timeout=10)
        ask(connection)  # reserved
        time.sleep(seconds)
        try:
            ask(connection)
            say("answered", seconds)
        except (HTTPException, OSError) as error:
            say("failed", seconds, f"{type(error).__name__}: {error}")
            ask(connection)
        connection.close()


class KeepaliveOneReplicaWithDefaults(WatchedCase):
    kind = "fault"
    rules_unread = True
    server_waits = (2.0, 2.5)
    window_seconds = 8

    def start(self) -> None:
        self.node = Node(self.stage, "client", "patient", "hasty", "watch")
        self.client_pod, patient, hasty, watch = self.node.pods
        # preloaded: the file of its application is written again for the other
        self.patient = gunicorn(self.stage, patient, PORT, "--preload", "--keep-alive", "3600")
        self.server = gunicorn(self.stage, hasty, PORT)
        self.node.service(SERVICE, SERVICE_PORT, (patient.address, PORT), (hasty.address, PORT))
        self.watch = self.stage.play(watch, "stopwatch", stopwatch, hasty.address, PORT, 5)
        self.client = self.stage.play(self.client_pod, "checkout", check_out, SERVICE)

    def look(self) -> Sight:
        """Some payments fail, and as surely some do not."""
        sight = self.measured(self.failing(self.client, self.client_pod.netns))
        return Sight(sight.there and len(told(self.client, "answered")) >= ENOUGH, sight.seen)

    def expected(self) -> Expected:
        """The Service's address and the replica's own are both right. To name the other replica would mislead: whoever
        looks there finds an hour, and thinks that the finding is wrong."""
        found = mismatch(self.client, self.server, (SERVICE, SERVICE_PORT), self.watch, self.patient)
        return replace(found, endpoint=None)
