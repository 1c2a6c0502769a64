"""A flood of SYNs from addresses that never answer, and a kernel that sends cookies: real clients still get in.

What the listener's queue is filled with never becomes a connection. The listener is met by it, and does nothing.
"""

from __future__ import annotations

from typing import ClassVar

from lab.case import QUEUE_RULES, Case, Expected, Named
from lab.connects import ANSWERED, call, calls, counter, serve_in_turn
from lab.look import Sight
from lab.servers import up
from lab.stage import inside
from lab.syn_flood import flood, swallow_answers

PORT, BACKLOG = 8080, 64


class SynFlood(Case):
    kind = "fault"
    rules = QUEUE_RULES
    age_seconds = 2
    cookies: ClassVar[int] = 1
    counted: ClassVar[str] = "TCPReqQFullDoCookies"
    shape: ClassVar[str] = "cookies"
    outcome: ClassVar[str] = ANSWERED

    def start(self) -> None:
        client, flooder, self.server_pod = self.stage.pods("client", "flooder", "server")
        inside(self.server_pod, "sysctl", "-qw", f"net.ipv4.tcp_syncookies={self.cookies}")
        swallow_answers(self.server_pod, flooder)
        self.server = self.stage.play(self.server_pod, "orders", serve_in_turn, PORT, BACKLOG, 0.0)
        up(self.stage, self.server_pod, self.server, PORT)
        self.flooder = self.stage.play(flooder, "flood", flood, self.server_pod.address, PORT, 500)
        self.client = self.stage.play(client, "checkout", call, [(self.server_pod.address, PORT)], 10, 2)

    def look(self) -> Sight:
        made, full = calls(self.client), counter(self.server_pod.netns, self.counted)
        there = len(made) >= 30 and full > 500 and made.share(self.outcome) > 0.5
        return Sight(there, f"{made}; {full} {self.counted}")

    def expected(self) -> Expected:
        return Expected(
            rule="syn-queue",
            also=() if self.cookies else ("connect-timeout", "connect-slow"),
            severities=("warning", "critical"),
            shapes=(self.shape,),
            cleared=("accept-queue", "udp-buffers"),
            tolerated=(self.flooder.who(),),
            innocent=(self.client.who(), self.server.who()),
            others=(Named(self.server.who(), ("victim",)),),
        )
