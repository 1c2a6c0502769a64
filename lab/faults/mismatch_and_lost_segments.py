"""Two faults beside each other: a pool that reuses dead connections, and a path to another server that loses packets.

Requests of the one pod fail after a pause, and never by loss; transfers of the other are slow, and never reset. A team
that sees both on one node looks for a single bad network, which there is not.
"""

from __future__ import annotations

from statistics import median

from lab.case import Expected, Named
from lab.connects import counter, filter_forwarded, filtered, named
from lab.keepalive import CLIENT_ROLES, ENOUGH, SERVER_ROLES, TOLERANCE
from lab.look import Sight
from lab.node import Node
from lab.pools import stopwatch, told, went, with_http_client
from lab.servers import gunicorn
from lab.transfers import PORT, TransferCase, repeated, stream, take

API_PORT = 8000


class MismatchAndLostSegments(TransferCase):
    kind = "fault"
    rules_unread = True
    window_seconds = 8

    def start(self) -> None:
        self.node = Node(self.stage, "orders", "api", "backup", "store")
        orders, api, backup, store = self.node.pods
        self.api = gunicorn(self.stage, api, API_PORT)
        self.store = self.stage.play(store, "store", take)
        filter_forwarded(self.node, f"ip daddr {store.address} tcp dport {PORT} numgen random mod 12 0 counter drop")
        self.watch = self.stage.play(orders, "stopwatch", stopwatch, api.address, API_PORT, 5)
        self.orders = self.stage.play(orders, "orders", with_http_client, [api.address], API_PORT, 20, (3.2, 4.2))
        self.backup = self.stage.play(backup, "backup", stream, [store.address], 4, 6_000, 0.1)

    def look(self) -> Sight:
        failed, closed = told(self.orders, "failed"), told(self.watch, "closed")
        resets = [counter(self.node.pods[n].netns, "EstabResets") for n in (0, 2)]
        here, there = repeated(self.node, 0), repeated(self.node, 2)
        is_there = len(failed) >= ENOUGH <= resets[0] and not resets[1] and there >= 60 > 10 * here and len(closed) > 2
        seen = f"{went(self.orders)}; {resets} resets; {here} and {there} segments repeated, {filtered(self.node)} lost"
        return Sight(is_there, seen)

    def expected(self) -> Expected:
        waits = median(told(self.watch, "closed"))
        return Expected(
            rule="keepalive-mismatch",
            also=("retransmits", "resets"),
            severities=("warning",),
            cleared=("path-mtu",),
            tolerated=(self.orders.who(),),
            innocent=(self.api.who(), self.store.who(), self.backup.who(), self.watch.who()),
            others=(
                Named(self.orders.who(), CLIENT_ROLES),
                Named(self.api.who(), SERVER_ROLES),
                named(self.backup),
            ),
            endpoint=(self.node.pods[1].address, API_PORT),
            seconds=(waits - TOLERANCE, waits + TOLERANCE),
        )
