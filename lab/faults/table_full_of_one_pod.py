"""A pod with rules of its own, as a service mesh writes them, has a connection table of its own: that one is full.

The node itself tracks nothing, and its table is empty. The limit is one number for all namespaces, but each has its own
count, so that only this pod's new connections are dropped, also those of a program of it that opens two a second.
Whoever looks at the table of the node finds nothing, and takes the server for dead, to which all of them go. That its
callers get no answer stands under its cause, which is the pod's table.
"""

from __future__ import annotations

from lab.case import CONNECTION_RULES, Case, Expected
from lab.connects import ANSWERED, call, calls, named
from lab.load import ask_anew
from lab.look import Sight
from lab.servers import nginx
from lab.stage import inside
from lab.table import Table

LIMIT = 1000
PORT = 80


class TableFullOfOnePod(Case):
    kind = "fault"
    rules = CONNECTION_RULES
    rules_unread = True
    changes_global = True
    age_seconds = 0

    def start(self) -> None:
        self.pod, server = self.stage.pods("mesh", "server")
        inside(self.pod, "nft", "add table inet mesh")
        inside(self.pod, "nft", "add chain inet mesh out { type filter hook output priority filter; }")
        inside(self.pod, "nft", "add rule inet mesh out ct state new counter")
        self.stage.conntrack_max(LIMIT)
        self.server = nginx(self.stage, server)
        self.client = self.stage.play(self.pod, "crawler", ask_anew, server.address, PORT, 100)
        self.other = self.stage.play(self.pod, "shop", call, [(server.address, PORT)], 2, 2)

    def look(self) -> Sight:
        table, made = Table(self.pod.netns), calls(self.other)
        failed = len(made) - len(made.where(ANSWERED))
        return Sight(table.overflows(LIMIT) and failed >= 3, f"{table} of {LIMIT}; the shop's calls: {made}")

    def expected(self) -> Expected:
        return Expected(
            rule="connect-timeout",
            severities=("warning", "critical"),
            innocent=(self.other.who(), self.server.who()),
            others=(named(self.client), named(self.other)),
            causes=("conntrack-table",),
        )
