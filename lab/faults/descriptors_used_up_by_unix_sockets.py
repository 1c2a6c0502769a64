"""An agent of the node cannot report over TCP any more, because of sockets that are in no network: those of unix.

It asks a container runtime on the same machine for its state, by a new unix socket each time, and closes none. At its
limit of 128 it can make no socket at all (EMFILE), so what fails is its report to a server, which is well and is no
longer asked. The runtime has a socket for each of the agent's, far from any limit, and keeps them because a server
should.
"""

from __future__ import annotations

import socket
from pathlib import Path

from lab.actor import every
from lab.case import LIMIT_RULES, Case, Expected, Named
from lab.load import ask_once
from lab.look import Sight, connections, descriptors, wait_until
from lab.servers import nginx

FILES = 128


def run_containers(path: str) -> None:
    kept = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(100)
        while True:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.sendall(b"3 containers run\n")
            kept.append(connection)


def watch_over(path: str, address: str) -> None:
    asked = []
    for _ in every(0.05, times=1_000_000):
        try:
            asked.append(connection := socket.socket(socket.AF_UNIX))
            connection.connect(path)
            connection.sendall(b"state?\n")
            connection.recv(100)
            ask_once(address, 80)
        except OSError as error:
            print(error, flush=True)


class DescriptorsUsedUpByUnixSockets(Case):
    kind = "fault"
    rules_unread = True
    rules = LIMIT_RULES

    def start(self) -> None:
        self.pod, runtime, server = self.stage.pods("agent", "runtime", "server")
        path = self.stage.directory / "runtime.sock"
        self.server = nginx(self.stage, server)
        self.runtime = self.stage.play(runtime, "runtime", run_containers, str(path))
        wait_until(Path(path).exists, 10, self.stage.logs)
        limit = ("prlimit", f"--nofile={FILES}")
        self.agent = self.stage.play(self.pod, "node-agent", watch_over, str(path), server.address, under=limit)

    def look(self) -> Sight:
        agent, runtime = (descriptors(one.who().pids, "socket:") for one in (self.agent, self.runtime))
        failed = self.agent.log.read_text(errors="replace").count("Too many open files")
        open_still = [c for c in connections(self.pod.netns) if c.state != "TIME-WAIT"]
        there = agent > FILES - 8 and runtime >= agent - 2 and failed > 20 and not open_still
        seen = f"sockets of the agent: {agent}, of the runtime: {runtime}; TCP: {len(open_still)} open"
        return Sight(there, f"{seen}; {failed} times too many, says the agent's log")

    def expected(self) -> Expected:
        return Expected(
            rule="descriptor-limit",
            also=("socket-leak",),
            severities=("warning", "critical"),
            tolerated=(self.agent.who(),),
            innocent=(self.runtime.who(), self.server.who()),
            bystanders=(self.server.who(),),
            others=(Named(self.agent.who(), ("culprit", "holder")),),
        )
