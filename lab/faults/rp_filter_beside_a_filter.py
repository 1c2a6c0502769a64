"""A pod checks the way back strictly, and has dropped packets for it once. Now a filter of its own drops the calls.

The caller has been given the right address since. It also calls one which nobody has.
"""

from __future__ import annotations

import re
import subprocess

from lab.case import Expected
from lab.connects import GAVE_UP, call, calls, counter, serve
from lab.look import Sight
from lab.losses import FAR, PORT, SECOND, LossCase, check_way_back, second_network
from lab.servers import up
from lab.stage import Pod, inside, ip

NOBODY = "10.79.0.77"


class RpFilterBesideAFilter(LossCase):
    kind = "look-alike"

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        second_network(self.client_pod, self.server_pod)
        check_way_back(self.client_pod)
        check_way_back(self.server_pod, all=1, eth0=1, **{SECOND: 1})
        ip("-n", self.client_pod.namespace, "route", "add", FAR, "dev", SECOND, "src", self.client_pod.address)
        drop_calls(self.server_pod)
        self.corrected, self.last = False, 0
        self.server = self.stage.play(self.server_pod, "orders", serve, PORT)
        up(self.stage, self.server_pod, self.server, PORT)
        self.client = self.stage.play(self.client_pod, "checkout", call, [(FAR, PORT), (NOBODY, PORT)], 40, 2)

    def look(self) -> Sight:
        """Once it has dropped some, the route is corrected; calls from before are repeated for a while."""
        last, self.last = self.last, counter(self.server_pod.netns, "IPReversePathFilter")
        if self.last >= 40 and not self.corrected:
            ip("-n", self.client_pod.namespace, "route", "del", FAR, "dev", SECOND)
            self.corrected = True
        made, met = calls(self.client), met_by_filter(self.server_pod)
        there = self.corrected and last == self.last and met >= 100 and made.share(GAVE_UP) > 0.4
        return Sight(there, f"{self.last} packets were dropped for the way back; the filter dropped {met}; {made}")

    def expected(self) -> Expected:
        return Expected(
            rule=None,
            cleared=("rp-filter", "forwarding-off", "nic-drops", "time-wait-overflow"),
            beside=("connect-timeout",),
            innocent=(self.client.who(), self.server.who()),
        )


def drop_calls(pod: Pod) -> None:
    inside(pod, "nft", "add table inet lab")
    inside(pod, "nft", "add chain inet lab filter { type filter hook input priority filter; }")
    inside(pod, "nft", f"add rule inet lab filter tcp dport {PORT} counter drop")


def met_by_filter(pod: Pod) -> int:
    command = ["nsenter", f"--net={pod.netns}", "nft", "list", "chain", "inet", "lab", "filter"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sum(map(int, re.findall(r"counter packets (\d+)", listed)))
