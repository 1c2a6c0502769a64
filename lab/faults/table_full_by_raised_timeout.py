"""The table is full with five connections a second: a tuning file keeps each for half an hour after it was closed.

Somebody had read that late packets of closed connections are taken for invalid, and raised the time for TIME_WAIT from
two minutes to thirty (nf_conntrack_tcp_timeout_time_wait). As the kernel ships it a shop that asks five times a second
leaves six hundred entries, which is less than a third of this table (it is lowered for this); now it wants room for
nine thousand. What the shop has left in its first six minutes is put into the table as it would be there. The shop asks
no more than it always did; whoever is told of the shop alone, and ends it, has to wait for half an hour.
"""

from __future__ import annotations

import subprocess

from lab.case import Expected
from lab.connects import call, calls
from lab.load import keep_busy
from lab.look import Sight, connections, wait_until
from lab.node import Node
from lab.servers import nginx
from lab.stage import inside
from lab.table import TableCase

LIMIT, PER_SECOND, KEPT = 2000, 5, 10
SETTING, SECONDS, AS_SHIPPED = "nf_conntrack_tcp_timeout_time_wait", 1800, 120
LEFT = LIMIT - 40
FIRST_PORT = 1024
"""Below all that a program is given by itself: no new connection meets an old entry."""

ENTRY = "-A -p tcp -s {} -d {} --sport {} --dport 80 --state TIME_WAIT -u SEEN_REPLY,ASSURED -t {}\n"


class TableFullByRaisedTimeout(TableCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "shop", "cart", "catalog")
        shop, cart, self.catalog = self.node.pods
        self.stage.conntrack_max(LIMIT)
        inside(self.node.host, "sysctl", "-qw", f"net.netfilter.{SETTING}={SECONDS}")
        self.server = nginx(self.stage, self.catalog)
        self.cart = self.stage.play(cart, "cart", keep_busy, self.catalog.address, 80, KEPT, 1)
        wait_until(lambda: len(connections(cart.netns).where("ESTAB")) == KEPT, 20, self.stage.logs)
        self.leave(shop.address)
        self.shop = self.stage.play(shop, "shop", call, [(self.catalog.address, 80)], PER_SECOND, 2)

    def leave(self, address: str) -> None:
        """What the shop has closed until now: the older, the less time is left."""
        file = self.stage.directory / "entries"
        lines = (
            ENTRY.format(address, self.catalog.address, FIRST_PORT + n, SECONDS - n // PER_SECOND) for n in range(LEFT)
        )
        file.write_text("".join(lines))
        inside(self.node.host, "conntrack", "--load-file", str(file))

    def staying(self) -> int:
        """Entries that wait for longer than they would as the kernel ships it."""
        command = ["nsenter", f"--net={self.node.host.netns}", "conntrack", "-L", "-p", "tcp", "--state", "TIME_WAIT"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return sum(int(line.split()[2]) > AS_SHIPPED for line in lines)

    def look(self) -> Sight:
        """The kernel makes some room once a minute (gc_worker), down to 95 %; the shop has used that up in 20 s."""
        made, staying = calls(self.shop), self.staying()
        there = self.table.overflows(LIMIT) and staying >= 0.85 * LIMIT and len(made) >= 10
        return Sight(there, f"{self.table} of {LIMIT}; {staying} stay for over {AS_SHIPPED} s; shop: {made}")

    def expected(self) -> Expected:
        """The setting has to be named. That the shop opens a connection for each request is true as well."""
        return Expected(
            rule="conntrack-table",
            also=("service-hang",),
            severities=("warning", "critical"),
            tolerated=(self.shop.who(),),
            innocent=(self.server.who(), self.cart.who()),
            mentions=(SETTING,),
        )
