"""A monitor lists all sockets of a pod with sixteen thousand of them, again and again (ss, by netlink).

It is busy in the kernel all the time, as the monitor of incident 2 was, but lets packets be received in between.
"""

from __future__ import annotations

from lab.arrivals import StallCase, used
from lab.case import Expected
from lab.load import keep_idle
from lab.look import Sight, connections
from lab.servers import nginx

KEPT = 8000
LOOP = "while ss --tcp --all --numeric > /dev/null; do :; done"


class StallSocketLists(StallCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        probe, shop = self.stage.pods("probe", "shop")
        self.server = nginx(self.stage, shop)
        self.client = self.stage.play(shop, "feed-reader", keep_idle, "127.0.0.1", 80, KEPT)
        self.ping_all_the_time(probe, shop)
        pinned = ("taskset", "--cpu-list", str(self.receiver))
        self.monitor = self.stage.run(shop, "sh", *pinned, "sh", "-c", LOOP)

    def look(self) -> Sight:
        kept = connections(self.pinged.netns).where("ESTAB", peer_port=80)
        return self.in_time(len(kept) == KEPT, f"{kept} kept; the monitor: {used(self.monitor.pid)}")

    def expected(self) -> Expected:
        return self.nothing_stalled(self.monitor, self.client, self.server)
