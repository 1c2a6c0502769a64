"""A gunicorn whose one worker waits for a database for ever, and a queue of four: over IPv6, connects get no answer.

There is no packet of IPv4 in it. The first caller was accepted and waits, the next few stand in the queue; of all
others the kernel drops the SYN, and they give up after two seconds. To them the server looks like a host that is not
there.
"""

from __future__ import annotations

from lab.case import QUEUE_RULES, Expected, Named
from lab.connects import GAVE_UP, STEP_SECONDS, ConnectCase, call, calls, counter, named
from lab.look import Sight, connections
from lab.node import Node
from lab.servers import SMALL, WSGI, up
from lab.stage import Player, Pod

PORT, BACKLOG = 8080, 4
EVER = 86_400


class AcceptQueueFullIpv6(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = QUEUE_RULES
    age_seconds = 6

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, self.server_pod = self.node.pods
        self.server = self.serve(self.server_pod)
        self.client = self.stage.play(client, "checkout", call, [(self.server_pod.address6, PORT)], 10, 2)

    def serve(self, pod: Pod) -> Player:
        """One worker, one request at a time, of which none is ever answered; without a limit for it."""
        (self.stage.directory / "application.py").write_text(WSGI.format(seconds=EVER, size=SMALL))
        bound = ("--bind", f"[{pod.address6}]:{PORT}", "--backlog", str(BACKLOG), "--timeout", "0")
        command = ("gunicorn", *bound, "--chdir", str(self.stage.directory), "application:answer")
        return up(self.stage, pod, self.stage.run(pod, "gunicorn", *command), PORT)

    def look(self) -> Sight:
        made = calls(self.client)
        (listener,) = connections(self.server_pod.netns).where("LISTEN", local_port=PORT)
        dropped = counter(self.server_pod.netns, "ListenOverflows")
        gave_up = made.where(GAVE_UP, at_least_seconds=STEP_SECONDS)
        seen = f"{made}; {listener.unread} in a queue of {listener.unsent}; it was full for {dropped} packets"
        return Sight(len(gave_up) >= 20 and listener.unread > listener.unsent == BACKLOG, seen)

    def expected(self) -> Expected:
        return Expected(
            rule="connect-timeout",
            also=("accept-queue", "socket-leak"),
            severities=("warning", "critical"),
            cleared=("syn-queue", "udp-buffers"),
            tolerated=(self.server.who(),),
            innocent=(self.client.who(),),
            others=(named(self.client), Named(self.server.who(), ("culprit",))),
            endpoint=(self.server_pod.address6, PORT),
            causes=("accept-queue",),
        )
