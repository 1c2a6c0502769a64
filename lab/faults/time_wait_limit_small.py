"""A pod may keep 50 connections in TIME_WAIT, and a program of it closes sixty a second: the rest are forgotten.

Another program of the same pod closes three a second, to the same server. Neither does anything unusual: it is the
limit.
"""

from __future__ import annotations

from lab.case import Expected, Named
from lab.connects import counter
from lab.load import ask_anew
from lab.look import Sight, connections
from lab.losses import LossCase
from lab.servers import nginx
from lab.stage import inside

LIMIT = 50


class TimeWaitLimitSmall(LossCase):
    kind = "fault"

    def start(self) -> None:
        self.pod, server = self.stage.pods("client", "server")
        inside(self.pod, "sysctl", "-qw", f"net.ipv4.tcp_max_tw_buckets={LIMIT}")
        self.server = nginx(self.stage, server)
        self.client = self.stage.play(self.pod, "caller", ask_anew, server.address, 80, 60)
        self.other = self.stage.play(self.pod, "seldom", ask_anew, server.address, 80, 3)

    def look(self) -> Sight:
        overflows = counter(self.pod.netns, "TCPTimeWaitOverflow")
        waiting = connections(self.pod.netns).where("TIME-WAIT")
        return Sight(overflows >= 50, f"{len(waiting)} wait, {overflows} found no room")

    def expected(self) -> Expected:
        return Expected(
            rule="time-wait-overflow",
            severities=("warning", "critical"),
            shapes=("small-limit",),
            cleared=("rp-filter", "forwarding-off", "nic-drops"),
            others=(Named(self.client.who(), ("holder",)),),
            innocent=(self.client.who(), self.other.who(), self.server.who()),
            bystanders=(self.other.who(), self.server.who()),
            mentions=("tcp_max_tw_buckets",),
        )
