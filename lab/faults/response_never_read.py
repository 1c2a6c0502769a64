"""A health check asks for a large answer and never reads it (incident 4).

Every half second it makes an HTTP request with http.client, looks at the status, and forgets the response. The server
can send no more than the client's receive buffer takes, so most of the memory waits in the server's send queues: nginx
holds twenty times as much as the client, and has done nothing wrong. Restarting nginx would "fix" it for a day.
"""

from __future__ import annotations

from http.client import HTTPConnection

from lab.actor import every, rest
from lab.case import Case, Expected, Named
from lab.look import Sight, never_read
from lab.servers import nginx


def check_health(address: str) -> None:
    responses = []
    for _ in every(0.5, times=70):
        connection = HTTPConnection(address)
        connection.request("GET", "/large")
        responses.append(connection.getresponse())  # the status is enough, thought the author
    rest()


class ResponseNeverRead(Case):
    kind = "fault"
    quick = True

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "foo-health", check_health, self.server_pod.address)

    def look(self) -> Sight:
        return never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=30)

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
            others=(Named(self.server.who(), ("holder", "victim")),),
            endpoint=(self.server_pod.address, 80),
        )
