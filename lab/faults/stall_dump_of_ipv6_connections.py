"""Packets stalled as in incident 2, on a node of IPv6: pings of ICMPv6 wait for tens of milliseconds and more.

A script in a pod counts marked connections: it starts conntrack(8) twice a second, with a mark that none has. All of
the table's 200,000 entries are of IPv6, and while the kernel walks them in one call, with softirqs off, whatever that
CPU receives has to wait. Nothing here speaks IPv4: who looks at IPv4 alone sees a node at rest.
"""

from __future__ import annotations

from lab.arrivals import steer
from lab.containers import PodCgroup
from lab.ctnetlink import ENTRIES, start_again_and_again
from lab.faults import stall_dump_by_short_lived
from lab.node import Node
from lab.stage import Pod, Stage, inside

EVERY_SECONDS = 0.4
MARKED = ["--family", "ipv6", "--mark", "77"]
ENTRY = (
    "-A -p tcp -s fd10::{:x} -d 2001:db8::7 --sport {} --dport 443 --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 3600\n"
)


def fill(stage: Stage, place: Pod) -> None:
    """With connections of pods that are elsewhere."""
    stage.conntrack_max(2 * ENTRIES)
    file = stage.directory / "entries"
    file.write_text("".join(ENTRY.format(1 + n // 100, 1024 + n % 60000) for n in range(ENTRIES)))
    inside(place, "conntrack", "--load-file", str(file))


class StallDumpOfIpv6Connections(stall_dump_by_short_lived.StallDumpByShortLived):
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "probe", "shop")
        fill(self.stage, self.node.host)
        self.ping_all_the_time(*self.node.pods, six=True)
        steer(self.node.pods[0], "eth0", self.sender)
        pod = PodCgroup(self.stage)
        self.script = self.stage.play(self.node.host, "count-marked", start_again_and_again, MARKED, EVERY_SECONDS)
        pod.add(self.script.pid)
