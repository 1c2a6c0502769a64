"""Incident 5 over TLS: nginx says goodbye (close_notify) and closes what was idle for 3 s; the pool does not look.

The goodbye is a record of its own, sent when the idle time is over: the last byte on the connection is as old as the
close, and lies unread at the client. What was asked and answered in between is encrypted; only times and sizes tell.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable

from lab.keepalive import PairCase
from lab.load import REQUEST
from lab.pools import Range, ask, say, spread
from lab.servers import NGINX, certificate, documents, up
from lab.stage import Player, Pod, Stage

PORT = 443


def nginx_tls(stage: Stage, pod: Pod, keep_alive: str) -> Player:
    directory, pem = documents(stage, f"nginx-tls-{pod.namespace}"), certificate(stage.directory)
    plain = NGINX.format(directory=directory, port=PORT, keep_alive=keep_alive, files=16_000)
    keys = f"ssl_protocols TLSv1.3; ssl_certificate {pem}; ssl_certificate_key {pem}; root "
    (directory / "nginx.conf").write_text(plain.replace("backlog=", "ssl backlog=").replace("root /", f"{keys}/"))
    command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
    return up(stage, pod, stage.run(pod, "nginx", *command), PORT)


def trusting() -> ssl.SSLContext:
    """Nobody checks the lab's certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def keep_pool(address: str, connections: int, idle: Range) -> None:
    def one() -> Callable[[], None]:
        connection = http.client.HTTPSConnection(address, PORT, timeout=10, context=trusting())
        return lambda: ask(connection)

    spread(connections, idle, lambda: [one()])


def measure(address: str) -> None:
    """From the answer until the goodbye, over and over."""
    context = trusting()
    while True:
        with context.wrap_socket(socket.create_connection((address, PORT))) as connection:
            connection.sendall(REQUEST)
            connection.recv(4096)
            last = time.monotonic()
            while connection.recv(4096):
                last = time.monotonic()
            say("closed", time.monotonic() - last)


class KeepaliveTls(PairCase):
    kind = "fault"
    rules_unread = True
    port = PORT
    idle = (3.3, 4.5)
    server_waits = (3.0, 3.0)

    def serve(self) -> Player:
        return nginx_tls(self.stage, self.server_pod, "3s")

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = self.serve()
        self.watch = self.stage.play(self.client_pod, "stopwatch", measure, self.address)
        arguments = (self.address, self.connections, self.idle)
        self.client = self.stage.play(self.client_pod, "orders", keep_pool, *arguments)
