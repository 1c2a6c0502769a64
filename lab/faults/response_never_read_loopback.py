"""A sidecar streams from its neighbour in the same pod with httpx, and neither reads nor closes the stream.

Client and server share one network namespace and talk over 127.0.0.1: nothing but the two ends of each connection
tells who does not read.
"""

from __future__ import annotations

from lab.actor import every, rest
from lab.case import Case, Expected, Named
from lab.look import Sight, never_read
from lab.servers import nginx


def follow() -> None:
    import httpx

    client = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=None))
    request = client.build_request("GET", "http://127.0.0.1/large")
    streams = [client.send(request, stream=True) for _ in every(0.2, times=30)]
    assert streams
    rest()


class ResponseNeverReadLoopback(Case):
    kind = "fault"

    def start(self) -> None:
        (self.pod,) = self.stage.pods("pod")
        self.server = nginx(self.stage, self.pod)
        self.client = self.stage.play(self.pod, "sidecar", follow)

    def look(self) -> Sight:
        return never_read(self.pod.netns, self.pod.netns, 80, at_least=25)

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
            others=(Named(self.server.who(), ("holder", "victim")),),
            endpoint=("127.0.0.1", 80),
        )
