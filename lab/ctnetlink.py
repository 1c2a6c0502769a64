"""The connection table of a node with very many entries, and agents that ask the kernel for some of them.

A dump by a filter (CTA_MARK, CTA_FILTER) is cut into messages only where entries pass: where none does, the kernel
walks the whole table in one call, with softirqs off (ctnetlink_dump_table in net/netfilter/nf_conntrack_netlink.c).
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from typing import Literal

from lab.stage import Pod, Stage, inside

ENTRIES = 200_000
NETLINK_NETFILTER = 12
CT_GET = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
REQUEST, DUMP = 0x1, 0x300  # NLM_F_
DONE = 3  # NLMSG_DONE
NESTED = 0x8000
IP_SRC = 1  # CTA_FILTER_F_CTA_IP_SRC
ANSWER_BYTES = 1 << 17
ENTRY = "-A -p tcp -s {} -d 203.0.113.7 --sport {} --dport 443 --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 3600\n"

Filter = Literal["mark", "address"]


def fill(stage: Stage, place: Pod, entries: int = ENTRIES) -> None:
    """So many connections of pods that are elsewhere; nf_conntrack_max is raised until the stage closes."""
    stage.conntrack_max(2 * entries)
    file = stage.directory / "entries"
    file.write_text("".join(ENTRY.format(address(n), 1024 + n % 60000) for n in range(entries)))
    inside(place, "conntrack", "--load-file", str(file))


def address(number: int) -> str:
    return f"10.{1 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"


def ask_again_and_again(by: Filter, every_seconds: float, cpu: int) -> None:
    """One process that lives long and asks for what nobody has, from this CPU; it tells of each answer."""
    os.sched_setaffinity(0, {cpu})
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        while True:
            begin = time.monotonic()
            netlink.send(dump(by))
            entries = 0
            while not last(answer := netlink.recv(ANSWER_BYTES)):
                entries += bool(answer)
            print(f"asked {time.monotonic() - begin:.3f} s, {entries} messages", flush=True)
            time.sleep(every_seconds)


def start_again_and_again(options: list[str], every_seconds: float) -> None:
    """A script that starts conntrack(8) each time, and notes its number."""
    while True:
        begin = time.monotonic()
        with subprocess.Popen(["conntrack", "-L", *options], stdout=subprocess.DEVNULL) as child:
            child.wait()
        print(f"started {child.pid} {time.monotonic() - begin:.3f} s", flush=True)
        time.sleep(every_seconds)


def dump(by: Filter) -> bytes:
    """IPCTNL_MSG_CT_GET for entries with a mark, or from an address (uapi linux/netfilter/nfnetlink_conntrack.h)."""
    body = struct.pack("=BBH", socket.AF_INET, 0, 0)
    if by == "mark":
        body += attribute(8, struct.pack(">I", 77)) + attribute(21, struct.pack(">I", 0xFFFFFFFF))
    else:
        body += attribute(1 | NESTED, attribute(1 | NESTED, attribute(1, socket.inet_aton("10.99.0.9"))))
        body += attribute(25 | NESTED, attribute(1, struct.pack("=I", IP_SRC)) + attribute(2, struct.pack("=I", 0)))
    return struct.pack("=IHHII", 16 + len(body), CT_GET, REQUEST | DUMP, 1, 0) + body


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def last(answer: bytes) -> bool:
    """Raises OSError for a refusal."""
    (kind,) = struct.unpack_from("=H", answer, 4)
    if kind == 2 and (error := struct.unpack_from("=i", answer, 16)[0]):  # NLMSG_ERROR
        raise OSError(-error, "the kernel refuses the dump")
    return bool(kind == DONE)
