"""The node forwards IPv4 and no longer IPv6, since somebody wanted its uplink to take router advertisements again.

A host that forwards IPv6 ignores those, and the answer found by a search was net.ipv6.conf.all.forwarding=0. What pods
ask of the outside over IPv6 is dropped on the node without a word; the same server answers over IPv4, and ip_forward
reads 1. Programs that try both take it for slowness, those that know IPv6 alone for a dead server.
"""

from __future__ import annotations

import subprocess

from lab.case import Expected, Named
from lab.connects import ANSWERED, GAVE_UP, call, calls
from lab.look import Sight
from lab.losses import LossCase
from lab.node import OUTSIDE, OUTSIDE6, Node
from lab.servers import nginx
from lab.stage import Pod, inside

SETTING = "net.ipv6.conf.all.forwarding"
PORT, PER_SECOND, LIMIT_SECONDS = 80, 10, 2


def counter6(place: Pod, name: str) -> int:
    """One of /proc/net/snmp6."""
    command = ["nsenter", f"--net={place.netns}", "cat", "/proc/net/snmp6"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return int(dict(line.split() for line in lines)[name])


class ForwardingOffIpv6Only(LossCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "client", "beside")
        client, beside = self.node.pods
        self.off, self.answered = False, 0
        self.server = nginx(self.stage, self.node.outside, PORT)
        self.client = self.stage.play(client, "checkout", call, [(OUTSIDE6, PORT)], PER_SECOND, LIMIT_SECONDS)
        self.other = self.stage.play(beside, "web", call, [(OUTSIDE, PORT)], PER_SECOND, LIMIT_SECONDS)

    def look(self) -> Sight:
        """It was well before."""
        made, others = calls(self.client), calls(self.other)
        dropped = counter6(self.node.host, "Ip6InAddrErrors")
        before, self.answered = self.answered, len(made.where(ANSWERED))
        if self.answered >= 10 and not self.off:
            inside(self.node.host, "sysctl", "-qw", f"{SETTING}=0")
            self.off = True
        enough = dropped >= 40 and len(made.where(GAVE_UP)) >= 10
        there = self.off and enough and self.answered == before and others.share(ANSWERED) >= 0.95
        return Sight(there, f"{dropped} packets of IPv6 for others dropped; {made}; over IPv4: {others}")

    def expected(self) -> Expected:
        return Expected(
            rule="forwarding-off",
            severities=("warning", "critical"),
            cleared=("rp-filter", "nic-drops", "time-wait-overflow"),
            others=(Named(self.node.host.who(), ("holder", "victim", "culprit")),),
            innocent=(self.client.who(), self.other.who(), self.server.who()),
            bystanders=(self.other.who(),),
            mentions=(SETTING,),
        )
