"""Keeps received packets waiting, each time by another cause, with the stall recorder beside it. In a virtual machine.

`python -m inside.stalling`: one JSON document (Answer). Packets come from another namespace, sent by CPU 1 in bursts
and received by CPU 0 (RPS), where each passes rules that take long. A round of NET_RX leaves some of a burst over, and
the kernel wakes ksoftirqd for it, as on a busy node many times a second.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import node, read_support
from whodunnet.model.snapshot import Node, Recording

from .scene import inside

RECEIVER, SENDER = 0, 1
RULES, BURST, PAUSE_SECONDS = 1_000, 60, 0.06
SHORT_ROUNDS = ("dev_weight=8", "netdev_budget=24")
"""So few packets at once, for here each takes a tenth of a millisecond."""
LINK = (
    "netns add far",
    "link add near type veth peer name far netns far",
    "addr add 10.7.0.1/24 dev near",
    "link set near up",
    "-n far addr add 10.7.0.2/24 dev far",
    "-n far link set far up",
)
TURNS, TURN_SECONDS = 3, 1.0
"""Snapshots of each scene after the first."""
CALL_SECONDS, HOG_SECONDS, REST_SECONDS = 0.25, 0.1, 0.2
MANY = 4_000
READS_APART_SECONDS, TOUCHES_APART_SECONDS = 0.05, 0.04
OTHER_READS_SECONDS = 0.012
"""A monitor reads much else before; what has only just got the CPU is not told from an idle one (bpf/stalls.bpf.c)."""
CGROUPS = Path("/sys/fs/cgroup")
COLLECTORS = ("stalls", "memory_cgroups")


class Answer(msgspec.Struct):
    """A recording of each scene, and who was there by name."""

    scenes: dict[str, Recording]
    pids: dict[str, int]


class Child(NamedTuple):
    """What a process does again and again on one CPU. priority: in real time."""

    comm: str
    cpu: int
    act: Callable[[], object]
    priority: int = 0


class Stage:
    """Plays scenes before one recorder."""

    def __init__(self, taker: SnapshotTaker, node: Node) -> None:
        self._taker, self._node = taker, node
        self.scenes: dict[str, Recording] = {}
        self.pids: dict[str, int] = {}

    def play(self, name: str, *children: Child) -> None:
        with ExitStack() as stack:
            for child in children:
                self.pids[child.comm] = stack.enter_context(doing(child))
            snapshots = [self._taker.take()]
            for _ in range(TURNS):
                time.sleep(TURN_SECONDS)
                snapshots.append(self._taker.take())
        self.scenes[name] = Recording(node=self._node, snapshots=tuple(snapshots))


@contextmanager
def doing(child: Child) -> Iterator[int]:
    pid = os.fork()
    if pid == 0:
        try:
            Path("/proc/self/comm").write_text(child.comm)
            os.sched_setaffinity(0, {child.cpu})
            if child.priority:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(child.priority))
            while True:
                child.act()
        except Exception as error:  # noqa: BLE001 - a child ends here, whatever it was
            os.write(2, f"{child.comm}: {error!r}\n".encode())
        finally:
            os._exit(1)
    try:
        yield pid
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), f"{child.comm} ended"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def sh(command: str, text: str | None = None) -> None:
    subprocess.run(["sh", "-c", command], input=text, check=True, text=True, stdout=subprocess.DEVNULL)


def set_up() -> None:
    rules = "\n".join(f"ip saddr 10.{i >> 8}.{i & 255}.1 drop" for i in range(RULES))
    chain = f"type filter hook prerouting priority 0;\n{rules}\niifname near udp dport 9 drop"
    sh("nft -f -", f"table ip t {{\nchain c {{\n{chain}\n}}\n}}\n")
    for setting in SHORT_ROUNDS:
        sh(f"sysctl -q -w net.core.{setting}")
    for command in LINK:
        sh(f"ip {command}")
    Path("/sys/class/net/near/queues/rx-0/rps_cpus").write_text(f"{1 << RECEIVER:x}")


def sender() -> Callable[[], None]:
    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.connect(("10.7.0.1", 9))
        return made

    there = inside("far", make)

    def send() -> None:
        for _ in range(BURST):
            there.send(b"x")
        time.sleep(PAUSE_SECONDS)

    return send


def spin(turns: int = 1_000_000) -> float:
    """In user mode, without a look at the clock meanwhile. Seconds that it took."""
    begin = time.monotonic()
    for _ in range(turns):
        pass
    return time.monotonic() - begin


def caller() -> Callable[[], object]:
    """Many short system calls."""
    zero = os.open("/dev/zero", os.O_RDONLY)
    return lambda: os.read(zero, 1)


def poller() -> Callable[[], None]:
    """One long system call after the other: poll() of very many descriptors, which the kernel looks at in one go."""
    most = 1_000_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    silent = socket.create_server(("127.0.0.1", 0))
    entries = ctypes.create_string_buffer(struct.pack("ihh", silent.fileno(), 1, 0) * most)
    libc = ctypes.CDLL(None)

    def poll(count: int) -> float:
        begin = time.monotonic()
        assert silent.fileno() >= 0
        assert libc.poll(entries, ctypes.c_ulong(count), 0) == 0
        return time.monotonic() - begin

    poll(20_000)
    count = min(most, int(20_000 * CALL_SECONDS / poll(20_000)))

    def act() -> None:
        poll(count)
        time.sleep(REST_SECONDS)

    return act


def starver() -> Callable[[], None]:
    turns = int(1_000_000 * HOG_SECONDS / spin())

    def act() -> None:
        spin(turns)
        time.sleep(REST_SECONDS)

    return act


def leave_dying() -> mmap.mmap:
    """Deleted cgroups, to each of which a page of one file in memory is still charged; the file."""
    pods = CGROUPS / "kubepods"
    sh(f"mkdir /run/kept {pods} && mount -t tmpfs none /run/kept")
    for above in (CGROUPS, pods):
        (above / "cgroup.subtree_control").write_text("+memory")
    with Path("/run/kept/file").open("w+b", buffering=0) as kept, (CGROUPS / "cgroup.procs").open("wb", 0) as back:
        kept.truncate(MANY * mmap.PAGESIZE)
        for i in range(MANY):
            own = pods / f"{i}"
            own.mkdir()
            with (own / "cgroup.procs").open("wb", 0) as there:
                there.write(b"0")
            os.pwrite(kept.fileno(), b"x", i * mmap.PAGESIZE)
            back.write(b"0")
            own.rmdir()
        return mmap.mmap(kept.fileno(), MANY * mmap.PAGESIZE)


def toucher(pages: mmap.mmap) -> Callable[[], None]:
    """Maps and unmaps what is charged to all the deleted cgroups, so that the statistics of each change."""

    def act() -> None:
        for i in range(MANY):
            pages[i * mmap.PAGESIZE]
        pages.madvise(mmap.MADV_DONTNEED)
        time.sleep(TOUCHES_APART_SECONDS)

    return act


def monitor() -> None:
    end = time.monotonic() + OTHER_READS_SECONDS
    while time.monotonic() < end:
        Path("/proc/stat").read_bytes()
    (CGROUPS / "memory.stat").read_bytes()
    time.sleep(READS_APART_SECONDS)


def main() -> None:
    os.sched_setaffinity(0, {SENDER})
    set_up()
    support = read_support(Roots())
    packets = Child("sender", SENDER, sender())
    with SnapshotTaker(Roots(), support, COLLECTORS) as taker:
        stage = Stage(taker, node(support))
        taker.take()  # the first takes long
        stage.play("packets", packets)
        stage.play("spinning", packets, Child("spinner", RECEIVER, spin))
        stage.play("calling", packets, Child("caller", RECEIVER, caller()))
        stage.play("polling", packets, Child("poller", RECEIVER, poller()))
        stage.play("real time", packets, Child("urgent", RECEIVER, starver(), priority=50))
        touching = Child("toucher", SENDER, toucher(leave_dying()))
        stage.play("memory.stat", packets, touching, Child("monitor", RECEIVER, monitor))
    sys.stdout.write(msgspec.json.encode(Answer(stage.scenes, stage.pids)).decode())


if __name__ == "__main__":
    main()
