"""In one pod an index with ten thousand open files, and a mirror which has forgotten sixty downloads.

By descriptors the index is the one to suspect, with 160 times as many, and both ask the same server. But its files are
on disk, and its five connections are read. The mirror opens addresses with urllib, looks at the status, and neither
reads nor closes what it got.
"""

from __future__ import annotations

from urllib.request import urlopen

from lab.actor import every, rest
from lab.case import Case, Expected, Named
from lab.faults.many_open_files import FILES, index
from lab.look import Sight, connections, descriptors, never_read
from lab.servers import nginx

FORGOTTEN = 60


def mirror(address: str) -> None:
    answers = [urlopen(f"http://{address}/large") for _ in every(0.25, times=FORGOTTEN)]
    assert all(answer.status == 200 for answer in answers)
    rest()


class LeakBesideManyOpenFiles(Case):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.pod, self.server_pod = self.stage.pods("archive", "server")
        self.server = nginx(self.stage, self.server_pod)
        directory = self.stage.directory / "index"
        directory.mkdir()
        self.files = f"{directory}/"
        self.indexer = self.stage.play(self.pod, "indexer", index, self.files, self.server_pod.address)
        self.mirror = self.stage.play(self.pod, "mirror", mirror, self.server_pod.address)

    def look(self) -> Sight:
        leak = never_read(self.pod.netns, self.server_pod.netns, 80, at_least=FORGOTTEN)
        files, sockets = (descriptors(self.indexer.who().pids, kind) for kind in (self.files, "socket:"))
        forgotten = descriptors(self.mirror.who().pids, "socket:")
        all_of_them = len(connections(self.pod.netns).where("ESTAB", peer_port=80))
        there = leak.there and files == FILES and (sockets, forgotten, all_of_them) == (5, FORGOTTEN, FORGOTTEN + 5)
        return Sight(there, f"indexer: {files} files, {sockets} sockets; mirror: {forgotten} sockets; {leak.seen}")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            shapes=("response-never-read",),
            culprits=(self.mirror.who(),),
            innocent=(self.indexer.who(), self.server.who()),
            bystanders=(self.indexer.who(),),
            others=(Named(self.server.who(), ("holder", "victim")),),
            endpoint=(self.server_pod.address, 80),
        )
