"""A machine with little to do: a thousand threads sleep, each for its own time, and a ping comes now and then.

An idle CPU parks its timer for seconds: nothing is sampled then, and nothing waits.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from lab.actor import rest
from lab.arrivals import StallCase
from lab.case import Expected
from lab.look import Sight

THREADS = 1000


def sleep_each() -> None:
    def sleep(seconds: float) -> None:
        while True:
            time.sleep(seconds)

    threading.stack_size(64 * 1024)
    for number in range(THREADS):
        threading.Thread(target=sleep, args=(1 + number / 10,), daemon=True).start()
    rest()


class StallParkedSleepers(StallCase):
    kind = "look-alike"

    def start(self) -> None:
        probe, shop, quiet = self.stage.pods("probe", "shop", "quiet")
        self.ping_all_the_time(probe, shop)
        self.sleepers = self.stage.play(quiet, "scheduler", sleep_each)

    def look(self) -> Sight:
        threads = len(list(Path(f"/proc/{self.sleepers.pid}/task").iterdir()))
        return self.in_time(threads > THREADS, f"{threads} threads")

    def expected(self) -> Expected:
        return self.nothing_stalled(self.sleepers)
