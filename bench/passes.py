"""The sockets collector with its attribution, in a process of its own: `python -m bench.passes NUMBER` prints JSON.

The kernel's own account of the BPF programs is a second opinion on their steps. BPF_ENABLE_STATS is on for as long as
its descriptor is open, so unlike the sysctl kernel.bpf_stats_enabled it cannot be left behind.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.kernel.bpf.socket_walk import SocketWalk
from whodunnet.kernel.procfs.sockstat import read_sockstat
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.model.workload import Workloads

BPF_ENABLE_STATS = 32  # include/uapi/linux/bpf.h: enum bpf_cmd
BPF_STATS_RUN_TIME = 0  # enum bpf_stats_type
RAW_TRACEPOINT = 17  # enum bpf_prog_type
BPF_CALL = {"x86_64": 321, "aarch64": 280}
"""Number of bpf(2) by machine."""
LOADS = 5


class Passes(NamedTuple):
    """What NUMBER passes showed. Times in seconds, by pass; the first pass also loads the programs."""

    method: str
    load: list[float]
    first: float
    passes: list[float]
    collector: list[float]
    tcp_sockets: int
    groups: int
    attributed: int
    longest_step: float
    mean_step: float
    steps: int
    kernel_seconds: float
    difference_pages: list[int]
    allowed_pages: int
    peak_bytes: int


def measure(number: int) -> Passes:
    """Load the programs LOADS times, then take so many snapshots at rest."""
    roots = Roots()
    support = read_support(roots)
    load = []
    for _ in range(LOADS):
        begin = time.perf_counter()
        walk = SocketWalk(support)
        load.append(time.perf_counter() - begin)
        walk.close()
    passes, collector, differences, longest = [], [], [], 0.0
    with SnapshotTaker(roots, support, ("sockets",)) as taker:
        begin = time.perf_counter()
        sample, owners = both(taker.take())
        first = time.perf_counter() - begin
        for _ in range(number):
            cost = taker.costs["sockets"].wall_seconds
            begin = time.perf_counter()
            sample, owners = both(taker.take())
            passes.append(time.perf_counter() - begin)
            collector.append(taker.costs["sockets"].wall_seconds - cost)
            pages = read_sockstat(roots).tcp_mem_pages
            differences.append(pages - sample.tcp_memory_bytes // support.page_size_bytes)
            longest = max(longest, sample.longest_step_seconds)
        with kernel_account() as account:
            taker.take()
    return Passes(
        method=sample.method,
        load=load,
        first=first,
        passes=passes,
        collector=collector,
        tcp_sockets=sample.tcp_sockets,
        groups=len(sample.groups),
        attributed=sum(g.sockets for g in sample.groups if g.protocol == "tcp" and g.owner_pid in owners.by_pid),
        longest_step=longest,
        mean_step=account.step_seconds / account.steps if account.steps else 0.0,
        steps=account.steps,
        kernel_seconds=account.all_seconds,
        difference_pages=differences,
        allowed_pages=256 * (os.cpu_count() or 1),
        peak_bytes=peak_bytes(),
    )


def both(snapshot: Snapshot) -> tuple[Sockets, Workloads]:
    """The sockets of a snapshot and who owns them."""
    sockets, owners = snapshot.samples["sockets"], snapshot.samples["workloads"]
    assert isinstance(sockets, Sockets)
    assert isinstance(owners, Workloads)
    return sockets, owners


class Account:
    """Runs and time of this process's BPF programs, as the kernel counted them."""

    steps = 0
    step_seconds = 0.0
    all_seconds = 0.0


@contextmanager
def kernel_account() -> Iterator[Account]:
    """The kernel measures every BPF program while the block runs; what it says is in the account afterwards."""
    account = Account()
    statistics = enable_statistics()
    try:
        yield account
        for kind, nanoseconds, runs in own_programs():
            account.all_seconds += nanoseconds / 1e9
            if kind == RAW_TRACEPOINT and runs > account.steps:  # list_tables runs once a pass, walk_table many times
                account.steps, account.step_seconds = runs, nanoseconds / 1e9
    finally:
        os.close(statistics)


def enable_statistics() -> int:
    """A descriptor that keeps the kernel's account of BPF programs switched on. Raises OSError."""
    attribute = ctypes.create_string_buffer(struct.pack("=I", BPF_STATS_RUN_TIME), 128)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.syscall(BPF_CALL[platform.machine()], BPF_ENABLE_STATS, attribute, 4))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "BPF_ENABLE_STATS")
    return descriptor


def own_programs() -> Iterator[tuple[int, int, int]]:
    """Kind, nanoseconds and runs of every BPF program that this process has open (proc_pid_fdinfo(5))."""
    for path in Path("/proc/self/fdinfo").iterdir():
        try:
            fields = dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue  # the descriptor of this very listing
        if "run_time_ns" in fields:
            yield int(fields["prog_type"]), int(fields["run_time_ns"]), int(fields["run_cnt"])


def peak_bytes() -> int:
    """VmHWM, because ru_maxrss also counts what the parent had when it started us."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))._asdict()))
