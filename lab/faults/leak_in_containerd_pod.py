"""The leak of incident 4 in a real pod: containerd and runc have made its namespaces, its cgroups and its address.

Beside it the same program runs in another pod and reads each answer. The pod which leaks has to be named, by its uid.
"""

from __future__ import annotations

from http.client import HTTPConnection
from pathlib import Path
from typing import ClassVar

from lab.actor import every, rest
from lab.case import Case, Expected, Named
from lab.containerd import Containerd
from lab.look import Sight, never_read
from lab.node import Node
from lab.servers import nginx

TIMES = 70


def check_health(address: str, path: str) -> None:
    """The status is enough; a small answer comes with it, and of a large one the rest is never read."""
    responses = []
    for _ in every(0.5, TIMES):
        connection = HTTPConnection(address)
        connection.request("GET", path)
        responses.append(connection.getresponse())
        if path == "/small":
            responses.pop().read()
            connection.close()
    rest()


class LeakInContainerdPod(Case):
    kind = "fault"
    rules_unread = True
    host_network: ClassVar[bool] = False

    def start(self) -> None:
        self.node = Node(self.stage, "server")
        (self.server_pod,) = self.node.pods
        self.server = nginx(self.stage, self.server_pod)
        self.containerd = Containerd(self.stage, self.node)
        self.well = self.containerd.play("bar", "bar-health", check_health, self.server_pod.address, "/small")
        asks = (self.server_pod.address, "/large")
        self.client = self.containerd.play("foo", "foo-health", check_health, *asks, host_network=self.host_network)

    def look(self) -> Sight:
        """From inside of the container's own namespace, whichever that is."""
        sight = never_read(self.netns, self.server_pod.netns, 80, at_least=30)
        own = self.netns.stat().st_ino != self.node.host.netns.stat().st_ino
        return Sight(sight.there and own != self.host_network, f"{sight.seen}; pod {self.client.uid}, own netns: {own}")

    @property
    def netns(self) -> Path:
        return Path(f"/proc/{self.client.pid}/ns/net")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.client.who(),),
            innocent=(self.server.who(), self.well.who()),
            others=(Named(self.server.who(), ("holder", "victim")),),
            endpoint=(self.server_pod.address, 80),
        )
