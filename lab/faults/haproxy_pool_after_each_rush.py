"""A HAProxy has sixty idle connections to its server after each rush, and lets them go by and by until the next one.

Every twelve seconds sixty users come at once. HAProxy opens a connection onwards for each, and keeps these afterwards,
though nobody asks: every five seconds it closes a part of those that it could not use (pool-purge-delay, as shipped).
So its connections are up and down, many of them idle, none of them a user's, and whoever looks at the wrong moment sees
them grow from nothing to sixty. Each user is answered, and there are never more than a rush needs.
"""

from __future__ import annotations

from lab.case import CONNECTION_RULES, Case, Expected
from lab.connects import ANSWERED, calls, rushes
from lab.look import Sight, connections
from lab.servers import haproxy, uvicorn

PORT, FRONT, AT_ONCE, PAUSE_SECONDS = 8000, 8080, 60, 12


class HaproxyPoolAfterEachRush(Case):
    kind = "look-alike"
    rules_unread = True
    rules = CONNECTION_RULES
    window_seconds = 20
    ready_within_seconds = 90

    def start(self) -> None:
        client, self.proxy_pod, server = self.stage.pods("users", "proxy", "server")
        self.server = uvicorn(self.stage, server, PORT, keep_alive_seconds=3600, answer_after_seconds=1.0)
        self.proxy = haproxy(self.stage, self.proxy_pod, FRONT, f"{server.address}:{PORT}", mode="http")
        self.users = self.stage.play(client, "users", rushes, self.proxy_pod.address, FRONT, AT_ONCE, PAUSE_SECONDS)
        self.idle = 0

    def look(self) -> Sight:
        """At the most, of all looks, that were onwards and had no user; and hardly anybody failed in three rushes."""
        seen, made = connections(self.proxy_pod.netns), calls(self.users)
        users, onwards = seen.where("ESTAB", local_port=FRONT), seen.where("ESTAB", peer_port=PORT)
        self.idle = max(self.idle, len(onwards) - len(users))
        well = len(made) >= 3 * AT_ONCE and made.share(ANSWERED) > 0.98
        there = self.idle >= AT_ONCE / 3 and len(onwards) <= 1.5 * AT_ONCE
        return Sight(well and there, f"onwards {onwards}, users {len(users)}, idle at most {self.idle}; {made}")

    def expected(self) -> Expected:
        parts = (self.proxy.who(), self.server.who(), self.users.who())
        return Expected(rule=None, innocent=parts, bystanders=parts)
