"""Two leaks at once, in two pods, of different size: both are named, the bigger one first."""

from __future__ import annotations

from http.client import HTTPConnection

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, never_read
from lab.servers import nginx


def check_health(address: str, times: int) -> None:
    responses = []
    for _ in every(0.1, times):
        connection = HTTPConnection(address)
        connection.request("GET", "/large")
        responses.append(connection.getresponse())
    rest()


class TwoLeaks(Case):
    kind = "fault"

    def start(self) -> None:
        self.big_pod, self.small_pod, self.server_pod = self.stage.pods("big", "small", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.small = self.stage.play(self.small_pod, "small-leak", check_health, self.server_pod.address, 20)
        self.big = self.stage.play(self.big_pod, "big-leak", check_health, self.server_pod.address, 50)

    def look(self) -> Sight:
        big = never_read(self.big_pod.netns, self.server_pod.netns, 80, at_least=50)
        small = never_read(self.small_pod.netns, self.server_pod.netns, 80, at_least=20)
        return Sight(big.there and small.there, f"big: {big.seen}; small: {small.seen}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.big.who(), self.small.who()),
            ordered=True,
            innocent=(self.server.who(),),
        )
