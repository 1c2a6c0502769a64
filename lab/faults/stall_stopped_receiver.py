"""A program that somebody stopped (SIGSTOP) while packets come to it: its socket is full, and drops them.

They were received in time; what waits is in the socket, and what is lost is lost by the socket, not by a CPU.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace

from lab.arrivals import StallCase
from lab.case import Expected
from lab.datagrams import counters
from lab.look import Sight, wait_until
from lab.slow_filter import send_bursts, take
from lab.stage import status

PACKETS, EVERY_SECONDS = 100, 0.1


class StallStoppedReceiver(StallCase):
    kind = "look-alike"

    def start(self) -> None:
        probe, shop, meter = self.stage.pods("probe", "shop", "meter")
        self.ping_all_the_time(probe, shop)
        self.taker = self.stage.play(shop, "collector", take, self.sender)
        self.meter = self.stage.play(meter, "meter", send_bursts, shop.address, PACKETS, EVERY_SECONDS, self.sender)
        wait_until(lambda: counters(shop).read > 0, 10, self.stage.logs)
        os.kill(self.taker.pid, signal.SIGSTOP)

    def look(self) -> Sight:
        seen, state = counters(self.pinged), status(self.taker.pid)
        return self.in_time(seen.no_room > 100 and state == "T", f"{seen}, reader in state {state}")

    def expected(self) -> Expected:
        return replace(self.nothing_stalled(self.taker, self.meter), beside=("udp-buffers",))
