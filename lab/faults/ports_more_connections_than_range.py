"""A HAProxy told to use one source address has more connections than there are local ports, and none has ever failed.

It sets IP_BIND_ADDRESS_NO_PORT before it binds (ip(7)), so that the kernel chooses the port only when it knows the
server, and the same port serves for each of three. Two hundred and forty connections in a range of two hundred, all
from one address and all in use: whoever counts sockets, or knows what `source` did to older proxies, finds a range that
is used up. Towards each server two ports in five are taken.
"""

from __future__ import annotations

from lab.case import CONNECTION_RULES, Case, Expected
from lab.faults.ports_used_up import PORTS, RANGE
from lab.load import keep_busy
from lab.look import Sight, connections
from lab.servers import haproxy, nginx
from lab.stage import inside

FRONT, SERVERS, USERS, EVERY_SECONDS = 8080, (80, 81, 82), 240, 4


class PortsMoreConnectionsThanRange(Case):
    kind = "look-alike"
    rules = ("port-exhaustion", *CONNECTION_RULES)
    rules_unread = True

    def start(self) -> None:
        users, self.pod, backend = self.stage.pods("users", "proxy", "catalog")
        inside(self.pod, "sysctl", "-qw", RANGE)
        self.servers = [nginx(self.stage, backend, port) for port in SERVERS]
        first, *more = (f"{backend.address}:{port} source {self.pod.address}" for port in SERVERS)
        lines = (first, *(f"    server next{number} {place}" for number, place in enumerate(more)))
        self.proxy = haproxy(self.stage, self.pod, FRONT, "\n".join(lines))
        self.users = self.stage.play(users, "users", keep_busy, self.pod.address, FRONT, USERS, EVERY_SECONDS)

    def look(self) -> Sight:
        """A user whose connection ends is no more alive, which is looked for as well."""
        seen = connections(self.pod.netns).where("ESTAB")
        each = [len(seen.where(peer_port=port)) for port in SERVERS]
        users = len(seen.where(local_port=FRONT))
        there = users == USERS == sum(each) > PORTS and max(each) < PORTS / 2
        return Sight(there, f"{users} users; {sum(each)} connections with {PORTS} ports, by server: {each}")

    def expected(self) -> Expected:
        parts = tuple(player.who() for player in (self.users, self.proxy, *self.servers))
        return Expected(rule=None, cleared=("port-exhaustion",), innocent=parts, bystanders=parts)
