"""A haproxy that may have twenty connections (maxconn of its frontend), and a dashboard that keeps twenty open.

haproxy accepts nobody else until one of them goes, so its accept queue is full and no other connect is answered. It
neither hangs nor lacks CPU time: what the dashboard asks on its connections, once a second on each, is answered at
once, and so is the nginx behind it, which has no part in it. A restart of haproxy helps until the dashboard is back.
"""

from __future__ import annotations

from lab.case import QUEUE_RULES, Expected, Named
from lab.connects import GAVE_UP, STEP_SECONDS, ConnectCase, call, calls, counter, named
from lab.load import keep_busy
from lab.look import Sight, connections, wait_until
from lab.node import Node
from lab.servers import configured_haproxy, nginx
from lab.stage import Player, Pod

PORT, LIMIT, BACKLOG = 8080, 20, 8
HAPROXY = """
global
    maxconn 200
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend front
    bind :{port} backlog {backlog}
    maxconn {limit}
    default_backend back
backend back
    server one {upstream}
"""


class AcceptQueueBehindConnectionLimit(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = QUEUE_RULES
    age_seconds = 6

    def start(self) -> None:
        self.node = Node(self.stage, "office", "client", "balancer", "server")
        office, client, self.balancer_pod, server = self.node.pods
        self.acked = 0
        self.server = nginx(self.stage, server)
        self.balancer = self.balance(self.balancer_pod, server)
        at = self.balancer_pod.address
        self.dashboard = self.stage.play(office, "dashboard", keep_busy, at, PORT, LIMIT, 1.0)
        wait_until(self.used_up, 15, self.stage.logs)
        self.client = self.stage.play(client, "checkout", call, [(at, PORT)], 10, 2)

    def balance(self, pod: Pod, server: Pod) -> Player:
        text = HAPROXY.format(port=PORT, backlog=BACKLOG, limit=LIMIT, upstream=f"{server.address}:80")
        return configured_haproxy(self.stage, pod, PORT, text)

    def used_up(self) -> bool:
        """Each of its connections has one onwards."""
        return len(connections(self.balancer_pod.netns).where("ESTAB", peer_port=80)) >= LIMIT

    def look(self) -> Sight:
        seen, made = connections(self.balancer_pod.netns), calls(self.client)
        (listener,) = seen.where("LISTEN", local_port=PORT)
        before, self.acked = self.acked, sum(one.acked for one in seen.where("ESTAB", local_port=PORT))
        dropped = counter(self.balancer_pod.netns, "ListenOverflows")
        gave_up = made.where(GAVE_UP, at_least_seconds=STEP_SECONDS)
        there = len(gave_up) >= 20 and listener.unread > listener.unsent == BACKLOG and 0 < before < self.acked
        full = f"{listener.unread} in a queue of {listener.unsent}, full for {dropped} packets"
        return Sight(there and self.used_up(), f"{made}; {full}; {self.acked - before} bytes answered since")

    def expected(self) -> Expected:
        return Expected(
            rule="accept-queue",
            also=("connect-timeout", "socket-leak"),
            severities=("warning", "critical"),
            tolerated=(self.balancer.who(), self.dashboard.who()),
            innocent=(self.client.who(), self.server.who()),
            bystanders=(self.server.who(),),
            others=(Named(self.balancer.who(), ("culprit", "holder", "reader", "peer")), named(self.client)),
        )
