"""More than a thousand connections in TIME_WAIT, with room for more. Once there was little, and some found none."""

from __future__ import annotations

from lab.case import Expected
from lab.connects import counter
from lab.load import ask_anew
from lab.look import Sight, connections
from lab.losses import LossCase
from lab.servers import nginx
from lab.stage import Pod, inside

SMALL, LARGE = 20, 16_384


class TimeWaitLimitRaised(LossCase):
    kind = "look-alike"

    def start(self) -> None:
        self.pod, server = self.stage.pods("client", "server")
        self.raised = False
        limit(self.pod, SMALL)
        self.server = nginx(self.stage, server)
        self.client = self.stage.play(self.pod, "caller", ask_anew, server.address, 80, 150)

    def look(self) -> Sight:
        overflows = counter(self.pod.netns, "TCPTimeWaitOverflow")
        waiting = connections(self.pod.netns).where("TIME-WAIT")
        if overflows >= 30 and not self.raised:
            limit(self.pod, LARGE)
            self.raised = True
        return Sight(self.raised and len(waiting) >= 1000, f"{len(waiting)} wait; {overflows} found no room before")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            cleared=("rp-filter", "forwarding-off", "nic-drops", "time-wait-overflow"),
            innocent=(self.client.who(), self.server.who()),
        )


def limit(pod: Pod, connections: int) -> None:
    inside(pod, "sysctl", "-qw", f"net.ipv4.tcp_max_tw_buckets={connections}")
