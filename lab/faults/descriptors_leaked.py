"""A program that opens a file for each request it makes, and closes none: at its limit of 128 it can ask no more.

It says so in its own log and tries on. Nobody waits for it; who holds them is to be named all the same.
"""

from __future__ import annotations

from http.client import HTTPConnection
from pathlib import Path

from lab.actor import every
from lab.case import LIMIT_RULES, Case, Expected, Named
from lab.look import Sight, descriptors
from lab.servers import nginx

FILES = 128


def report(directory: str, address: str) -> None:
    """A spool file for each answer, and none of them closed."""
    spooled = []
    for number in every(0.02, times=1_000_000):
        try:
            connection = HTTPConnection(address, timeout=5)
            connection.request("GET", "/small")
            spooled.append((Path(directory) / f"report-{number}").open("wb"))
            spooled[-1].write(connection.getresponse().read())
            connection.close()
        except OSError as error:
            print(error, flush=True)


class DescriptorsLeaked(Case):
    kind = "fault"
    rules = LIMIT_RULES
    age_seconds = 2

    def start(self) -> None:
        client, server = self.stage.pods("client", "server")
        self.server = nginx(self.stage, server)
        self.files = self.stage.directory / "spool"
        self.files.mkdir()
        limit = ("prlimit", f"--nofile={FILES}")
        self.client = self.stage.play(client, "reporter", report, str(self.files), server.address, under=limit)

    def look(self) -> Sight:
        held = descriptors(self.client.who().pids, f"{self.files}/")
        failed = self.client.log.read_text(errors="replace").count("Too many open files")
        return Sight(held > FILES - 8 and failed > 20, f"{held} files open; {failed} times too many, says its log")

    def expected(self) -> Expected:
        return Expected(
            rule="descriptor-limit",
            severities=("warning", "critical"),
            shapes=("exhausted", "near"),
            tolerated=(self.client.who(),),
            innocent=(self.server.who(),),
            bystanders=(self.server.who(),),
            others=(Named(self.client.who(), ("culprit", "holder")),),
        )
