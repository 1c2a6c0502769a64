"""A leak that is over, because there is no descriptor left to leak: each of 128 is a dead connection.

The program makes a connection for each report and forgets it; the server closes it after an idle second. Since the last
descriptor is taken, every attempt fails (EMFILE) before a packet is sent: nothing grows, the network is still, and the
server, which nobody asks any more, is well.
"""

from __future__ import annotations

from http.client import HTTPConnection

from lab.actor import every
from lab.case import LIMIT_RULES, Case, Expected, Named
from lab.look import Sight, connections, descriptors
from lab.servers import uvicorn

PORT, FILES = 8000, 128


def report(address: str) -> None:
    made = []
    for _ in every(0.05, times=1_000_000):
        connection = HTTPConnection(address, PORT, timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
            made.append(connection)
        except OSError as error:
            print(error, flush=True)


class DescriptorsUsedUpBySockets(Case):
    kind = "fault"
    rules_unread = True
    rules = LIMIT_RULES

    def start(self) -> None:
        self.client_pod, server = self.stage.pods("client", "server")
        self.server = uvicorn(self.stage, server, PORT, keep_alive_seconds=1)
        limit = ("prlimit", f"--nofile={FILES}")
        self.client = self.stage.play(self.client_pod, "reporter", report, server.address, under=limit)

    def look(self) -> Sight:
        waiting = connections(self.client_pod.netns).where("CLOSE-WAIT", peer_port=PORT)
        held = descriptors(self.client.who().pids, "socket:")
        failed = self.client.log.read_text(errors="replace").count("Too many open files")
        there = len(waiting) == held > FILES - 8 and failed > 20
        return Sight(there, f"{waiting} in CLOSE-WAIT, {held} sockets held; {failed} times too many, says its log")

    def expected(self) -> Expected:
        return Expected(
            rule="descriptor-limit",
            also=("socket-leak",),
            severities=("warning", "critical"),
            tolerated=(self.client.who(),),
            innocent=(self.server.who(),),
            bystanders=(self.server.who(),),
            others=(Named(self.client.who(), ("culprit", "holder")),),
        )
