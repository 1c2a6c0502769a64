"""An Apache that ends each connection after some ten requests, and says so in time (MaxKeepAliveRequests).

With the last answer it sends `Connection: close`, and closes. The client (http.client) does not look before it asks
on a connection, but it has read that, and goes on with a new one. All connections are ended by the server, each about
seven seconds after it was opened, and no request ever meets a closed one.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import counter
from lab.keepalive import KeepaliveCase
from lab.look import Sight
from lab.pools import told, with_http_client
from lab.servers import APACHE, APACHE_MODULES, documents, up
from lab.stage import Player

PORT, CONNECTIONS, IDLE, REQUESTS = 80, 20, (0.5, 0.8), 10
LIMIT = f"KeepAliveTimeout 60\nMaxKeepAliveRequests {REQUESTS}\n"


class KeepaliveLastRequestAnnounced(KeepaliveCase):
    kind = "look-alike"
    rules_unread = True
    window_seconds = 10

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = self.serve()
        arguments = ([self.server_pod.address], PORT, CONNECTIONS, IDLE)
        self.client = self.stage.play(self.client_pod, "orders", with_http_client, *arguments)

    def serve(self) -> Player:
        directory = documents(self.stage, "apache")
        place = {"directory": directory, "modules": APACHE_MODULES, "address": self.server_pod.address, "port": PORT}
        (directory / "apache2.conf").write_text(APACHE.format(**place) + LIMIT)
        command = ["apache2", "-D", "FOREGROUND", "-f", str(directory / "apache2.conf")]
        return up(self.stage, self.server_pod, self.stage.run(self.server_pod, "apache2", *command), PORT)

    def look(self) -> Sight:
        """About so many answers on each connection that is over; Apache gives one more. The log lacks the first."""
        sight, opened = self.answered(self.client), counter(self.client_pod.netns, "ActiveOpens")
        over, made = opened - CONNECTIONS, len(told(self.client, "answered")) + CONNECTIONS
        there = over >= 2 * CONNECTIONS and 0.8 * REQUESTS * over <= made <= 1.2 * REQUESTS * opened
        return Sight(sight.there and there, f"{sight.seen}; on {opened} connections, of which {over} are over")

    def expected(self) -> Expected:
        parts = (self.server.who(), self.client.who())
        return Expected(rule=None, cleared=("keepalive-mismatch",), innocent=parts, bystanders=parts)
