"""The leak of incident 4 over IPv6: requests with stream=True, whose body nobody reads or closes."""

from __future__ import annotations

from lab.actor import every, rest
from lab.case import Case, Expected, Named
from lab.look import Sight, never_read
from lab.servers import nginx


def check_health(address: str) -> None:
    import requests

    responses = [requests.get(f"http://[{address}]/large", stream=True, timeout=60) for _ in every(0.25, times=50)]
    assert responses
    rest()


class ResponseNeverReadIpv6(Case):
    kind = "fault"

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "foo-health6", check_health, self.server_pod.address6)

    def look(self) -> Sight:
        return never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=40)

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
            others=(Named(self.server.who(), ("holder", "victim")),),
            endpoint=(self.server_pod.address6, 80),
        )
