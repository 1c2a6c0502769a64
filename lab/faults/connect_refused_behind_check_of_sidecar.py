"""A balancer asks the sidecar of each server whether it is well (check port), and the sidecar always is.

In one of two pods the server itself has crashed and not come back, and nobody listens on its port. The HAProxy goes on
sending it half of all users, is refused, tries the same again three times a second apart, and closes. Its page shows
both servers up, every check has been answered for weeks, and the users were all connected: by the HAProxy.
"""

from __future__ import annotations

from lab.case import Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, counter, named, serve
from lab.look import Sight, connections
from lab.node import Node
from lab.servers import configured_haproxy, up
from lab.stage import Player, Pod

PORT, STATUS_PORT, FRONT_PORT = 8080, 15021, 80
HAPROXY = """
defaults
    mode tcp
    retries 3
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout check 3s
listen front
    bind :{port}
    balance roundrobin
    option httpchk GET /healthz
    default-server check port {status} inter 1s fall 3 rise 2
    server one {one}:{at}
    server two {two}:{at}
"""


class ConnectRefusedBehindCheckOfSidecar(ConnectCase):
    kind = "fault"
    rules_unread = True
    age_seconds = 60

    def start(self) -> None:
        self.node = Node(self.stage, "client", "balancer", "one", "two")
        client, self.balancer_pod, one, self.crashed = self.node.pods
        self.server = self.stage.play(one, "orders", serve, PORT)
        up(self.stage, one, self.server, PORT)
        self.sidecars = []
        for pod in (one, self.crashed):
            self.sidecars.append(sidecar := self.stage.play(pod, "sidecar", serve, STATUS_PORT))
            up(self.stage, pod, sidecar, STATUS_PORT)
        self.balancer = self.balance(one)
        self.client = self.stage.play(client, "checkout", call, [(self.balancer_pod.address, FRONT_PORT)], 6, 10)

    def balance(self, one: Pod) -> Player:
        ports = {"port": FRONT_PORT, "status": STATUS_PORT, "at": PORT}
        text = HAPROXY.format(one=one.address, two=self.crashed.address, **ports)
        return configured_haproxy(self.stage, self.balancer_pod, FRONT_PORT, text)

    def look(self) -> Sight:
        """Users fail, as many and more are answered, and what the balancer connects to is refused again and again."""
        made, refused = calls(self.client), counter(self.balancer_pod.netns, "AttemptFails")
        listening = len(connections(self.crashed.netns).where("LISTEN", local_port=PORT))
        answered = len(made.where(ANSWERED))
        failed = len(made) - answered
        there = failed >= 10 and answered >= 10 and refused >= 30 and not listening
        return Sight(there, f"{made}; {refused} connects of the balancer were refused")

    def expected(self) -> Expected:
        """Who was refused is the balancer, and where, is the answer; its check may be called the origin too."""
        beside = (self.server.who(), *(sidecar.who() for sidecar in self.sidecars))
        return Expected(
            rule="connect-refused",
            also=("resets",),
            severities=("warning", "critical"),
            tolerated=(self.balancer.who(),),
            innocent=(self.client.who(), *beside),
            bystanders=beside,
            others=(named(self.balancer),),
            endpoint=(self.crashed.address, PORT),
        )
