"""A resolver of its own asks two name servers at once, each time from a new UDP socket, and closes none.

The first answer is taken, the second stays unread in its socket for ever. UDP has no connections, so there is none to
see; each name is found within a millisecond, no buffer is full, and both servers are well. Twenty sockets more each
second are all that is wrong.
"""

from __future__ import annotations

import socket
import subprocess

from lab.actor import every, rest
from lab.case import QUEUE_RULES, Case, Expected
from lab.datagrams import counters
from lab.load import A, question
from lab.look import Sight, descriptors
from lab.names import PORT
from lab.servers import dnsmasq


def resolve(servers: list[str]) -> None:
    kept = []
    for _ in every(0.05, times=5000):
        kept.append(asker := socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for server in servers:
            asker.sendto(question(A), (server, PORT))
        asker.recv(512)
    rest()


class UdpSocketForEachQuestion(Case):
    kind = "fault"
    rules_unread = True
    rules = QUEUE_RULES
    window_seconds = 30

    def start(self) -> None:
        self.pod, *servers = self.stage.pods("crawler", "dns-a", "dns-b")
        self.servers = [dnsmasq(self.stage, pod) for pod in servers]
        self.client = self.stage.play(self.pod, "crawler", resolve, [pod.address for pod in servers])

    def unread(self) -> list[int]:
        """Bytes in each UDP socket of the pod, as ss shows them."""
        command = ["nsenter", f"--net={self.pod.netns}", "ss", "-Huan"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return [int(line.split()[1]) for line in lines]

    def look(self) -> Sight:
        unread, held, taken = self.unread(), descriptors(self.client.who().pids, "socket:"), counters(self.pod)
        waiting = sum(size > 0 for size in unread)
        there = held >= 100 and waiting >= 0.9 * len(unread) >= 90 and taken.no_room == 0
        return Sight(there, f"{held} sockets held; ss: {len(unread)} of UDP, {waiting} with unread data; {taken}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            severities=("info", "warning"),  # within half a minute, and they take little
            cleared=("udp-buffers",),
            culprits=(self.client.who(),),
            innocent=tuple(server.who() for server in self.servers),
        )
