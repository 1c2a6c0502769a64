"""A script lists all 200,000 tracked connections, again and again: long, but never for long with softirqs off.

The kernel hands over what fits in a message and lets packets be received before the next. A dump by a mark that none
has would be quicker, and would keep them waiting.
"""

from __future__ import annotations

from lab.arrivals import StallCase, steer, used
from lab.case import Expected
from lab.ctnetlink import fill, start_again_and_again
from lab.look import Sight
from lab.node import Node

EVERY_SECONDS = 0.2


class StallWholeDump(StallCase):
    kind = "look-alike"
    changes_global = True

    def start(self) -> None:
        self.node = Node(self.stage, "probe", "shop")
        fill(self.stage, self.node.host)
        self.ping_all_the_time(*self.node.pods)
        steer(self.node.pods[0], "eth0", self.sender)
        self.script = self.stage.play(self.node.host, "list-all", start_again_and_again, [], EVERY_SECONDS)

    def look(self) -> Sight:
        lines = [line for line in self.script.log.read_text().splitlines() if line.startswith("started")]
        return self.in_time(len(lines) >= 3, f"conntrack: {lines[-1:]}, {used(self.script.pid)}")

    def expected(self) -> Expected:
        return self.nothing_stalled(self.script)
