"""A node of an overlay network (VXLAN, as flannel makes it): hundreds of its entries are unreplied, and all is well.

Each flow of a pod to another node goes into UDP packets to port 8472 of that node, from a port by which flows can be
told apart. What comes back comes from a port of the other side's own choice, to port 8472 here: to connection tracking
that is no answer but an entry of its own, which is never answered either. By the table the other node is dead. The pods
are answered at once, the ones that keep their connections as the ones that open ten a second.
"""

from __future__ import annotations

import subprocess

from lab.case import Expected
from lab.connects import ANSWERED, call, calls
from lab.load import keep_busy
from lab.look import NotThereError, Sight, connections
from lab.node import NODE, OUTSIDE, PODS, address
from lab.stage import Pod, ip
from lab.table import TableCase

LIMIT, KEPT, PER_SECOND = 6000, 100, 10
TUNNEL, PORT = "vxlan0", 8472
NEAR, FAR = "10.244.0.1", "10.244.0.2"
ENOUGH = 150
"""Entries each way; most of them of connections that are kept."""


def tunnel(here: Pod, there: Pod, inner: str, inner6: str) -> None:
    """One end. Raises NotThereError where the kernel has no VXLAN."""
    ends = ("local", here.address, "remote", there.address, "dstport", str(PORT), "dev", "eth0")
    try:
        ip("-n", here.namespace, "link", "add", TUNNEL, "type", "vxlan", "id", "1", *ends)
    except subprocess.CalledProcessError as error:
        raise NotThereError(f"a device of type vxlan: {error.stderr}") from None
    address(here, TUNNEL, f"{inner}/24", f"{inner6}/64")


class TunnelFlowsNeverAnswered(TableCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        self.feed_pod, shop = self.furnish(LIMIT, "feed", "shop")
        tunnel(self.node.host, self.node.outside, NEAR, "fd44::1")
        tunnel(self.node.outside, self.node.host, FAR, "fd44::2")
        ip("-n", self.node.outside.namespace, "route", "add", PODS, "via", NEAR)
        self.feed = self.stage.play(self.feed_pod, "feed", keep_busy, FAR, 80, KEPT, 3)
        self.shop = self.stage.play(shop, "shop", call, [(FAR, 80)], PER_SECOND, 2)

    def look(self) -> Sight:
        entries, made = self.table.entries, calls(self.shop)
        kept = connections(self.feed_pod.netns).where("ESTAB", peer_port=80)
        sent = entries.where(source=NODE, destination=OUTSIDE, port=PORT, replied=False)
        received = entries.where(source=OUTSIDE, destination=NODE, port=PORT, replied=False)
        answered = len(made) >= 30 and made.share(ANSWERED) == 1.0 and len(kept) == KEPT
        there = answered and min(len(sent), len(received)) >= ENOUGH and self.table.count < LIMIT / 2
        seen = f"never answered: {len(sent)} sent, {len(received)} received; {self.table} of {LIMIT}"
        return Sight(there, f"{seen}; {kept} connections kept; shop: {made}")

    def expected(self) -> Expected:
        parts = (self.server.who(), self.feed.who(), self.shop.who())
        return Expected(rule=None, cleared=("conntrack-table", "service-hang"), innocent=parts, bystanders=parts)
