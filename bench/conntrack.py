"""Fills the conntrack table of a network namespace by ctnetlink, far faster than by traffic.

nf_conntrack_max is raised for as long as it takes, and put back.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from bench.crowd import address_of
from lab.host import CONNTRACK_MAX, alone
from whodunnet.kernel.namespaces import inside

NETLINK_NETFILTER = 12
CT_NEW = 1 << 8  # NFNL_SUBSYS_CTNETLINK
REQUEST, CREATE, EXCLUSIVE = 0x1, 0x400, 0x200  # NLM_F_
NESTED = 0x8000
SEEN_REPLY, ASSURED, CONFIRMED = 2, 4, 8  # IPS_
ESTABLISHED, TIME_WAIT = 3, 7
OWNERS = 500
DESTINATIONS_EACH = 10
AT_ONCE = 20
"""Entries in one message to the kernel."""
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


@contextmanager
def room_for(entries: int) -> Iterator[None]:
    """nf_conntrack_max above so many while the block runs. It is one number for the whole kernel: nobody else of bench
    and lab changes it meanwhile. Raises NotThereError where another run has it for too long."""
    with alone(CONNTRACK_MAX):
        before = int(CONNTRACK_MAX.read_text())
        if before == 0 or before > entries:
            yield
            return
        try:
            inside(HOST, None, partial(CONNTRACK_MAX.write_text, str(entries * 2)))
            yield
        finally:
            inside(HOST, None, partial(CONNTRACK_MAX.write_text, str(before)))


def flows(entries: int) -> Iterator[Entry]:
    """Connections of OWNERS, as many as a crowd has members, to DESTINATIONS_EACH; one in four is in TIME_WAIT."""
    pairs = OWNERS * DESTINATIONS_EACH
    for n in range(entries):
        owner, destination = n % OWNERS, n // OWNERS % DESTINATIONS_EACH
        yield Entry(
            source=address_of(owner),
            destination=bytes((198, 19, owner >> 8, destination)),
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
