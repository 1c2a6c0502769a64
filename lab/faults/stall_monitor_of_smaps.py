"""A monitor reads smaps_rollup of a large cache, again and again, and is in the kernel for most of its time.

As in incident 2: a monitor in read() of a file that the kernel has to sum up first, for milliseconds at a time, on the
CPU that receives. But the kernel walks the pages of a process with softirqs on, and packets are received meanwhile.
What the monitor costs is CPU time, of which there is enough, and nobody waits for it.
"""

from __future__ import annotations

import mmap
import os
import re
import time
from pathlib import Path
from statistics import median

from lab.actor import rest
from lab.arrivals import StallCase, used
from lab.case import Expected
from lab.look import Sight, wait_until

CACHE_BYTES, PAGE_BYTES, REST_SECONDS = 256 << 20, 4096, 0.003


def cache(size: int) -> None:
    """Small pages, each of which has been written to."""
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_NOHUGEPAGE)
    for place in range(0, size, PAGE_BYTES):
        pages[place] = 1
    print("filled", flush=True)
    rest()


def watch(pid: int, cpu: int) -> None:
    """Tell how long each look took."""
    os.sched_setaffinity(0, {cpu})
    file = Path(f"/proc/{pid}/smaps_rollup")
    while True:
        begin = time.monotonic()
        file.read_bytes()
        took = time.monotonic() - begin
        print(f"read {1000 * took:.3f} ms", flush=True)
        time.sleep(max(REST_SECONDS, took))


class StallMonitorOfSmaps(StallCase):
    kind = "look-alike"
    rules_unread = True

    def start(self) -> None:
        probe, shop, monitor = self.stage.pods("probe", "shop", "monitor")
        self.ping_all_the_time(probe, shop)
        self.cache = self.stage.play(shop, "cache", cache, CACHE_BYTES)
        wait_until(lambda: "filled" in self.cache.log.read_text(), 20, self.stage.logs)
        self.monitor = self.stage.play(monitor, "exporter", watch, self.cache.pid, self.receiver)

    def look(self) -> Sight:
        reads = [float(ms) for ms in re.findall(r"^read (\S+) ms$", self.monitor.log.read_text(), re.MULTILINE)]
        there = len(reads) >= 20 and median(reads) > 0.5
        return self.in_time(there, f"{len(reads)} reads, the last {reads[-3:]} ms; monitor: {used(self.monitor.pid)}")

    def expected(self) -> Expected:
        return self.nothing_stalled(self.monitor, self.cache)
