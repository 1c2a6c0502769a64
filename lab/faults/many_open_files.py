"""Ten thousand open files, and five sockets: a process with many descriptors has no part in the network's memory."""

from __future__ import annotations

import socket
from pathlib import Path

from lab.actor import rest
from lab.case import Case, Expected
from lab.look import Sight, connections, descriptors
from lab.servers import nginx

FILES = 10_000


def index(directory: str, address: str) -> None:
    files = []
    for number in range(FILES):
        files.append((Path(directory) / f"segment-{number % 500}").open("ab"))
    kept = [socket.create_connection((address, 80)) for _ in range(5)]
    assert kept
    rest()


class ManyOpenFiles(Case):
    kind = "look-alike"

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        directory = self.stage.directory / "index"
        directory.mkdir()
        self.files = f"{directory}/"
        self.client = self.stage.play(self.client_pod, "indexer", index, self.files, self.server_pod.address)

    def look(self) -> Sight:
        files = descriptors(self.client.who().pids, self.files)
        sockets = connections(self.client_pod.netns)
        return Sight(files == FILES and len(sockets) == 5, f"{files} open files, {sockets} sockets")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.client.who(), self.server.who()))
