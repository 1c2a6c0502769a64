"""A probe of a certificate: it shakes hands by TLS ten times a second and closes. Each connection ends by a reset.

The server has sent two session tickets after the handshake, the probe never reads them, and the kernel resets what is
closed with unread data. Both sides have sent some kilobytes by then, and the server has answered no request; but none
was made. Who asks the same server in earnest beside it is always answered.
"""

from __future__ import annotations

import http.client
import socket
import time

from lab.actor import every
from lab.case import Expected
from lab.connects import ANSWERED, NEVER, ConnectCase, calls, counter, log, name_of
from lab.faults.keepalive_tls import PORT, nginx_tls, trusting
from lab.look import Sight
from lab.node import Node
from lab.pools import ask


def probe(address: str) -> None:
    context = trusting()
    for _ in every(0.1, times=int(NEVER)):
        with context.wrap_socket(socket.create_connection((address, PORT))):
            time.sleep(0.02)  # to look at the certificate


def shop(address: str) -> None:
    for _ in every(0.1, times=int(NEVER)):
        connection = http.client.HTTPSConnection(address, PORT, timeout=5, context=trusting())
        try:
            ask(connection)
            log(ANSWERED, 0)
        except OSError as error:
            log(name_of(error), 0)
        finally:
            connection.close()


class ResetTlsHealthChecks(ConnectCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "probe", "client", "server")
        self.probe_pod, client, server = self.node.pods
        self.server = nginx_tls(self.stage, server, "1h")
        self.probe = self.stage.play(self.probe_pod, "cert-exporter", probe, server.address)
        self.client = self.stage.play(client, "shop", shop, server.address)

    def look(self) -> Sight:
        aborted, made = counter(self.probe_pod.netns, "TCPAbortOnClose"), calls(self.client)
        there = aborted >= 30 and len(made) >= 30 and made.share(ANSWERED) == 1
        return Sight(there, f"the probe has closed {aborted} with unread data; the other client: {made}")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.probe.who(), self.client.who()))
