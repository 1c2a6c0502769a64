"""Incident 5 over IPv6 alone: behind one port of a pod are two programs, and only that of IPv6 closes early.

The service is an old gunicorn that listens on IPv4 and waits an hour for the next request. For IPv6 somebody has put a
HAProxy beside it, on the same port, which waits three seconds (http-keep-alive). Two clients with the same pool and the
same pauses call the same port of the same pod: the one that calls IPv4 never fails.
"""

from __future__ import annotations

from dataclasses import replace

from lab.case import Expected
from lab.keepalive import ENOUGH, PairCase, mismatch
from lab.look import Sight, connections, wait_until
from lab.pools import told, went, with_http_client
from lab.servers import HAPROXY, configured_haproxy, gunicorn
from lab.stage import Player


class KeepaliveOnePortTwoPrograms(PairCase):
    kind = "fault"
    rules_unread = True
    server_waits = (3.0, 3.0)
    idle = (3.2, 4.5)

    @property
    def address(self) -> str:
        return self.server_pod.address6

    def serve(self) -> Player:
        self.old = gunicorn(self.stage, self.server_pod, self.port, "--keep-alive", "3600")
        upstream = f"{self.server_pod.address}:{self.port}"
        plain = HAPROXY.format(port=self.port, upstream=upstream, mode="http", keep_alive="3s")
        text = plain.replace(f"bind :{self.port}", f"bind [::]:{self.port} v6only")
        proxy = configured_haproxy(self.stage, self.server_pod, self.port, text)
        wait_until(lambda: self.listeners() == 2, 20, self.stage.logs)
        return proxy

    def listeners(self) -> int:
        return len(connections(self.server_pod.netns).where("LISTEN", local_port=self.port))

    def start(self) -> None:
        super().start()
        arguments = ([self.server_pod.address], self.port, self.connections, self.idle)
        self.other = self.stage.play(self.client_pod, "invoices", with_http_client, *arguments)

    def look(self) -> Sight:
        sight = super().look()
        never_fails = len(told(self.other, "answered")) >= ENOUGH and not told(self.other, "failed")
        return Sight(sight.there and never_fails, f"{sight.seen}; {went(self.other)}")

    def expected(self) -> Expected:
        meant = mismatch(self.client, self.server, (self.address, self.port), self.watch, self.other)
        return replace(meant, innocent=(*meant.innocent, self.old.who()))
