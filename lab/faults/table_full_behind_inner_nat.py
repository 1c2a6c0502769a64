"""A build pod starts containers of its own behind its own address (docker in docker), and one of them fills the table.

Seen from the node every entry is the pod's, and no socket in the pod's namespace belongs to them: the sockets are in
the inner namespace, with an address that the node never sees. The daemon of the pod, which only started it, has opened
nothing, and neither has a shop beside it.
"""

from __future__ import annotations

from lab.actor import rest
from lab.case import Expected, Named
from lab.load import ask_anew, keep_busy
from lab.look import Sight, connections
from lab.node import address
from lab.stage import Pod, inside, ip
from lab.table import TableCase

LIMIT = 3000
SERVER = "203.0.113.80"
INNER, GATE = "172.17.0.2", "172.17.0.1"
RULES = (
    "add table ip docker",
    "add chain ip docker out { type nat hook postrouting priority srcnat; }",
    "add rule ip docker out ip saddr 172.17.0.0/16 masquerade",
)


class TableFullBehindInnerNat(TableCase):
    kind = "fault"
    rules_unread = True

    def start(self) -> None:
        self.builder, shop = self.furnish(LIMIT, "builder", "shop")
        self.inner = self.contain()
        self.daemon = self.stage.play(self.builder, "dockerd", rest)
        self.shop = self.stage.play(shop, "shop", keep_busy, SERVER, 80, 40, 1)
        self.client = self.stage.play(self.inner, "installer", ask_anew, SERVER, 80, 150)

    def contain(self) -> Pod:
        """A namespace that reaches the outside through the pod alone."""
        inner = Pod(f"{self.stage.label}-inner", INNER, "fd17::2")
        self.stage.namespace(inner.namespace)
        end = ("type", "veth", "peer", "name", "docker0", "netns", self.builder.namespace)
        ip("link", "add", "eth0", "netns", inner.namespace, *end)
        address(self.builder, "docker0", f"{GATE}/16", "fd17::1/64")
        address(inner, "eth0", f"{INNER}/16", "fd17::2/64")
        ip("-n", inner.namespace, "route", "add", "default", "via", GATE)
        inside(self.builder, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for rule in RULES:
            inside(self.builder, "nft", rule)
        return inner

    def look(self) -> Sight:
        """The inner namespace has the sockets, and that of the pod none."""
        sight = self.look_by_pod(LIMIT)
        own, opened = connections(self.builder.netns), connections(self.inner.netns).where(peer_port=80)
        there = sight.there and len(opened) >= LIMIT / 2 and not own
        return Sight(there, f"{sight.seen}; sockets: {len(own)} of the pod, {len(opened)} behind it")

    def expected(self) -> Expected:
        return Expected(
            rule="conntrack-table",
            severities=("critical",),
            tolerated=(self.client.who(),),
            innocent=(self.daemon.who(), self.shop.who(), self.server.who()),
            others=(Named(self.client.who(), ("culprit",)),),
        )
