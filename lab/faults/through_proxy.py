"""The leak of incident 4 through a proxy: client → haproxy (TCP) → nginx.

The client does not read, so haproxy cannot write, so haproxy stops reading from nginx, so nginx cannot write either.
haproxy has unread data on one side and full send queues on the other, and is as innocent as nginx.
"""

from __future__ import annotations

from lab.case import Case, Expected, Named
from lab.faults.response_never_read import check_health
from lab.look import Sight, connections, never_read
from lab.servers import haproxy, nginx


class ThroughProxy(Case):
    kind = "fault"
    quick = True
    age_seconds = 12

    def start(self) -> None:
        self.client_pod, self.proxy_pod, self.server_pod = self.stage.pods("client", "proxy", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.proxy = haproxy(self.stage, self.proxy_pod, 8080, f"{self.server_pod.address}:80")
        self.client = self.stage.play(self.client_pod, "foo-health", check_health, f"{self.proxy_pod.address}:8080")

    def look(self) -> Sight:
        near = never_read(self.client_pod.netns, self.proxy_pod.netns, 8080, at_least=30)
        far = never_read(self.proxy_pod.netns, self.server_pod.netns, 80, at_least=20)
        total = connections(self.proxy_pod.netns)
        return Sight(
            near.there and far.there,
            f"client and proxy: {near.seen}; proxy and nginx: {far.seen}; proxy holds {total}",
        )

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.client.who(),),
            innocent=(self.proxy.who(), self.server.who()),
            others=(Named(self.proxy.who(), ("holder", "victim")),),
            endpoint=(self.proxy_pod.address, 8080),
        )
