"""A leak behind a proxy that is well and heavily used: eight hundred browsers, and one health check that never reads.

All of them come through the same haproxy, which holds most sockets of the node and, for the health check alone, unread
data on one side and full queues on the other.
"""

from __future__ import annotations

from lab.case import Case, Expected
from lab.faults.busy_server import crowd
from lab.faults.response_never_read import check_health
from lab.host import short_of_tcp_memory
from lab.look import Sight, connections, never_read
from lab.servers import haproxy, nginx

BROWSERS = 800
PORT = 8080


class LeakBesideBusyProxy(Case):
    kind = "fault"
    rules_unread = True
    window_seconds = 10
    age_seconds = 12

    def start(self) -> None:
        self.browser_pod, self.foo_pod, self.proxy_pod, self.server_pod = self.stage.pods(
            "browsers", "foo", "proxy", "server"
        )
        self.server = nginx(self.stage, self.server_pod)
        self.proxy = haproxy(self.stage, self.proxy_pod, PORT, f"{self.server_pod.address}:80")
        at = self.proxy_pod.address
        self.browsers = self.stage.play(self.browser_pod, "browsers", crowd, at, PORT, BROWSERS)
        self.client = self.stage.play(self.foo_pod, "foo-health", check_health, f"{at}:{PORT}")

    def look(self) -> Sight:
        leak = never_read(self.foo_pod.netns, self.proxy_pod.netns, PORT, at_least=30)
        far = never_read(self.proxy_pod.netns, self.server_pod.netns, 80, at_least=20)
        busy = connections(self.browser_pod.netns).where("ESTAB", peer_port=PORT)
        there = leak.there and far.there and len(busy) == BROWSERS
        return Sight(there, f"leak: {leak.seen}; proxy and nginx: {far.seen}; browsers: {busy}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            also=("tcp-memory",) if short_of_tcp_memory() else (),
            shapes=("response-never-read",),
            culprits=(self.client.who(),),
            innocent=(self.proxy.who(), self.server.who(), self.browsers.who()),
            endpoint=(self.proxy_pod.address, PORT),
        )
