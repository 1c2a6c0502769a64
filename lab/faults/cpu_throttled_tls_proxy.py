"""TLS handshakes take a second or time out, while TCP itself connects at once, as in incident 4; memory is not short.

HAProxy ends TLS in a pod that may use a twentieth of a CPU ("50m", enough for what it passes on), with a key of 3072
bits: after a few signatures its quota is used up, and it stands still for the rest of each tenth of a second. There are
sixteen clients, none of which keeps a connection. The CPUs are nearly idle, and nginx behind it has nothing to do.
"""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from threading import Thread

from lab.actor import rest
from lab.case import Case, Expected, Named
from lab.connects import GAVE_UP, calls, log
from lab.cpu_quota import Quota
from lab.faults.keepalive_tls import trusting
from lab.look import Sight
from lab.servers import HAPROXY, configured_haproxy, nginx

PORT, CPUS, CLIENTS, LIMIT_SECONDS = 443, 0.05, 16, 3.0
CONNECTED, SHAKEN = "connected", "handshake"
ASK = b"GET /small HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"


def rsa_certificate(directory: Path) -> Path:
    """Key and certificate in one file: where both are to go to the same, openssl appends."""
    path = directory / "rsa.pem"
    made = ("-x509", "-newkey", "rsa:3072", "-nodes", "-days", "2", "-subj", "/CN=lab")
    command = ["openssl", "req", *made, "-keyout", str(path), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def come_anew(address: str) -> None:
    """Each client comes again on a new connection, without a ticket, once it was answered or has given up."""
    context = trusting()

    def come_again() -> None:
        while True:
            begin = time.monotonic()
            connection = socket.create_connection((address, PORT), timeout=LIMIT_SECONDS)
            log(CONNECTED, time.monotonic() - begin)
            begin = time.monotonic()
            try:
                with connection, context.wrap_socket(connection) as secured:
                    log(SHAKEN, time.monotonic() - begin)
                    secured.sendall(ASK)
                    while secured.recv(4096):
                        pass
            except OSError:
                log(GAVE_UP, time.monotonic() - begin)

    for _ in range(CLIENTS):
        Thread(target=come_again).start()
    rest()


class CpuThrottledTlsProxy(Case):
    kind = "fault"
    rules = ("cpu-throttled", "socket-leak", "tcp-memory")
    rules_unread = True
    age_seconds = 3

    def start(self) -> None:
        client, proxy, server = self.stage.pods("client", "proxy", "server")
        self.quota = Quota(self.stage, cpus=CPUS)
        self.server = nginx(self.stage, server)
        plain = HAPROXY.format(port=PORT, upstream=f"{server.address}:80", mode="http", keep_alive="1h")
        tls = f"bind :{PORT} ssl crt {rsa_certificate(self.stage.directory)}"
        self.proxy = configured_haproxy(self.stage, proxy, PORT, plain.replace(f"bind :{PORT}", tls))
        self.quota.take(self.proxy)
        self.client = self.stage.play(client, "payments", come_anew, proxy.address)

    def look(self) -> Sight:
        made, throttled = calls(self.client), self.quota.throttled()
        tried = len(made.where(SHAKEN)) + len(made.where(GAVE_UP))
        late = len(made.where(SHAKEN, at_least_seconds=0.25)) + len(made.where(GAVE_UP))
        connected, kept_waiting = made.where(CONNECTED), made.where(CONNECTED, at_least_seconds=0.1)
        there = late >= 30 and late > 0.5 * tried and len(kept_waiting) < 0.2 * len(connected) and throttled > 20
        return Sight(there, f"{made}; {late} of {tried} handshakes late; throttled {throttled} times")

    def expected(self) -> Expected:
        """Who gives up closes a connection on which the answer still comes: that may be said of the client."""
        return Expected(
            rule="cpu-throttled",
            cleared=("tcp-memory",),
            elsewhere=(("resets", self.client.who()),),
            innocent=(self.proxy.who(), self.server.who(), self.client.who()),
            others=(Named(self.proxy.who(), ("victim",)),),
        )
