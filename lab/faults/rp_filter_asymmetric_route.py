"""A pod with two networks is asked by the second, and would answer by the first: there a strict rp_filter drops it.

The caller sends to the address of the second network with its address of the first. Who asks by the first is answered.
"""

from __future__ import annotations

from lab.case import Expected, Named
from lab.connects import ANSWERED, GAVE_UP, call, calls, counter, serve
from lab.look import Sight
from lab.losses import FAR, PORT, SECOND, LossCase, check_way_back, second_network
from lab.servers import up
from lab.stage import ip


class RpFilterAsymmetricRoute(LossCase):
    kind = "fault"

    def start(self) -> None:
        client, beside, self.server_pod = self.stage.pods("client", "beside", "server")
        second_network(client, self.server_pod)
        check_way_back(client)
        check_way_back(self.server_pod, **{SECOND: 1})
        ip("-n", client.namespace, "route", "add", FAR, "dev", SECOND, "src", client.address)
        self.server = self.stage.play(self.server_pod, "orders", serve, PORT)
        up(self.stage, self.server_pod, self.server, PORT)
        self.client = self.stage.play(client, "checkout", call, [(FAR, PORT)], 20, 2)
        self.other = self.stage.play(beside, "web", call, [(self.server_pod.address, PORT)], 20, 2)

    def look(self) -> Sight:
        made, others = calls(self.client), calls(self.other)
        dropped = counter(self.server_pod.netns, "IPReversePathFilter")
        there = dropped >= 40 and made.share(GAVE_UP) == 1.0 == others.share(ANSWERED)
        return Sight(there, f"{dropped} packets dropped for the way back; {made}; beside: {others}")

    def expected(self) -> Expected:
        return Expected(
            rule="rp-filter",
            severities=("warning", "critical"),
            shapes=("strict",),
            cleared=("forwarding-off", "nic-drops", "time-wait-overflow"),
            others=(Named(self.server_pod.who(), ("holder", "victim")),),
            innocent=(self.client.who(), self.other.who(), self.server.who()),
            mentions=("rp_filter", SECOND),
        )
