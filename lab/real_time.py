"""Real-time tasks that keep a CPU in user mode, and threads that take up what a device has received."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lab.arrivals import write_sys
from lab.look import wait_until
from lab.stage import Pod, inside

PRIORITY = 50


def spin(cpu: int, priority: int, busy_seconds: float, every_seconds: float) -> None:
    """Busy for so long in each so many seconds, all of it in user mode; at a priority in real time, or none (0).

    A child cgroup of the cpu controller of cgroup v1 may have no real-time budget; the root has.
    """
    os.sched_setaffinity(0, {cpu})
    if priority:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    while True:
        begin = time.monotonic()
        while time.monotonic() < begin + busy_seconds:
            pass
        time.sleep(max(0.0, begin + every_seconds - time.monotonic()))


def policy(pid: int) -> tuple[int, int]:
    """Scheduling policy and priority."""
    return os.sched_getscheduler(pid), os.sched_getparam(pid).sched_priority


def thread_napi(place: Pod, device: str, other_place: Pod, other_end: str, cpu: int) -> int:
    """A thread, not softirqs, takes up what the veth device receives, on this CPU; its number.

    The device gives to NAPI what GRO may merge, where the other end does not segment (veth_skb_is_eligible_for_gro).
    """
    before = napi_threads()
    inside(other_place, "ethtool", "-K", other_end, "tso", "off")
    inside(place, "ethtool", "-K", device, "gro", "on")
    write_sys(place, 'echo 1 >/sys/class/net/"$0"/threaded', device)
    wait_until(lambda: bool(napi_threads() - before), 5, lambda: f"no NAPI thread for {device}")
    (thread,) = napi_threads() - before
    os.sched_setaffinity(thread, {cpu})
    return thread


def napi_threads() -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "comm").read_text().startswith("napi/"):
                    found.add(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found
