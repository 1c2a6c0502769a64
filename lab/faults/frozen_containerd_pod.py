"""A reader in a real pod that somebody paused (`ctr task pause`, `docker pause`): the whole container is frozen.

Until then it read thirty downloads, a little at a time. Its state has to be said, with its pod; no program is to blame.
"""

from __future__ import annotations

from pathlib import Path

from lab.case import Case, Expected, Named
from lab.containerd import Containerd
from lab.faults.stopped_reader import DOWNLOADS, download, was_reading
from lab.look import Sight, never_read, wait_until
from lab.node import Node
from lab.servers import nginx


class FrozenContainerdPod(Case):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "server")
        (self.server_pod,) = self.node.pods
        self.server = nginx(self.stage, self.server_pod)
        self.containerd = Containerd(self.stage, self.node)
        self.client = self.containerd.play("downloader", "downloader", download, self.server_pod.address)
        wait_until(lambda: was_reading(self.server_pod), 20, self.stage.logs)
        self.containerd.pause(self.client)

    def look(self) -> Sight:
        netns = Path(f"/proc/{self.client.pid}/ns/net")
        full = never_read(netns, self.server_pod.netns, 80, at_least=DOWNLOADS)
        state = self.containerd.state(self.client)
        return Sight(full.there and state == "PAUSED", f"{full.seen}, containerd says {state}")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            also=("socket-leak",),
            innocent=(self.server.who(), self.client.who()),
            others=(Named(self.client.who(state="frozen"), ("reader",)),),
        )
