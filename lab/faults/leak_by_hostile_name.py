"""A leak by a program whose name is made to deceive: a line break, then escape sequences that wipe the line before.

On a terminal that prints the name as it is, the culprit vanishes and "web" stands in its place. Beside it a program is
really called web, asks the same server ten times a second, and reads each answer: that one must not be blamed.
"""

from __future__ import annotations

import os
from pathlib import Path

from lab.case import Case, Expected, Named
from lab.faults.response_never_read import check_health
from lab.load import ask_anew
from lab.look import Sight, descriptors, never_read
from lab.servers import nginx

NAME = "ok\n\x1b[1A\x1b[2Kweb"


class LeakByHostileName(Case):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        address = self.server_pod.address
        self.server = nginx(self.stage, self.server_pod)
        self.web = self.stage.play(self.client_pod, "web", ask_anew, address, 80, 10)
        self.client = self.stage.play(self.client_pod, NAME, check_health, address)

    def look(self) -> Sight:
        """Both are in one pod: the leak is whose process has the sockets."""
        sight = never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=30)
        name = os.fsdecode(Path(f"/proc/{self.client.pid}/comm").read_bytes())
        held, others = (descriptors(player.who().pids, "socket:") for player in (self.client, self.web))
        there = sight.there and name == f"{NAME}\n" and held >= 30 > others
        return Sight(there, f"{sight.seen}; {name!r} holds {held} sockets, web {others}")

    def expected(self) -> Expected:
        """By its process id: how a diagnosis makes such a name harmless is left to it."""
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            tolerated=(self.client.who(),),
            mentions=(f'"pid": {self.client.pid}', '"role": "culprit"'),
            innocent=(self.web.who(), self.server.who()),
            bystanders=(self.web.who(),),
            others=(Named(self.server.who(), ("holder", "victim")),),
            endpoint=(self.server_pod.address, 80),
        )
