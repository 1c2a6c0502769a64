"""A full conntrack table, read and attributed, against `conntrack -L` and the raw dump alone.

`python -m bench.flows ENTRIES`, as root, prints JSON. The table is that of a network namespace of its own; those who
own its source addresses are a crowd of namespaces with one program each.
"""

from __future__ import annotations

import json
import socket
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from bench.conntrack import NETLINK_NETFILTER, OWNERS, REQUEST, flows, insert, room_for
from bench.crowd import crowd
from bench.passes import peak_bytes
from bench.softirqs import longest_delays
from whodunnet.collectors.conntrack import ConntrackCollector
from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.flow_owners import FlowOwners
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.model.workload import Workloads

ROOT = Path(__file__).parent.parent
CT_GET, DUMP = 1 << 8 | 1, 0x300  # IPCTNL_MSG_CT_GET, NLM_F_DUMP
NLMSG_DONE = 3
SOCKETS_EACH = 20
ROUNDS = 3


class Numbers(NamedTuple):
    """Times in seconds, medians of ROUNDS; peak_bytes is of a process that reads and attributes, nothing else.

    ours_seconds: a snapshot of conntrack with addresses, sockets and workloads, and each group's owners.
    attributed: entries whose workload was found. collect_seconds: the conntrack collector alone.
    softirq_seconds: the longest a received packet waited during one reading; the least of ROUNDS.
    """

    entries: int
    attributed: int
    owners: int
    groups: int
    other_entries: int
    conntrack_seconds: float
    raw_seconds: float
    ours_seconds: float
    collect_seconds: float
    softirq_seconds: float
    peak_bytes: int

    @property
    def ratio(self) -> float:
        """Ours to `conntrack -L`."""
        return self.ours_seconds / self.conntrack_seconds


def measure(entries: int) -> Numbers:
    """Everything at one size, in a network namespace of its own. Raises CalledProcessError."""
    command = ["unshare", "--net", sys.executable, "-m", "bench.flows", str(entries)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return Numbers(**json.loads(done.stdout))


def measure_here(entries: int) -> Numbers:
    """The same in the namespace we are in, which must be empty and ours alone."""
    roots = Roots()
    collector = ConntrackCollector(roots, read_support(roots))
    with crowd(OWNERS, SOCKETS_EACH, SOCKETS_EACH), room_for(entries):
        insert(flows(entries))
        theirs = [seconds_of(["conntrack", "-L"]) for _ in range(ROUNDS)]
        raw = [raw_dump() for _ in range(ROUNDS)]
        ours = in_process("collect")
        delays = longest_delays(collector.collect, ROUNDS)
    return Numbers(
        conntrack_seconds=statistics.median(theirs),
        raw_seconds=statistics.median(raw),
        softirq_seconds=min(delay.longest_seconds for delay in delays),
        **ours,
    )


def empty_seconds() -> float:
    """What an empty table adds to a new process's first snapshot; the best of ROUNDS. Raises CalledProcessError."""
    return float(min(in_process("empty", "unshare", "--net")["seconds"] for _ in range(ROUNDS)))


def in_process(what: str, *enter: str) -> dict[str, Any]:
    """What a process of its own measures, so that its memory and its imports are its own."""
    command = [*enter, sys.executable, "-m", "bench.flows", what]
    found: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    return found


def collect() -> dict[str, Any]:
    """Snapshots, and who opened what is in them."""
    roots = Roots()
    whole, alone = [], []
    with SnapshotTaker(roots, read_support(roots), ("conntrack", "sockets")) as taker:
        for _ in range(ROUNDS):
            before = taker.costs["conntrack"].wall_seconds if taker.costs else 0.0
            begin = time.perf_counter()
            conntrack, owners = attribute(taker.take())
            whole.append(time.perf_counter() - begin)
            alone.append(taker.costs["conntrack"].wall_seconds - before)
    return {
        "entries": conntrack.entries_read,
        "attributed": sum(owners.values()),
        "owners": len(owners),
        "groups": len(conntrack.groups),
        "other_entries": conntrack.other_entries,
        "ours_seconds": statistics.median(whole),
        "collect_seconds": statistics.median(alone),
        "peak_bytes": peak_bytes(),
    }


def attribute(snapshot: Snapshot) -> tuple[Conntrack, dict[str, int]]:
    """The reading, and the entries of each workload by its key."""
    conntrack, addresses, sockets, workloads = (
        snapshot.samples[name] for name in ("conntrack", "addresses", "sockets", "workloads")
    )
    assert isinstance(conntrack, Conntrack)
    assert isinstance(addresses, Addresses)
    assert isinstance(sockets, Sockets)
    assert isinstance(workloads, Workloads)
    owners = FlowOwners(conntrack, addresses, [sockets], workloads)
    found: dict[str, int] = {}
    for group in conntrack.groups:
        for owner, entries in owners.split(group):
            if owner.kind == "workload":
                found[owner.key] = found.get(owner.key, 0) + entries
    return conntrack, found


def read_empty() -> dict[str, Any]:
    roots = Roots()
    with SnapshotTaker(roots, read_support(roots), ("tcp_memory", "conntrack")) as taker:
        sample = taker.take().samples["conntrack"]
        assert isinstance(sample, Conntrack)
        assert sample.count == 0
        return {"seconds": taker.costs["conntrack"].wall_seconds}


def raw_dump() -> float:
    """Seconds to let the kernel hand over every entry, and look at nothing but the end."""
    begin = time.perf_counter()
    buffer = bytearray(1 << 18)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.send(struct.pack("=IHHIIBBH", 20, CT_GET, REQUEST | DUMP, 1, 0, socket.AF_UNSPEC, 0, 0))
        while netlink.recv_into(buffer) and struct.unpack_from("=H", buffer, 4) != (NLMSG_DONE,):
            pass
    return time.perf_counter() - begin


def seconds_of(command: list[str]) -> float:
    """Run it with its output thrown away."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main(what: str) -> dict[str, Any]:
    if what == "empty":
        return read_empty()
    return collect() if what == "collect" else measure_here(int(what))._asdict()


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
