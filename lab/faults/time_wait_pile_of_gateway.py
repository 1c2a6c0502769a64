"""An nginx as gateway makes a connection for each request and closes it first: most of its sockets are in TIME_WAIT.

It lacks the line `keepalive`, as so many do. Thirty requests a second leave eighteen hundred sockets that wait for a
minute, against a handful that are in use, and the number has grown ever since the gateway was started. But they are
shared among two backends, a port serves for both, and of the 28,000 ports of the range each backend has taken a few in
a hundred. Every answer is right and at once; what waits costs next to nothing, and ends by itself.
"""

from __future__ import annotations

import subprocess

from lab.case import CONNECTION_RULES, Case, Expected
from lab.connects import calls
from lab.faults.ports_used_up_by_gateway import GOOD, PORT, browse
from lab.look import Sight, connections
from lab.servers import NGINX, documents, nginx, up
from lab.stage import Player

BACKEND_PORT, ENOUGH = 80, 600
UPSTREAM = "upstream backends { server %s:80; server %s:80; }"
ONWARDS = 'location / { proxy_pass http://backends; proxy_http_version 1.1; proxy_set_header Connection ""; }'


class TimeWaitPileOfGateway(Case):
    kind = "look-alike"
    rules = ("port-exhaustion", "time-wait-overflow", *CONNECTION_RULES)
    rules_unread = True

    def start(self) -> None:
        users, self.pod, *backends = self.stage.pods("users", "gateway", "catalog", "orders")
        self.backends = [nginx(self.stage, pod, BACKEND_PORT) for pod in backends]
        self.gateway = self.pass_on(backends[0].address, backends[1].address)
        self.users = self.stage.play(users, "browser", browse, self.pod.address)

    def pass_on(self, *addresses: str) -> Player:
        directory = documents(self.stage, "gateway")
        text = NGINX.format(directory=directory, port=PORT, keep_alive="1h", files=16_000)
        server, own = "server {", f"root {directory};"
        assert text.count(server) == text.count(own) == 1
        text = text.replace(own, ONWARDS).replace(server, f"{UPSTREAM % addresses}\n    {server}")
        (directory / "nginx.conf").write_text(text)
        command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
        return up(self.stage, self.pod, self.stage.run(self.pod, "nginx", *command), PORT)

    def ports(self) -> int:
        """That the kernel may choose from, in the gateway's pod."""
        command = ["nsenter", f"--net={self.pod.netns}", "cat", "/proc/sys/net/ipv4/ip_local_port_range"]
        first, last = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        return int(last) - int(first) + 1

    def look(self) -> Sight:
        made, seen, ports = calls(self.users), connections(self.pod.netns), self.ports()
        waiting, used = seen.where("TIME-WAIT", peer_port=BACKEND_PORT), seen.where("ESTAB")
        there = len(waiting) >= ENOUGH and len(used) < 20 and len(waiting) < ports / 4
        seen_by_user = f"{made.share(GOOD):.0%} of {len(made)} answers are right"
        return Sight(
            there and made.share(GOOD) == 1.0, f"{len(waiting)} wait, {used} in use; {ports} ports; {seen_by_user}"
        )

    def expected(self) -> Expected:
        parts = tuple(player.who() for player in (self.users, self.gateway, *self.backends))
        return Expected(rule=None, cleared=("port-exhaustion", "time-wait-overflow"), innocent=parts, bystanders=parts)
