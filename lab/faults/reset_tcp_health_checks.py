"""A balancer (haproxy) that checks its servers ten times a second each: it connects, and resets at once.

That saves both of them the farewell. Nothing was asked, so nothing is lost; requests are all answered.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, counter
from lab.look import Sight
from lab.node import Node
from lab.servers import configured_haproxy, nginx
from lab.stage import Player, Pod

HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    default-server check inter 100ms
listen front
    bind :80
    server one {one}:80
    server two {two}:80
"""


class ResetTcpHealthChecks(ConnectCase):
    kind = "look-alike"

    def start(self) -> None:
        self.node = Node(self.stage, "client", "balancer", "one", "two")
        client, balancer, one, two = self.node.pods
        self.servers = [nginx(self.stage, pod) for pod in (one, two)]
        self.balancer = self.checking(balancer, one, two)
        self.client = self.stage.play(client, "browser", call, [(balancer.address, 80)], 10, 2)

    def checking(self, balancer: Pod, one: Pod, two: Pod) -> Player:
        return configured_haproxy(self.stage, balancer, 80, HAPROXY.format(one=one.address, two=two.address))

    def look(self) -> Sight:
        made = calls(self.client)
        sent = counter(self.node.pods[1].netns, "OutRsts")
        return Sight(len(made) >= 10 and sent >= 20 and made.share(ANSWERED) == 1, f"{made}; {sent} resets sent")

    def expected(self) -> Expected:
        innocent = (self.client.who(), self.balancer.who(), *(server.who() for server in self.servers))
        return Expected(rule=None, innocent=innocent)
