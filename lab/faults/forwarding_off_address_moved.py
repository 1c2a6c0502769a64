"""An address has moved to another pod, and a client still sends to the one which had it: that one is no router.

Its forwarding is off, as it should be. It drops what is not for it, and serves who means it.
"""

from __future__ import annotations

import json
import subprocess

from lab.case import Expected
from lab.connects import ANSWERED, GAVE_UP, call, calls, counter, serve
from lab.look import Sight
from lab.losses import PORT, LossCase
from lab.servers import up
from lab.stage import Pod, inside, ip

MOVED = "10.77.0.50"


class ForwardingOffAddressMoved(LossCase):
    kind = "look-alike"

    def start(self) -> None:
        client, beside, self.old, new = self.stage.pods("client", "beside", "old", "new")
        inside(self.old, "sysctl", "-qw", "net.ipv4.ip_forward=0")
        ip("-n", new.namespace, "addr", "add", f"{MOVED}/24", "dev", "eth0")
        remember = (
            "neighbour",
            "replace",
            MOVED,
            "lladdr",
            hardware_address(self.old),
            "dev",
            "eth0",
            "nud",
            "permanent",
        )
        ip("-n", client.namespace, *remember)
        self.servers = [self.stage.play(pod, name, serve, PORT) for pod, name in ((self.old, "store"), (new, "spare"))]
        up(self.stage, self.old, self.servers[0], PORT)
        up(self.stage, new, self.servers[1], PORT)
        self.client = self.stage.play(client, "checkout", call, [(MOVED, PORT)], 20, 2)
        self.other = self.stage.play(beside, "web", call, [(MOVED, PORT), (self.old.address, PORT)], 20, 2)

    def look(self) -> Sight:
        made, others, dropped = calls(self.client), calls(self.other), counter(self.old.netns, "InAddrErrors")
        there = dropped >= 40 and made.share(GAVE_UP) == 1.0 == others.share(ANSWERED)
        return Sight(there, f"{dropped} packets for others dropped; {made}; beside: {others}")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            cleared=("rp-filter", "forwarding-off", "nic-drops", "time-wait-overflow"),
            beside=("connect-timeout",),
            innocent=(self.client.who(), self.other.who(), *(server.who() for server in self.servers)),
        )


def hardware_address(pod: Pod) -> str:
    command = ["ip", "-n", pod.namespace, "-j", "link", "show", "dev", "eth0"]
    (link,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return str(link["address"])
