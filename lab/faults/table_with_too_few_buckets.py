"""A table with room for six times its entries, but with 512 hash buckets for them: it drops new connections.

So it is where nf_conntrack_max was raised and nf_conntrack_buckets forgotten. Sixteen thousand connections are kept, as
they should be, and go on; each is in the table with both directions, some sixty to a bucket. The kernel gives up on a
new one where it would have to look at more than fifty to eighty (chaintoolong), and drops its packet: of a shop that
connects ten times a second most SYNs are lost, and nothing is logged. The server is well, and who keeps connections
does no harm.
"""

from __future__ import annotations

from lab import host
from lab.case import TABLE_RULES, Expected, Named
from lab.connects import ANSWERED, STEP_SECONDS, call, calls
from lab.load import keep_idle
from lab.look import Sight, wait_until
from lab.servers import nginx
from lab.table import TableCase

FEW = 512
"""As few as the kernel takes: a page of them."""

LIMIT = 100_000
KEEPERS, EACH = 2, 8000
SERVER = "203.0.113.80"
TOO_LONG = "chainlength"
"""So the column is headed that counts chaintoolong (ct_cpu_seq_show in net/netfilter/nf_conntrack_standalone.c)."""


class TableWithTooFewBuckets(TableCase):
    kind = "fault"
    rules_unread = True
    rules = ("settings", *TABLE_RULES, "connect-timeout", "connect-slow")
    ready_within_seconds = 60

    def start(self) -> None:
        *keepers, shop = self.furnish(LIMIT, "feeds1", "feeds2", "shop")
        self.other_server = nginx(self.stage, self.node.outside, port=81)
        self.keepers = [
            self.stage.play(pod, "feeds", keep_idle, SERVER, 80 + number, EACH) for number, pod in enumerate(keepers)
        ]
        wait_until(lambda: self.table.count >= KEEPERS * EACH, 60, lambda: f"{self.table}\n{self.stage.logs()}")
        self.stage.undo.enter_context(host.changed(host.BUCKETS, str(FEW)))
        self.caller = self.stage.play(shop, "shop", call, [(SERVER, 80)], 10, 2)

    def look(self) -> Sight:
        made, counters, count = calls(self.caller), self.table.statistics, self.table.count
        late = len(made) - len(made.where(ANSWERED)) + len(made.where(ANSWERED, at_least_seconds=STEP_SECONDS))
        seen = f"{count} entries of {LIMIT}, {host.read(host.BUCKETS)} buckets"
        seen += f"; {counters[TOO_LONG]} chains too long; {made}"
        return Sight(counters[TOO_LONG] >= 20 and late >= 20 and count < LIMIT / 4, seen)

    def expected(self) -> Expected:
        """Nobody is to blame for it: the setting is to be named, and who suffers."""
        return Expected(
            rule="conntrack-table",
            also=("settings", "connect-timeout", "connect-slow"),
            severities=("warning", "critical"),
            innocent=tuple(one.who() for one in (self.caller, *self.keepers, self.server, self.other_server)),
            others=(Named(self.caller.who(), ("victim", "peer", "holder")),),
            mentions=("nf_conntrack_buckets",),
        )
