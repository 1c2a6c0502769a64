"""A gunicorn renews each worker after some forty requests (--max-requests), and whoever kept a connection to it fails.

The master starts a new worker in place of the old one, as a cure for a leak of memory that nobody found. Requests under
way are answered, and told that the connection ends; the idle connections of the worker just end with it, after whatever
time: gunicorn itself would wait 75 s. The client (http.client) pauses for a second or two and does not look before it
asks again, so now and then ten requests fail within a second. Whoever compares the time-outs of both finds them right.
"""

from __future__ import annotations

import re

from lab.case import Expected, Named
from lab.keepalive import CLIENT_ROLES, SERVER_ROLES, KeepaliveCase
from lab.look import Sight
from lab.pools import told, with_http_client
from lab.servers import gunicorn
from lab.who import Who

PORT, CONNECTIONS, IDLE, RENEWALS = 8000, 20, (0.8, 2.0), 3
OPTIONS = ("--workers", "2", "--keep-alive", "75", "--max-requests", "40", "--max-requests-jitter", "10")
RENEWED, BOOTED = "Autorestarting worker", r"Booting worker with pid: (\d+)"


class KeepaliveGunicornRecyclesWorkers(KeepaliveCase):
    kind = "fault"
    rules_unread = True
    window_seconds = 12

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = gunicorn(self.stage, self.server_pod, PORT, *OPTIONS)
        arguments = ([self.server_pod.address], PORT, CONNECTIONS, IDLE)
        self.client = self.stage.play(self.client_pod, "orders", with_http_client, *arguments)

    def look(self) -> Sight:
        """It fails after pauses far shorter than gunicorn waits, and as many requests and more are answered."""
        sight = self.failing(self.client, self.client_pod.netns)
        renewed = self.server.log.read_text(errors="replace").count(RENEWED)
        answered, failed = len(told(self.client, "answered")), len(told(self.client, "failed"))
        there = sight.there and renewed >= RENEWALS and answered > failed
        return Sight(there, f"{sight.seen}; {renewed} workers were renewed")

    @property
    def master_and_workers(self) -> Who:
        """Also those that have gone: they had the connections."""
        booted = re.findall(BOOTED, self.server.log.read_text(errors="replace"))
        return Who("gunicorn", self.server.who().pids | frozenset(map(int, booted)))

    def expected(self) -> Expected:
        """Both the setting of the server and the pool that does not look may be called the origin."""
        server = self.master_and_workers
        return Expected(
            rule="keepalive-mismatch",
            also=("resets",),
            severities=("warning", "critical"),
            tolerated=(self.client.who(), server),
            others=(Named(self.client.who(), CLIENT_ROLES), Named(server, ("culprit", *SERVER_ROLES))),
            endpoint=(self.server_pod.address, PORT),
        )
