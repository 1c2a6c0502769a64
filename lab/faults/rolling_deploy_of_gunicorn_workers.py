"""Four workers of a gunicorn are replaced every five seconds, under load, and not one request fails.

A team deploys all day (kill -HUP): the master starts four new workers and ends the old ones, each when it has answered
what it had begun. The listener is the master's and stays, so that whoever comes meanwhile waits a moment in its queue.
Processes that were seen at one look are gone at the next, with their sockets; the HAProxy before them and its users
notice nothing of it.
"""

from __future__ import annotations

import os
import signal

from lab.actor import every
from lab.case import QUEUE_RULES, Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, counter
from lab.look import Sight
from lab.node import Node
from lab.servers import gunicorn, haproxy

PORT, PROXY_PORT, WORKERS, DEPLOY_SECONDS = 8000, 8080, 4, 5
DEPLOYS, BOOTED = 3, "Booting worker with pid"


def deploy(master: int) -> None:
    for _ in every(DEPLOY_SECONDS, times=100_000):
        os.kill(master, signal.SIGHUP)
        print("deployed", flush=True)


class RollingDeployOfGunicornWorkers(ConnectCase):
    kind = "look-alike"
    rules_unread = True
    rules = QUEUE_RULES
    window_seconds = 8

    def start(self) -> None:
        self.node = Node(self.stage, "client", "proxy", "server", "deploy")
        client, proxy, self.server_pod, deploying = self.node.pods
        options = ("--workers", str(WORKERS), "--threads", "1")  # one thread: the plain kind, which keeps nothing open
        self.server = gunicorn(self.stage, self.server_pod, PORT, *options, answer_after_seconds=0.02)
        self.proxy = haproxy(self.stage, proxy, PROXY_PORT, f"{self.server_pod.address}:{PORT}")
        self.client = self.stage.play(client, "checkout", call, [(proxy.address, PROXY_PORT)], 20, 5)
        self.deploy = self.stage.play(deploying, "deploy", deploy, self.server.pid)

    def look(self) -> Sight:
        made, deploys = calls(self.client), self.deploy.log.read_text().count("deployed")
        booted = self.server.log.read_text(errors="replace").count(BOOTED)
        dropped = counter(self.server_pod.netns, "ListenOverflows")
        there = deploys >= DEPLOYS and booted >= WORKERS * DEPLOYS and len(made) >= 60 and not dropped
        seen = f"{deploys} deploys, {booted} workers have been; {dropped} dropped; {made}"
        return Sight(there and made.share(ANSWERED) == 1, seen)

    def expected(self) -> Expected:
        parts = tuple(one.who() for one in (self.server, self.proxy, self.client, self.deploy))
        return Expected(rule=None, cleared=("resets", "connect-refused"), innocent=parts, bystanders=parts)
