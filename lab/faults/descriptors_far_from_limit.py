"""A program with ten thousand open files, where it may have twice as many, and an nginx with three hundred connections.

Both have far more than others, and far less than they may.
"""

from __future__ import annotations

from lab.case import LIMIT_RULES, Case, Expected
from lab.faults.many_open_files import FILES, index
from lab.load import keep_idle
from lab.look import Sight, connections, descriptors
from lab.servers import nginx

CONNECTIONS = 300
LIMIT = 2 * FILES


class DescriptorsFarFromLimit(Case):
    kind = "look-alike"
    rules = LIMIT_RULES
    age_seconds = 0

    def start(self) -> None:
        client, keeper, self.server_pod = self.stage.pods("client", "keeper", "server")
        self.server = nginx(self.stage, self.server_pod)
        directory = self.stage.directory / "index"
        directory.mkdir()
        self.files = f"{directory}/"
        limit = ("prlimit", f"--nofile={LIMIT}")
        self.client = self.stage.play(client, "indexer", index, self.files, self.server_pod.address, under=limit)
        self.keeper = self.stage.play(keeper, "keeper", keep_idle, self.server_pod.address, 80, CONNECTIONS)

    def look(self) -> Sight:
        files = descriptors(self.client.who().pids, self.files)
        kept = len(connections(self.server_pod.netns).where("ESTAB", local_port=80))
        return Sight(files == FILES and kept >= CONNECTIONS, f"{files} of {LIMIT} files, {kept} connections")

    def expected(self) -> Expected:
        parts = (self.client.who(), self.keeper.who(), self.server.who())
        return Expected(rule=None, cleared=("descriptor-limit",), innocent=parts, bystanders=parts)
