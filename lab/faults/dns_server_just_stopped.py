"""The same on a node that tracks connections, a moment after the server was stopped.

Hundreds of questions that were answered just before are still in the table: they say nothing of the server as it is.
"""

from __future__ import annotations

from pathlib import Path

from lab.faults.dns_server_stopped import DnsServerStopped
from lab.node import Node
from lab.stage import Pod


class DnsServerJustStopped(DnsServerStopped):
    age_seconds = 0

    @property
    def enter(self) -> Path | None:
        return self.node.host.netns

    def make_pods(self, *names: str) -> tuple[Pod, ...]:
        self.node = Node(self.stage, *names)
        return self.node.pods
