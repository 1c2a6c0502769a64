"""Two servers that answer late or never, for different reasons: one accepts nothing, the other has too little CPU.

To whoever calls both it is the same slowness. The one sleeps with a full accept queue, and all its CPU time is left;
the other works as well as its quota lets it, and its queue is empty. More CPU helps the second only, and a restart the
first only.
"""

from __future__ import annotations

from lab import cpu_quota
from lab.case import QUEUE_RULES, Expected, Named
from lab.connects import GAVE_UP, STEP_SECONDS, ConnectCase, call, calls, named
from lab.cpu_quota import Quota, ask
from lab.faults.accept_queue_stuck import PORT, hang
from lab.look import Sight, connections
from lab.node import Node
from lab.servers import up

CLIENTS = 8


class FullQueueAndThrottledServer(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = (*QUEUE_RULES, "cpu-throttled")
    age_seconds = 6

    def start(self) -> None:
        self.node = Node(self.stage, "shop", "orders", "office", "reports")
        shop, orders, office, reports = self.node.pods
        self.quota = Quota(self.stage, cpus=0.2)
        self.stuck = self.stage.play(orders, "orders", hang)
        self.throttled = self.stage.play(reports, "reports", cpu_quota.serve, 0.02)
        self.quota.take(self.throttled)
        up(self.stage, orders, self.stuck, PORT)
        up(self.stage, reports, self.throttled, cpu_quota.PORT)
        self.caller = self.stage.play(shop, "checkout", call, [(orders.address, PORT)], 10, 2)
        self.browser = self.stage.play(office, "browser", ask, reports.address, CLIENTS)

    def look(self) -> Sight:
        _, orders, _, reports = (connections(pod.netns) for pod in self.node.pods)
        (full,), (empty,) = (seen.where("LISTEN", local_port=PORT) for seen in (orders, reports))
        unread = sum(one.unread > 0 for one in reports.where("ESTAB", local_port=PORT))
        gave_up = calls(self.caller).where(GAVE_UP, at_least_seconds=STEP_SECONDS)
        there = full.unread > full.unsent and not empty.unread and unread >= CLIENTS // 2 and len(gave_up) >= 20
        seen = f"queues {full.unread} of {full.unsent} and {empty.unread} of {empty.unsent}; {len(gave_up)} gave up"
        return Sight(there and self.quota.throttled() > 20, f"{seen}; {unread} requests wait, {self.quota.throttled()}")

    def expected(self) -> Expected:
        victims = (self.throttled.who(), self.caller.who(), self.browser.who())
        return Expected(
            rule="accept-queue",
            also=("connect-timeout", "cpu-throttled"),
            tolerated=(self.stuck.who(),),
            innocent=victims,
            others=(
                Named(self.stuck.who(), ("culprit",)), Named(self.throttled.who(), ("victim",)), named(self.caller)
            ),
        )  # fmt: skip
