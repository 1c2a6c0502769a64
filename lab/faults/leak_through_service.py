"""The leak of incident 4 through a Service: client and server know each other by different addresses.

The client's connections go to the Service's address and port, which the node translates; nginx listens on another port,
and sees them come from the client. The endpoint that the client's author knows is the Service.
"""

from __future__ import annotations

from lab.case import Case, Expected
from lab.faults.response_never_read import check_health
from lab.look import Sight, connections
from lab.node import Node
from lab.servers import nginx

SERVICE, PORT = "10.96.0.20", 8080
ENOUGH = 30


class LeakThroughService(Case):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "client", "server")
        client, server = self.node.pods
        self.server = nginx(self.stage, server, PORT)
        self.node.service(SERVICE, 80, (server.address, PORT))
        self.client = self.stage.play(client, "foo-health", check_health, SERVICE)

    def look(self) -> Sight:
        client, server = self.node.pods
        unread = connections(client.netns).where(peer_port=80).unread
        unsent = connections(server.netns).where(local_port=PORT).unsent
        there = len(unread) >= ENOUGH and len(unsent) >= ENOUGH
        return Sight(there, f"client: {unread} unread on port 80, nginx: {unsent} with full send queues on port {PORT}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(),),
            endpoint=(SERVICE, 80),
        )
