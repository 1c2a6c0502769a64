"""A HAProxy that has nine tenths of its descriptors in use, by design, and whose users are all served.

As shipped it works out from `maxconn` how many it can need, two for each connection and some, and raises its limit to
just that (its manual on `ulimit-n` advises to leave it so). With 285 users where it takes 300 it has most of them, as
many after an hour as after a minute; before the last one it would stop to accept, and let the kernel keep who comes.
That few are left is true all the same and may be said of it; nobody has caused anything.
"""

from __future__ import annotations

import resource

from lab.case import LIMIT_RULES, Case, Expected
from lab.load import keep_busy
from lab.look import Sight, connections, descriptors
from lab.servers import HAPROXY, nginx, up
from lab.stage import Player, Pod

PORT, MOST, USERS = 8080, 300, 285
AS_FOUND = "--nofile=256:8000"
"""Soft and hard limit before HAProxy raises the one; it lowers none."""


class DescriptorsOfBalancerByDesign(Case):
    kind = "look-alike"
    rules = LIMIT_RULES
    age_seconds = 5

    def start(self) -> None:
        users, self.proxy_pod, backend = self.stage.pods("users", "balancer", "backend")
        self.server = nginx(self.stage, backend)
        self.proxy = self.balance(self.proxy_pod, f"{backend.address}:80")
        self.users = self.stage.play(users, "browsers", keep_busy, self.proxy_pod.address, PORT, USERS, 1)
        self.acked = 0

    def balance(self, pod: Pod, upstream: str) -> Player:
        text = HAPROXY.format(mode="tcp", keep_alive="1h", port=PORT, upstream=upstream)
        assert "maxconn 6000" in text
        configuration = self.stage.directory / "haproxy.cfg"
        configuration.write_text(text.replace("maxconn 6000", f"maxconn {MOST}"))
        command = ["prlimit", AS_FOUND, "haproxy", "-db", "-f", str(configuration)]
        return up(self.stage, pod, self.stage.run(pod, "haproxy", *command), PORT)

    def look(self) -> Sight:
        """Every user is connected, both ways, and answered; nobody waits to be accepted."""
        most, _ = resource.prlimit(self.proxy.pid, resource.RLIMIT_NOFILE)
        held, seen = descriptors(self.proxy.who().pids, ""), connections(self.proxy_pod.netns)
        users, onwards = seen.where("ESTAB", local_port=PORT), seen.where("ESTAB", peer_port=80)
        waiting = sum(listener.unread for listener in seen.where("LISTEN", local_port=PORT))
        moved, self.acked = sum(user.acked for user in users) - self.acked, sum(user.acked for user in users)
        there = len(users) == len(onwards) == USERS and not waiting and moved > 0 and held >= 0.85 * most
        return Sight(there, f"{held} descriptors of {most}; {users} of users, {waiting} wait; {moved} bytes acked")

    def expected(self) -> Expected:
        parts = (self.proxy.who(), self.server.who(), self.users.who())
        return Expected(rule=None, also=("descriptor-limit",), innocent=parts, bystanders=parts[1:])
