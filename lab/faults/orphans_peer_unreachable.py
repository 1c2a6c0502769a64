"""Orphans whose peer is gone without a word: nobody on this node can be named.

As before, but the collector's machine lost its power: its end of the connections is gone, and nothing answers. The
kernel resends for a minute or two. That there are orphans may be said; who wrote them has long exited, and the batch
program that still runs has nothing to do with it.
"""

from __future__ import annotations

from lab.case import Case, Expected
from lab.faults.orphans_peer_never_reads import PORT, collect, left_behind, push
from lab.look import Sight, connections, wait_until
from lab.servers import up
from lab.stage import end, inside


class OrphansPeerUnreachable(Case):
    kind = "fault"
    undecidable = True

    def start(self) -> None:
        self.batch_pod, self.far_pod = self.stage.pods("batch", "far")
        collector = self.stage.play(self.far_pod, "collector", collect)
        up(self.stage, self.far_pod, collector, PORT)
        self.batch = self.stage.play(self.batch_pod, "batch", push, self.far_pod.address)
        wait_until(lambda: left_behind(self.batch_pod).there, 30, lambda: left_behind(self.batch_pod).seen)
        inside(self.far_pod, "iptables", "-I", "OUTPUT", "-j", "DROP")
        inside(self.far_pod, "iptables", "-I", "INPUT", "-j", "DROP")
        self.stage.players.remove(collector)
        end(collector)

    def look(self) -> Sight:
        orphans = left_behind(self.batch_pod)
        far = connections(self.far_pod.netns)
        return Sight(orphans.there and len(far) == 0, f"{orphans.seen}; {far} left at the far end")

    def expected(self) -> Expected:
        return Expected(rule=None, also=("socket-leak",), innocent=(self.batch.who(),))
