"""A reader in a frozen cgroup (docker pause, a checkpoint): as with a stopped one, its state has to be said."""

from __future__ import annotations

from lab.case import Case, Expected, Named
from lab.faults.stopped_reader import DOWNLOADS, download, was_reading
from lab.look import Sight, never_read, wait_until
from lab.servers import nginx


class FrozenReader(Case):
    kind = "look-alike"

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "downloader", download, self.server_pod.address)
        wait_until(lambda: was_reading(self.server_pod), 20, self.stage.logs)
        self.freezer = self.stage.freezer()
        self.freezer.freeze(self.client.pid)

    def look(self) -> Sight:
        full = never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=DOWNLOADS)
        frozen = self.freezer.frozen()
        return Sight(full.there and frozen, f"{full.seen}, {self.freezer.directory} frozen: {frozen}")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            also=("socket-leak",),
            innocent=(self.server.who(), self.client.who()),
            others=(Named(self.client.who(state="frozen"), ("reader",)),),
        )
