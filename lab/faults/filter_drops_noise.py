"""What a node with a public address hears all day: SYNs to ports that it does not offer, and its firewall drops them.

They come from all over, to telnet and SMB, eighty a second and without end; the counter of the rule runs faster than
that of the web server beside it. None of them belongs to a connect of this node or of its users, who are all answered.
Nobody waits for an answer, and that there is none is what the firewall is for.
"""

from __future__ import annotations

from lab.case import QUEUE_RULES, Expected
from lab.connects import ANSWERED, ConnectCase, call, calls, filtered
from lab.look import Sight
from lab.node import NODE, Node
from lab.servers import nginx
from lab.stage import inside
from lab.syn_flood import flood

TELNET, SMB, PER_SECOND = 23, 445, 40
FIREWALL = (
    "add chain inet lab filter { type filter hook input priority filter; }",
    f"add rule inet lab filter iifname eth0 tcp dport {{ {TELNET}, {SMB} }} counter drop",
)


class FilterDropsNoise(ConnectCase):
    kind = "look-alike"
    rules = QUEUE_RULES
    rules_unread = True

    def start(self) -> None:
        self.node = Node(self.stage, "shop")
        for line in FIREWALL:
            inside(self.node.host, "nft", line)
        self.server = nginx(self.stage, self.node.host)
        outside = self.node.outside
        self.noise = [self.stage.play(outside, "noise", flood, NODE, port, PER_SECOND) for port in (TELNET, SMB)]
        self.users = self.stage.play(outside, "browser", call, [(NODE, 80)], 10, 2)
        self.shop = self.stage.play(self.node.pods[0], "shop", call, [(NODE, 80)], 10, 2)

    def look(self) -> Sight:
        made, own, dropped = calls(self.users), calls(self.shop), filtered(self.node)
        well = min(len(made), len(own)) >= 30 and made.share(ANSWERED) == own.share(ANSWERED) == 1.0
        return Sight(well and dropped >= 200, f"{dropped} SYNs dropped; users: {made}; the pod: {own}")

    def expected(self) -> Expected:
        parts = tuple(player.who() for player in (self.server, self.users, self.shop, *self.noise))
        return Expected(
            rule=None,
            cleared=("syn-queue", "accept-queue", "connect-timeout"),
            innocent=parts,
            bystanders=parts,
        )
