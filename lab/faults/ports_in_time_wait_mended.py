"""A pod had run out of local ports, and somebody has just set tcp_tw_reuse=1: since then no connect fails.

All ports of the range wait in TIME_WAIT as they did before, and will for a minute. But one that has waited for a second
may be used again, which is enough for thirty calls a second. Whoever counts TIME_WAIT against the range, or reads the
client's log of a moment ago, finds the fault that is over.
"""

from __future__ import annotations

from lab.case import CONNECTION_RULES, Case, Expected
from lab.connects import ANSWERED, Calls, call, calls, serve
from lab.faults.ports_in_time_wait import FAILED, PORT, PORTS, SETTINGS
from lab.look import Sight, connections, wait_until
from lab.servers import up
from lab.stage import inside

ENOUGH = 60


class PortsInTimeWaitMended(Case):
    kind = "look-alike"
    rules = ("port-exhaustion", *CONNECTION_RULES)
    rules_unread = True
    age_seconds = 3

    def start(self) -> None:
        self.pod, server = self.stage.pods("client", "orders")
        inside(self.pod, "sysctl", "-qw", *SETTINGS)
        self.server = self.stage.play(server, "orders", serve, PORT)
        up(self.stage, server, self.server, PORT)
        self.client = self.stage.play(self.pod, "checkout", call, [(server.address, PORT)], 30, 2)
        wait_until(lambda: len(calls(self.client).where(FAILED)) >= ENOUGH, 30, self.stage.logs)
        inside(self.pod, "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1")
        self.before = len(calls(self.client))

    def look(self) -> Sight:
        """What is called failed is of before."""
        made, waiting = calls(self.client), connections(self.pod.netns).where("TIME-WAIT", peer_port=PORT)
        last = Calls(made[-ENOUGH:])
        there = len(made) >= self.before + 2 * ENOUGH and last.share(ANSWERED) == 1.0 and len(waiting) >= PORTS - 10
        failed = len(made.where(FAILED))
        return Sight(there, f"{len(waiting)} of {PORTS} ports wait; {failed} connects failed; of late {last}")

    def expected(self) -> Expected:
        parts = (self.client.who(), self.server.who())
        return Expected(rule=None, cleared=("port-exhaustion",), innocent=parts, bystanders=parts)
