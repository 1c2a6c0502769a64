"""A server was given a faster way back to one client, and that client's rp_filter drops every answer on arrival.

Asked over the ordinary network, the server answers over a second one, by a route of its own. To the client that is not
the way by which it would send. The second device's rp_filter reads 0, which looks as if nothing was checked; but "all"
reads 1, and the larger of the two holds. From the client the server seems dead, the server has connections half open,
and another client is answered.
"""

from __future__ import annotations

from lab.case import Expected, Named
from lab.connects import ANSWERED, GAVE_UP, call, calls, counter, serve
from lab.look import Sight
from lab.losses import PORT, SECOND, LossCase, check_way_back, second_network
from lab.servers import up
from lab.stage import ip

PER_SECOND = 6
"""Few: what is half open stays so for a minute, and is not to fill a queue."""


class RpFilterDropsAnswers(LossCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.client_pod, beside, server = self.stage.pods("client", "beside", "server")
        second_network(server, self.client_pod)
        check_way_back(server, **{SECOND: 0})
        check_way_back(self.client_pod, **{"all": 1, SECOND: 0})
        ip("-n", server.namespace, "route", "add", self.client_pod.address, "dev", SECOND)
        self.server = self.stage.play(server, "orders", serve, PORT)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(self.client_pod, "checkout", call, [(server.address, PORT)], PER_SECOND, 2)
        self.other = self.stage.play(beside, "web", call, [(server.address, PORT)], PER_SECOND, 2)

    def look(self) -> Sight:
        made, others = calls(self.client), calls(self.other)
        dropped = counter(self.client_pod.netns, "IPReversePathFilter")
        enough = dropped >= 40 and min(len(made), len(others)) >= 15
        there = enough and made.share(GAVE_UP) == 1.0 and others.share(ANSWERED) >= 0.95
        return Sight(there, f"{dropped} packets dropped for the way back; {made}; beside: {others}")

    def expected(self) -> Expected:
        return Expected(
            rule="rp-filter",
            severities=("warning", "critical"),
            cleared=("forwarding-off", "nic-drops", "time-wait-overflow"),
            others=(Named(self.client_pod.who(), ("holder", "victim", "culprit")),),
            innocent=(self.client.who(), self.other.who(), self.server.who()),
            bystanders=(self.other.who(),),
            mentions=("rp_filter",),
        )
