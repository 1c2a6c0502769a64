"""Thirty downloads by curl stand still, and curl is well: it writes into pipes that its parent never reads.

A script starts them all with stdout=PIPE and then waits for the first to end, which subprocess's manual warns of: a
pipe takes 64 kB, and nobody reads from it before the wait is over, which it never is. So each curl hangs in its write,
leaves its socket unread, and nginx cannot send on. Each has one socket only, and the script, whose fault it is, none.
"""

from __future__ import annotations

import subprocess

from lab.actor import every
from lab.case import Case, Expected, Named
from lab.host import short_of_tcp_memory
from lab.look import Sight, connections, descriptors, never_read
from lab.servers import nginx
from lab.stage import session
from lab.who import Who

DOWNLOADS = 30


def fetch_all(address: str) -> None:
    fetching = []
    for _ in every(0.2, times=DOWNLOADS):
        command = ["curl", "--silent", f"http://{address}/large"]
        fetching.append(subprocess.Popen(command, stdout=subprocess.PIPE))
    for one in fetching:
        one.wait()
        print(len(one.communicate()[0]), flush=True)


class CurlIntoPipesNeverRead(Case):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.script = self.stage.play(self.client_pod, "nightly-import", fetch_all, self.server_pod.address)
        self.acked = 0

    @property
    def curls(self) -> frozenset[int]:
        return frozenset(session(self.script.pid)) - {self.script.pid}

    def look(self) -> Sight:
        """All are there, no byte moves from look to look, and the script has the pipes and no socket."""
        sight = never_read(self.client_pod.netns, self.server_pod.netns, 80, at_least=DOWNLOADS)
        served = connections(self.server_pod.netns).where("ESTAB", local_port=80)
        before, self.acked = self.acked, sum(c.acked for c in served)
        own, pipes = (descriptors(frozenset({self.script.pid}), kind) for kind in ("socket:", "pipe:"))
        there = sight.there and len(self.curls) == DOWNLOADS and own == 0 and pipes >= DOWNLOADS
        seen = f"{sight.seen}; {len(self.curls)} curls; the script has {own} sockets and {pipes} pipes"
        return Sight(there and self.acked == before, f"{seen}; {self.acked - before} bytes acked since")

    def expected(self) -> Expected:
        """Whoever names curl leads to its pipe; to ask for the script would be to ask for more than sockets tell."""
        curls = Who("curl", self.curls)
        return Expected(
            rule="socket-leak",
            also=("tcp-memory",) if short_of_tcp_memory() else (),
            severities=("info", "warning"),  # thirty, and they become no more
            tolerated=(curls, Who(self.script.comm, frozenset({self.script.pid}))),
            innocent=(self.server.who(),),
            others=(Named(curls, ("culprit", "holder", "victim", "peer", "reader")),),
        )
