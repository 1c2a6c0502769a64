"""Incident 5, and both ends would wait for an hour: a balancer of TCP between them closes what was silent for 3 s.

HAProxy in TCP mode knows no requests; its timeouts (`timeout client`, `timeout server`) end any silence, on both sides
at once. Who looks at the server finds an hour there, and rightly; the time that matters is the balancer's, and the
client, which does not look before it asks again, fails at the balancer's address.
"""

from __future__ import annotations

from lab.case import Expected
from lab.keepalive import WatchedCase, mismatch
from lab.look import Sight
from lab.pools import stopwatch, with_http_client
from lab.servers import HAPROXY, configured_haproxy, nginx

PORT, WAIT, IDLE = 8080, "3s", (3.3, 4.5)


class KeepaliveTcpProxy(WatchedCase):
    kind = "fault"
    rules_unread = True
    server_waits = (3.0, 3.0)

    def start(self) -> None:
        self.client_pod, self.proxy_pod, server_pod = self.stage.pods("client", "balancer", "server")
        address = self.proxy_pod.address
        self.server = nginx(self.stage, server_pod)
        patient = HAPROXY.format(port=PORT, upstream=f"{server_pod.address}:80", mode="tcp", keep_alive="1h")
        hasty = patient.replace("client 1h", f"client {WAIT}").replace("server 1h", f"server {WAIT}")
        self.proxy = configured_haproxy(self.stage, self.proxy_pod, PORT, hasty)
        self.watch = self.stage.play(self.client_pod, "stopwatch", stopwatch, address, PORT, 5)
        self.client = self.stage.play(self.client_pod, "orders", with_http_client, [address], PORT, 20, IDLE)

    def look(self) -> Sight:
        return self.measured(self.failing(self.client, self.client_pod.netns))

    def expected(self) -> Expected:
        return mismatch(self.client, self.proxy, (self.proxy_pod.address, PORT), self.watch, self.server)
