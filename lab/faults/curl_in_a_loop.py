"""A script that calls curl over and over: a process and a connection for each request, and all that stays is TIME_WAIT.

Its processes live for milliseconds. Each closes its connection properly.
"""

from __future__ import annotations

from lab.case import QUEUE_RULES, Case, Expected
from lab.look import PATIENCE, Sight, connections
from lab.servers import nginx

ASK = ("curl", "--silent", "--fail", "--output", "/dev/null")
ENOUGH = 300 / PATIENCE
"""In the minute that TIME_WAIT lasts."""
LOOP = 'while "$0" "$@"; do :; done'


class CurlInALoop(Case):
    kind = "look-alike"
    rules_unread = True
    rules = QUEUE_RULES

    def start(self) -> None:
        self.client_pod, self.server_pod = self.stage.pods("client", "server")
        self.server = nginx(self.stage, self.server_pod)
        url = f"http://{self.server_pod.address}/small"
        self.client = self.stage.run(self.client_pod, "sh", "sh", "-c", LOOP, *ASK, url)

    def look(self) -> Sight:
        seen = connections(self.client_pod.netns)
        waiting = seen.where("TIME-WAIT", peer_port=80)
        others = len(seen) - len(waiting)
        return Sight(len(waiting) >= ENOUGH and others < 5, f"{waiting} in TIME-WAIT, {others} others")

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(self.server.who(), self.client.who()))
