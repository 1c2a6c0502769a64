"""What really keeps received packets waiting, for the tests of the stall recorder. Packets come to CPU 0 from CPU 1."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from netns.namespace import Namespace, ip, wait_until
from whodunnet.kernel.napi_threads import read_napi_threads
from whodunnet.kernel.roots import Roots

RECEIVER, SENDER = 0, 1
NEVER_MATCHED = "  udp dport {} udp sport 1 counter\n"
MANY_RULES = 20_000
MANY_PACKETS = 200
HOG_PRIORITY = 50
HOG_SECONDS = 0.08
SELECTIVE_DUMP = ("conntrack", "-L", "--mark", "77")
THREADED_LINK = (
    "link add far type veth peer name near",
    "link set far up",
    "link set near up",
    "addr add 10.7.0.1/24 dev far",
    "neigh add 10.7.0.2 lladdr 02:00:00:00:00:09 dev far nud permanent",
)
HOG = "import time; end = time.monotonic() + {}\nwhile time.monotonic() < end: pass"


def run_on(cpu: int, *command: str, priority: int = 0) -> subprocess.Popen[bytes]:
    """Start a command on one CPU; with a priority in real time."""
    real_time = ("chrt", "--fifo", str(priority)) if priority else ()
    return subprocess.Popen(["taskset", "--cpu-list", str(cpu), *real_time, *command], stdout=subprocess.DEVNULL)


def hog(seconds: float = HOG_SECONDS, priority: int = 0) -> subprocess.Popen[bytes]:
    """A process that keeps the receiving CPU in user mode."""
    return run_on(RECEIVER, sys.executable, "-c", HOG.format(seconds), priority=priority)


def filter_slowly() -> None:
    """Rules enough that each UDP packet that is received takes a good part of a millisecond."""
    rules = "".join(NEVER_MATCHED.format(1 + n) for n in range(MANY_RULES))
    table = f"table ip t {{\n chain in {{ type filter hook input priority 0;\n{rules} }}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=table, text=True, check=True)


def receive_many(packets: int = MANY_PACKETS) -> None:
    """A burst of packets to ourselves, which the other CPU receives (RPS)."""
    steer("lo")
    os.sched_setaffinity(0, {SENDER})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind(("127.0.0.1", 0))
        here.connect(here.getsockname())
        for _ in range(packets):
            here.send(b"x")
        wait_until(lambda: not waiting_on(RECEIVER), "the last packet")


def waiting_on(cpu: int) -> int:
    """Packets in the queue of that CPU (softnet_seq_show, net/core/net-procfs.c)."""
    lines = [line.split() for line in Path("/proc/net/softnet_stat").read_text().splitlines()]
    return next(int(words[11], 16) for words in lines if int(words[12], 16) == cpu)


def steer(device: str) -> None:
    """What the device receives is received by one CPU."""
    with own_sys() as sys_root:
        (sys_root / f"class/net/{device}/queues/rx-0/rps_cpus").write_text(f"{1 << RECEIVER:x}")


def thread_napi(device: str) -> int:
    """A thread, not softirqs, takes up what the device receives; its number. It runs on the receiving CPU."""
    before = set(read_napi_threads(Roots()))
    subprocess.run(["ethtool", "-K", "far", "tso", "off"], check=True)  # veth gives NAPI only what GRO may merge
    subprocess.run(["ethtool", "-K", device, "gro", "on"], check=True)
    with own_sys() as sys_root:
        (sys_root / f"class/net/{device}/threaded").write_text("1")
    wait_until(lambda: set(read_napi_threads(Roots())) - before, "a NAPI thread")
    (thread,) = set(read_napi_threads(Roots())) - before
    os.sched_setaffinity(thread, {RECEIVER})
    return thread


def starve(namespace: Namespace) -> int:
    """A real-time task over the thread of the link, which polled before: how long a thread waits at first is not known.

    The number of the task.
    """
    namespace(lambda: send_steadily(HOG_SECONDS))
    with hog(priority=HOG_PRIORITY) as child:
        namespace(lambda: send_steadily(3 * HOG_SECONDS, child))
    return child.pid


def send_steadily(seconds: float, last: subprocess.Popen[bytes] | None = None) -> None:
    """Packets from one end of the link to the other, a millisecond apart; at least until that process has ended."""
    os.sched_setaffinity(0, {SENDER})
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.connect(("10.7.0.2", 9))
        while time.monotonic() < end or (last is not None and last.poll() is None):
            here.send(b"x")
            time.sleep(0.001)


@contextmanager
def own_sys() -> Iterator[Path]:
    """A sysfs that shows the devices of the calling thread's namespace."""
    place = Path("/run/netns") / f"sys-{os.getpid()}-{time.monotonic_ns()}"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "sysfs", "none", str(place)], check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)
    finally:
        place.rmdir()


def furnish_threaded_link() -> int:
    for command in THREADED_LINK:
        ip(command)
    return thread_napi("near")
