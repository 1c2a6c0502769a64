"""One pod sends to every address of a large network, and fills the node's table of neighbours.

Of that network (a /16, as a flat network of pods may be) hardly any address is taken, so that nobody answers for most
of them. All pods share the table; it is made small for this, and put back whatever happens. The pod that asks is to be
named, and not the others, which only have a few neighbours each.
"""

from __future__ import annotations

from ipaddress import ip_network
from itertools import islice

from lab.case import NEIGHBOUR_RULES, Case, Expected
from lab.host import NEIGHBOURS, initial_netns, read
from lab.load import connect_anew
from lab.look import Sight
from lab.stage import Pod, inside
from lab.table import parse_statistics

LIMIT = 300
NETWORK = "10.81.0.0/16"


def sweep(addresses: int, per_second: int) -> None:
    connect_anew([(str(host), 6379) for host in islice(ip_network(NETWORK).hosts(), 1, addresses)], per_second, 1)


def join_silent_network(pod: Pod) -> None:
    """Nobody is at the other end of it."""
    inside(pod, "ip", "link", "add", "flat0", "type", "veth", "peer", "name", "nobody")
    inside(pod, "ip", "address", "add", "10.81.0.1/16", "dev", "flat0")
    inside(pod, "ip", "link", "set", "nobody", "up")
    inside(pod, "ip", "link", "set", "flat0", "up")


def overflows() -> int:
    lines = read(NEIGHBOURS, initial_netns()).split()
    width = lines.index("table_fulls") + 1
    rows = [" ".join(lines[at : at + width]) for at in range(0, len(lines), width)]
    return parse_statistics("\n".join(rows))["table_fulls"]


class NeighbourTableFlood(Case):
    kind = "fault"
    quick = True
    rules = NEIGHBOUR_RULES
    changes_global = True

    def start(self) -> None:
        self.client_pod, self.other_pod = self.stage.pods("client", "other")
        join_silent_network(self.client_pod)
        self.before = overflows()
        self.stage.neighbours_max(LIMIT)
        self.client = self.stage.play(self.client_pod, "inventory", sweep, 60_000, 250)

    def look(self) -> Sight:
        rise = overflows() - self.before
        return Sight(rise > 50, f"{rise} neighbours found no room in a table of {LIMIT}")

    def expected(self) -> Expected:
        return Expected(
            rule="neighbour-table",
            severities=("critical",),
            shapes=("unanswered",),
            culprits=(self.client.who(),),
        )
