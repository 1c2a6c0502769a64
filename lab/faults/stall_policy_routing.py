"""A node with a routing rule for each pod that was ever there, twenty thousand of them, which nobody has cleaned up.

The kernel goes through them one by one for each packet that it forwards (ip rule; some network plugins write one for
each pod). A meter sends two hundred small packets five times a second, and while the softirq works on them all other
packets of that CPU wait. There is no firewall, and no task holds the CPU.
"""

from __future__ import annotations

from dataclasses import replace

from lab.case import Expected
from lab.faults import stall_long_filter
from lab.node import Node
from lab.stage import inside

RULES = 20_000
RULE = "rule add from 10.{}.{}.{} lookup 100\n"


class StallPolicyRouting(stall_long_filter.StallLongFilter):
    rules_unread = True

    def slow_node(self) -> Node:
        node = Node(self.stage, "probe", "shop", "meter", firewall="none")
        rules = self.stage.directory / "rules"
        rules.write_text("".join(RULE.format(200 + n // 62500, n // 250 % 250, n % 250 + 1) for n in range(RULES)))
        inside(node.host, "ip", "-batch", str(rules))
        return node

    def expected(self) -> Expected:
        return replace(super().expected(), mentions=("fib",))
