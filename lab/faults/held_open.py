"""The health check of incident 4 with a small answer: never closed, but nothing unread either.

httpx hands out the response as a stream; the whole body came with the headers, so no byte waits anywhere. The response
is not closed, its connection can therefore not go back to the pool, and the next request opens another: twenty a
second. Only the growth tells this from a busy client.
"""

from __future__ import annotations

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.look import Sight, connections, sockstat
from lab.servers import nginx


def check_health(address: str) -> None:
    import httpx

    client = httpx.Client(limits=httpx.Limits(max_connections=None, max_keepalive_connections=20))
    request = client.build_request("GET", f"http://{address}/small")
    responses = [client.send(request, stream=True) for _ in every(0.05, times=5000)]
    assert responses
    rest()


class HeldOpen(Case):
    kind = "fault"
    window_seconds = 60

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "foo-probe", check_health, self.server_pod.address)

    def look(self) -> Sight:
        held = connections(self.client_pod.netns).where("ESTAB", peer_port=80)
        return Sight(
            len(held) >= 100 and not held.unread,
            f"{held} established, {len(held.unread)} of them with unread data, sockstat alloc {sockstat()['alloc']}",
        )

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("held-open",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
            endpoint=(self.server_pod.address, 80),
        )
