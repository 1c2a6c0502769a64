"""A full conntrack table: the conntrack collector against `conntrack -L`, and against the raw dump alone.

`python -m bench.conntrack ENTRIES`, as root, prints JSON. The entries are made by ctnetlink in a network namespace of
their own, far faster than by traffic. nf_conntrack_max is raised for as long as it takes, and put back.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from bench.passes import peak_bytes
from whodunnet.collectors.conntrack import ConntrackCollector
from whodunnet.kernel.namespaces import inside
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support

ROOT = Path(__file__).parent.parent
NETLINK_NETFILTER = 12
CT_NEW, CT_GET = 1 << 8, 1 << 8 | 1
REQUEST, ACK, CREATE, EXCLUSIVE, DUMP = 0x1, 0x4, 0x400, 0x200, 0x300  # NLM_F_
NESTED = 0x8000
SEEN_REPLY, ASSURED, CONFIRMED = 2, 4, 8  # IPS_
ESTABLISHED, TIME_WAIT = 3, 7
OWNERS = 500
DESTINATIONS_EACH = 10
AT_ONCE = 20
"""Entries in one message to the kernel."""
ROUNDS = 3
MAX_FILE = Path("/proc/sys/net/netfilter/nf_conntrack_max")
HOST = Path("/proc/2/ns/net")
"""kthreadd is in the initial network namespace, where alone nf_conntrack_max may be written."""


class Entry(NamedTuple):
    """One TCP connection to be put in the table; addresses are packed, timeout is what is left of it in seconds."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int = 443
    state: int = ESTABLISHED
    timeout: int = 3600
    answered_by: bytes | None = None


class Numbers(NamedTuple):
    """Times in seconds, medians of ROUNDS. receive_seconds: CPU time of our longest single stay in the kernel."""

    entries: int
    groups: int
    other_entries: int
    conntrack_seconds: float
    raw_seconds: float
    ours_seconds: float
    receive_seconds: float
    peak_bytes: int

    @property
    def ratio(self) -> float:
        """Ours to `conntrack -L`."""
        return self.ours_seconds / self.conntrack_seconds


def measure(entries: int) -> Numbers:
    """Everything at one size, in a network namespace of its own. Raises CalledProcessError."""
    command = ["unshare", "--net", sys.executable, "-m", "bench.conntrack", str(entries)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return Numbers(**json.loads(done.stdout))


def measure_here(entries: int) -> Numbers:
    """The same in the namespace we are in, which must be empty and ours alone."""
    with room_for(entries):
        insert(flows(entries))
        theirs = [seconds_of(["conntrack", "-L"]) for _ in range(ROUNDS)]
        raw = [raw_dump() for _ in range(ROUNDS)]
        command = [sys.executable, "-m", "bench.conntrack", "collect"]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    ours: dict[str, Any] = json.loads(done.stdout)
    return Numbers(conntrack_seconds=statistics.median(theirs), raw_seconds=statistics.median(raw), **ours)


def collect() -> dict[str, Any]:
    """What the collector needs, in a process of its own, so that its memory is its own."""
    roots = Roots()
    collector = ConntrackCollector(roots, read_support(roots))
    seconds, stays = [], []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        sample = collector.collect()
        seconds.append(time.perf_counter() - begin)
        stays.append(sample.longest_receive_seconds)
    return {
        "entries": sample.entries_read,
        "groups": len(sample.groups),
        "other_entries": sample.other_entries,
        "ours_seconds": statistics.median(seconds),
        "receive_seconds": max(stays),
        "peak_bytes": peak_bytes(),
    }


@contextmanager
def room_for(entries: int) -> Iterator[None]:
    """nf_conntrack_max above so many while the block runs. It is one number for the whole kernel."""
    before = int(MAX_FILE.read_text())
    if before == 0 or before > entries:
        yield
        return
    try:
        inside(HOST, None, partial(MAX_FILE.write_text, str(entries * 2)))
        yield
    finally:
        inside(HOST, None, partial(MAX_FILE.write_text, str(before)))


def flows(entries: int) -> Iterator[Entry]:
    """Connections of OWNERS to DESTINATIONS_EACH, one in four in TIME_WAIT."""
    pairs = OWNERS * DESTINATIONS_EACH
    for n in range(entries):
        owner, destination = n % OWNERS, n // OWNERS % DESTINATIONS_EACH
        yield Entry(
            source=bytes((10, 1, owner >> 8, owner & 255)),
            destination=bytes((10, 2, owner >> 8, destination)),
            source_port=1024 + n // pairs,
            state=TIME_WAIT if n // pairs % 4 == 3 else ESTABLISHED,
        )


def insert(entries: Iterator[Entry]) -> None:
    """Put entries in the table of the namespace the calling thread is in. Raises OSError for the first refused."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        while batch := b"".join(message(entry) for entry in islice(entries, AT_ONCE)):
            netlink.send(batch)
            check(netlink)


def check(netlink: socket.socket) -> None:
    """Take the answers that are there: only refusals are answered, before send() returns."""
    while True:
        try:
            answer = netlink.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        (kind,), (error,) = struct.unpack_from("=H", answer, 4), struct.unpack_from("=i", answer, 16)
        if kind == 2 and error:  # NLMSG_ERROR
            raise OSError(-error, f"a conntrack entry was refused: {os.strerror(-error)}")


def message(entry: Entry) -> bytes:
    """IPCTNL_MSG_CT_NEW for one entry (uapi linux/netfilter/nfnetlink_conntrack.h)."""
    answered_by = entry.answered_by or entry.destination
    there = addresses(entry.source, entry.destination) + ports(entry.source_port, entry.destination_port)
    back = addresses(answered_by, entry.source) + ports(entry.destination_port, entry.source_port)
    state = attribute(1, bytes([entry.state])) + attribute(4, bytes(2)) + attribute(5, bytes(2))
    body = struct.pack("=BBH", socket.AF_INET if len(entry.source) == 4 else socket.AF_INET6, 0, 0)
    body += attribute(1 | NESTED, there) + attribute(2 | NESTED, back)
    body += attribute(7, struct.pack(">I", entry.timeout)) + attribute(4 | NESTED, attribute(1 | NESTED, state))
    body += attribute(3, struct.pack(">I", SEEN_REPLY | ASSURED | CONFIRMED))
    return struct.pack("=IHHII", 16 + len(body), CT_NEW, REQUEST | CREATE | EXCLUSIVE, 1, 0) + body


def addresses(source: bytes, destination: bytes) -> bytes:
    """CTA_TUPLE_IP."""
    kind = 1 if len(source) == 4 else 3
    return attribute(1 | NESTED, attribute(kind, source) + attribute(kind + 1, destination))


def ports(source: int, destination: int) -> bytes:
    """CTA_TUPLE_PROTO of TCP."""
    number = attribute(1, bytes([socket.IPPROTO_TCP]))
    both = attribute(2, struct.pack(">H", source)) + attribute(3, struct.pack(">H", destination))
    return attribute(2 | NESTED, number + both)


def attribute(kind: int, payload: bytes) -> bytes:
    """struct nlattr with its payload and padding."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def raw_dump() -> float:
    """Seconds to let the kernel hand over every entry, and look at nothing but the end."""
    begin = time.perf_counter()
    buffer = bytearray(1 << 18)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.send(struct.pack("=IHHIIBBH", 20, CT_GET, REQUEST | DUMP, 1, 0, socket.AF_UNSPEC, 0, 0))
        while netlink.recv_into(buffer) and struct.unpack_from("=H", buffer, 4) != (3,):  # NLMSG_DONE
            pass
    return time.perf_counter() - begin


def seconds_of(command: list[str]) -> float:
    """Run it with its output thrown away."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


if __name__ == "__main__":
    print(json.dumps(collect() if sys.argv[1] == "collect" else measure_here(int(sys.argv[1]))._asdict()))
