"""An agent of an overlay network writes a neighbour for each remote pod into the kernel: more than the table may have.

So flannel and others do it, for nobody would answer a question for these addresses. The entries are permanent, and
since Linux 5.0 such entries are not counted against gc_thresh3; only the column `entries` of /proc/net/stat/arp_cache
counts them with the others. By that number the table is over its limit, and no entry ever goes. Nothing is wrong: the
entries that come and go are a handful, every new neighbour finds room, and a shop that connects to another pod is
answered each time.
"""

from __future__ import annotations

import os
import subprocess

from lab.case import NEIGHBOUR_RULES, Case, Expected
from lab.connects import ANSWERED, call, calls
from lab.faults.neighbour_table_flood import join_silent_network, overflows
from lab.host import NEIGHBOURS_MAX, read
from lab.look import NotThereError, Sight
from lab.servers import nginx
from lab.stage import ip

BEYOND, MOST = 300, 6000
"""More than the limit by so many, if it is not a large one."""

ENTRY = "neighbour add 10.81.{}.{} lladdr 02:00:0a:51:{:02x}:{:02x} dev flat0 nud permanent\n"


class NeighboursWrittenByOverlay(Case):
    kind = "look-alike"
    rules = NEIGHBOUR_RULES
    rules_unread = True

    def start(self) -> None:
        if tuple(map(int, os.uname().release.split(".")[:2])) < (5, 0):
            raise NotThereError("before Linux 5.0 permanent neighbours were counted too")
        self.pod, server = self.stage.pods("worker", "catalog")
        join_silent_network(self.pod)
        self.before, self.limit = overflows(), int(read(NEIGHBOURS_MAX))
        if self.limit + BEYOND > MOST:
            raise NotThereError(f"this machine has room for {self.limit} neighbours")
        self.written = self.limit + BEYOND
        self.write_neighbours()
        self.server = nginx(self.stage, server)
        self.client = self.stage.play(self.pod, "shop", call, [(server.address, 80)], 5, 2)

    def write_neighbours(self) -> None:
        file = self.stage.directory / "neighbours"
        places = (divmod(number, 250) for number in range(self.written))
        file.write_text("".join(ENTRY.format(high + 1, low + 2, high + 1, low + 2) for high, low in places))
        ip("-n", self.pod.namespace, "-batch", str(file))

    def permanent(self) -> int:
        command = ["ip", "-n", self.pod.namespace, "-4", "neighbour", "show", "nud", "permanent", "dev", "flat0"]
        return len(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())

    def look(self) -> Sight:
        made, permanent, rise = calls(self.client), self.permanent(), overflows() - self.before
        there = permanent == self.written > self.limit and rise == 0
        well = len(made) >= 15 and made.share(ANSWERED) == 1.0
        seen = f"{permanent} neighbours are permanent, the limit is {self.limit}; {rise} found no room; {made}"
        return Sight(there and well, seen)

    def expected(self) -> Expected:
        parts = (self.server.who(), self.client.who())
        return Expected(rule=None, cleared=("neighbour-table",), innocent=parts, bystanders=parts)
