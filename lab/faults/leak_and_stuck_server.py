"""Two faults of different kinds at once: one pod never reads its answers, and in another a server no longer accepts.

They have nothing to do with each other. Both have to be named, each for what it does.
"""

from __future__ import annotations

from lab.case import QUEUE_RULES, Expected
from lab.connects import GAVE_UP, STEP_SECONDS, ConnectCase, call, calls, named
from lab.faults.accept_queue_stuck import hang
from lab.faults.response_never_read import check_health
from lab.look import Sight, connections, never_read
from lab.node import Node
from lab.servers import nginx, up

PORT = 8080


class LeakAndStuckServer(ConnectCase):
    kind = "fault"
    rules_unread = True
    rules = QUEUE_RULES
    age_seconds = 6

    def start(self) -> None:
        self.node = Node(self.stage, "foo", "web", "shop", "orders")
        foo, web, shop, orders = self.node.pods
        self.web = nginx(self.stage, web)
        self.stuck = self.stage.play(orders, "orders", hang)
        up(self.stage, orders, self.stuck, PORT)
        self.caller = self.stage.play(shop, "checkout", call, [(orders.address, PORT)], 10, 2)
        self.leaker = self.stage.play(foo, "foo-health", check_health, web.address)

    def look(self) -> Sight:
        foo, web, _, orders = self.node.pods
        leak = never_read(foo.netns, web.netns, 80, at_least=30)
        (listener,) = connections(orders.netns).where("LISTEN", local_port=PORT)
        gave_up = calls(self.caller).where(GAVE_UP, at_least_seconds=STEP_SECONDS)
        there = leak.there and listener.unread > listener.unsent and len(gave_up) >= 20
        return Sight(there, f"{leak.seen}; {listener.unread} in a queue of {listener.unsent}, {len(gave_up)} gave up")

    def expected(self) -> Expected:
        return Expected(
            rule="socket-leak",
            also=("accept-queue", "connect-timeout"),
            culprits=(self.leaker.who(), self.stuck.who()),
            innocent=(self.web.who(), self.caller.who()),
            others=(named(self.caller),),
        )
