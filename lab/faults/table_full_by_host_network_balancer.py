"""Incident 3 by a balancer on the node's network: its users keep their connections, and it keeps none to its backend.

haproxy runs in a pod with the node's own address and is told to close towards the server after each answer
(http-server-close). Thirty users from outside ask ten times a second, each on one connection; haproxy makes three
hundred a second of that, and all of them stay in the node's table (it is lowered for this) for two minutes. An agent of
the node keeps a few connections to the same server, from the same address: the entries alone do not tell them apart.
"""

from __future__ import annotations

import time
from http.client import HTTPConnection, HTTPException
from threading import Thread

from lab.actor import rest
from lab.case import Expected
from lab.containers import PodCgroup
from lab.load import keep_busy
from lab.look import Sight, connections
from lab.node import NODE
from lab.servers import HAPROXY, up
from lab.stage import Player
from lab.table import TableCase, full_of_churn
from lab.who import Who

LIMIT = 3000
SERVER, PORT = "203.0.113.80", 8080
USERS, EVERY_SECONDS = 30, 0.1


def browse(address: str) -> None:
    """Each on one connection, which is made anew if it fails."""

    def ask_in_turn(begin_after: float) -> None:
        time.sleep(begin_after)
        connection = HTTPConnection(address, PORT, timeout=10)
        while True:
            try:
                connection.request("GET", "/small")
                connection.getresponse().read()
            except (HTTPException, OSError):
                connection.close()
            time.sleep(EVERY_SECONDS)

    for number in range(USERS):
        Thread(target=ask_in_turn, args=(EVERY_SECONDS * number / USERS,)).start()
    rest()


class TableFullByHostNetworkBalancer(TableCase):
    kind = "fault"
    rules_unread = True
    ready_within_seconds = 90

    def start(self) -> None:
        self.furnish(LIMIT)
        self.agent = self.stage.play(self.node.host, "node-agent", keep_busy, SERVER, 80, 10, 1)
        self.pod = PodCgroup(self.stage)
        self.balancer = self.balance()
        self.users = self.stage.play(self.node.outside, "users", browse, NODE)

    def balance(self) -> Player:
        configuration = self.stage.directory / "haproxy.cfg"
        keeps = HAPROXY.format(mode="http", port=PORT, keep_alive="1h", upstream=f"{SERVER}:80")
        configuration.write_text(keeps.replace("http-reuse always", "option http-server-close"))
        player = self.stage.run(self.node.host, "haproxy", "haproxy", "-db", "-f", str(configuration))
        self.pod.add(player.pid)
        return up(self.stage, self.node.host, player, PORT)

    def look(self) -> Sight:
        """Its users have one connection each."""
        own = self.table.entries.where("TIME_WAIT", source=NODE, destination=SERVER, port=80)
        kept = connections(self.node.host.netns).where("ESTAB", local_port=PORT)
        there = self.table.overflows(LIMIT) and len(own) > LIMIT / 2 and len(kept) <= 2 * USERS
        return Sight(there, f"{self.table} of {LIMIT}; in TIME_WAIT by {NODE}: {len(own)}; {kept} of users")

    def expected(self) -> Expected:
        balancer = Who(self.balancer.comm, self.balancer.who().pids, pod=self.pod.uid)
        innocent = (self.server.who(), self.agent.who(), self.users.who())
        return full_of_churn((balancer,), innocent, endpoint=(SERVER, 80))
