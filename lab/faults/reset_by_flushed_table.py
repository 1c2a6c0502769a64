"""A cron job empties the node's connection table, and what was open through a Service is led to another pod: a reset.

The table was full once, and somebody wrote a job that runs `conntrack -F` (here every two seconds). The node takes up a
connection in its middle when the next packet comes, and chooses an endpoint for it anew: one of two, and the other one
knows nothing of that connection. Its kernel answers by a reset, in the name of the Service. So a shop that keeps its
connections has one request in many fail, on both servers alike; neither has closed or aborted anything. Who keeps
connections to the address of a pod itself is met by the same job, and notices nothing.
"""

from __future__ import annotations

import subprocess
import time
from http.client import HTTPConnection, HTTPException
from threading import Thread

from lab.actor import every, rest
from lab.case import Expected
from lab.connects import ANSWERED, GAVE_UP, ConnectCase, calls, log, named
from lab.look import Sight
from lab.node import Node
from lab.servers import nginx

SERVICE, PORT = "10.96.0.20", 80
RESET, DONE = "ECONNRESET", "emptied"


def ask_on(address: str, connections: int, every_seconds: float) -> None:
    """On connections that are kept, each made anew when it fails; a line for each request."""

    def go_on(begin_after: float) -> None:
        time.sleep(begin_after)
        connection = HTTPConnection(address, PORT, timeout=10)
        while True:
            begin = time.monotonic()
            log(outcome(connection), time.monotonic() - begin)
            time.sleep(max(0.0, begin + every_seconds - time.monotonic()))

    for number in range(connections):
        Thread(target=go_on, args=(every_seconds * number / connections,)).start()
    rest()


def outcome(connection: HTTPConnection) -> str:
    try:
        connection.request("GET", "/small")
        connection.getresponse().read()
        return ANSWERED
    except (OSError, HTTPException) as error:
        connection.close()
        return RESET if isinstance(error, ConnectionResetError) else GAVE_UP


def empty_table(every_seconds: float) -> None:
    for _ in every(every_seconds, times=100_000):
        subprocess.run(["conntrack", "--flush"], check=True, capture_output=True)
        print(DONE, flush=True)


class ResetByFlushedTable(ConnectCase):
    kind = "fault"
    rules_unread = True
    age_seconds = 10

    def start(self) -> None:
        """The servers wait for 8 s, so that what nobody ends does not stay with them."""
        self.node = Node(self.stage, "shop", "web", "orders1", "orders2")
        shop, web, *orders = self.node.pods
        self.servers = [nginx(self.stage, pod, PORT, keep_alive="8s") for pod in orders]
        self.node.service(SERVICE, PORT, *((pod.address, PORT) for pod in orders))
        self.client = self.stage.play(shop, "shop", ask_on, SERVICE, 30, 1)
        self.other = self.stage.play(web, "web", ask_on, orders[0].address, 10, 1)
        self.job = self.stage.play(self.node.host, "table-cleaner", empty_table, 2)

    def look(self) -> Sight:
        made, others, times = calls(self.client), calls(self.other), self.job.log.read_text().count(DONE)
        there = len(made.where(RESET)) >= 20 and made.share(ANSWERED) > 0.4 and times >= 3
        well = len(others) >= 30 and others.share(ANSWERED) == 1.0
        return Sight(there and well, f"{DONE} {times} times; shop: {made}; beside: {others}")

    def expected(self) -> Expected:
        return Expected(
            rule="resets",
            also=("connect-slow",),
            severities=("warning", "critical"),
            tolerated=(self.job.who(),),
            innocent=(self.client.who(), self.other.who(), *(server.who() for server in self.servers)),
            bystanders=(self.other.who(),),
            others=(named(self.client),),
            mentions=(SERVICE,),
        )
