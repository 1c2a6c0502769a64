"""A kernel that sends cookies always (tcp_syncookies=2), and many real clients: each comes back with its own."""

from __future__ import annotations

from lab.case import QUEUE_RULES, Case, Expected
from lab.connects import ANSWERED, call, calls, counter, serve_in_turn
from lab.look import Sight
from lab.servers import up
from lab.stage import inside

PORT = 8080


class SynCookiesForEverybody(Case):
    kind = "look-alike"
    rules = QUEUE_RULES
    age_seconds = 0

    def start(self) -> None:
        client, self.server_pod = self.stage.pods("client", "server")
        inside(self.server_pod, "sysctl", "-qw", "net.ipv4.tcp_syncookies=2")
        self.server = self.stage.play(self.server_pod, "orders", serve_in_turn, PORT, 128, 0.0)
        up(self.stage, self.server_pod, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(self.server_pod.address, PORT)], 60, 5, 5)

    def look(self) -> Sight:
        made, cookies = calls(self.client), counter(self.server_pod.netns, "SyncookiesSent")
        return Sight(made.share(ANSWERED) == 1.0 and cookies >= 120, f"{made}; {cookies} cookies")

    def expected(self) -> Expected:
        parts = (self.client.who(), self.server.who())
        return Expected(rule=None, cleared=("syn-queue", "accept-queue"), innocent=parts, bystanders=parts)
