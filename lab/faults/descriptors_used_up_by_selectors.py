"""A server makes a selector (epoll) for each request and closes none: at its limit of 96 it says 500 to everybody.

Nothing of it is to be seen in the network. Whoever calls is connected at once, since the descriptor of the connection
before has just come free, and has an answer within milliseconds; no socket stays behind, and no queue is full. What
fails is the next selector ("Too many open files"), of which the server has nine in ten of its descriptors.
"""

from __future__ import annotations

import resource
import select
from http.server import BaseHTTPRequestHandler, HTTPServer

from lab.case import LIMIT_RULES, Case, Expected, Named
from lab.connects import ANSWER, ANSWERED, call, calls
from lab.look import Sight, connections, descriptors
from lab.servers import up

PORT, FILES, LACK = 8080, 96, "Too many open files"
FAILED = ANSWER.replace(b"200 OK", b"500 No", 1)


class Server(HTTPServer):
    request_queue_size = 100


def serve() -> None:
    """One request after the other, so that no two connections are open at once."""
    made = []

    class Orders(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            try:
                made.append(selector := select.epoll())
                selector.register(self.connection, select.EPOLLHUP)
                self.wfile.write(ANSWER)
            except OSError as error:
                print(error, flush=True)
                self.wfile.write(FAILED)

    Server(("", PORT), Orders).serve_forever()


class DescriptorsUsedUpBySelectors(Case):
    kind = "fault"
    rules_unread = True
    rules = LIMIT_RULES
    age_seconds = 5

    def start(self) -> None:
        client, self.pod = self.stage.pods("client", "server")
        limit = ("prlimit", f"--nofile={FILES}")
        self.server = self.stage.play(self.pod, "orders", serve, under=limit)
        up(self.stage, self.pod, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(self.pod.address, PORT)], 6, 5)

    def look(self) -> Sight:
        most, _ = resource.prlimit(self.server.pid, resource.RLIMIT_NOFILE)
        pids, seen, made = self.server.who().pids, connections(self.pod.netns), calls(self.client)
        selectors, held = descriptors(pids, "anon_inode:[eventpoll]"), descriptors(pids, "")
        lacking = self.server.log.read_text(errors="replace").count(LACK)
        there = most == FILES and held >= FILES - 4 and selectors > 0.8 * FILES and lacking >= 15
        well = made.share(ANSWERED) > 0.95 and len(seen.where("ESTAB", local_port=PORT)) < 8
        return Sight(there and well, f"{held} descriptors of {most}, {selectors} selectors; {lacking} failed; {made}")

    def expected(self) -> Expected:
        return Expected(
            rule="descriptor-limit",
            cleared=("socket-leak",),
            severities=("warning", "critical"),
            tolerated=(self.server.who(),),
            innocent=(self.client.who(),),
            others=(Named(self.server.who(), ("culprit", "holder")),),
        )
