"""Somebody restarted the pod that leaked, as in incident 1: the evidence went with it, and what runs now is well.

The health check made fifty requests and read no answer; its supervisor has killed it, and started it again mended. What
it held is gone, at both ends; nobody is to be named for what was.
"""

from __future__ import annotations

import os
import signal
import time

from lab.actor import every, rest
from lab.case import Case, Expected
from lab.faults.two_leaks import check_health
from lab.load import ask_once
from lab.look import Sight, connections, descriptors
from lab.servers import nginx

TIMES = 50
LIFE_SECONDS = 8


def supervise(address: str) -> None:
    leaking = os.fork()
    if not leaking:
        check_health(address, TIMES)
    time.sleep(LIFE_SECONDS)
    held = descriptors(frozenset({leaking}), "socket:")
    os.kill(leaking, signal.SIGKILL)
    os.waitpid(leaking, 0)
    print(f"restarted, it held {held}", flush=True)
    for _ in every(0.5, times=10_000):
        ask_once(address, 80)
    rest()


class LeakGoneWithRestart(Case):
    kind = "look-alike"
    rules_unread = True
    age_seconds = 3

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        self.client = self.stage.play(self.client_pod, "foo-health", supervise, self.server_pod.address)

    def look(self) -> Sight:
        said = self.client.log.read_text().strip()
        left = connections(self.server_pod.netns).where("ESTAB", local_port=80)
        there = said == f"restarted, it held {TIMES}" and len(left) <= 1
        return Sight(there, f"{said or 'it leaks'}; at nginx {left} established")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
