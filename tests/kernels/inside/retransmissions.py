"""A path that swallows packets of full size, and what the collector saw of it. In a virtual machine.

`python -m inside.retransmissions 3`: how many transfers hang. One JSON document: the sample, and the kernel's counters.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from whodunnet.collectors.retransmissions import RetransmissionsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.retransmissions import Retransmissions

from .facts import wait_until

CLONE_NEWNET = 0x40000000
HERE, THERE = "10.9.0.1", "10.9.0.2"
LARGE, SMALL, MESSAGES = 9_000, 200, 20  # six segments of full size and one of 312 bytes, which passes
CABLES = (
    "link add near gso_max_segs 1 type veth peer name hop gso_max_segs 1",
    "link add out gso_max_segs 1 type veth peer name far gso_max_segs 1",
    "link add middle type bridge",
    "link set hop master middle",
    "link set out master middle",
    "link set out mtu 1300",
    f"addr add {HERE}/24 dev near",
    *(f"link set {device} up" for device in ("near", "hop", "out", "middle")),
)
"""By way of a bridge, which drops what is too long for a port without a word (is_skb_forwardable)."""


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def lay_cables(there: ThreadPoolExecutor) -> socket.socket:
    """The far end is in a namespace of its own. Its listener."""
    for command in CABLES:
        ip(command)
    libc = ctypes.CDLL(None, use_errno=True)
    assert there.submit(libc.unshare, CLONE_NEWNET).result() == 0
    ip(f"link set far netns /proc/{os.getpid()}/task/{there.submit(threading.get_native_id).result()}/ns/net")
    for command in (f"addr add {THERE}/24 dev far", "link set far up"):
        there.submit(ip, command).result()
    return there.submit(socket.create_server, (THERE, 0)).result()


def read_all(listener: socket.socket) -> None:
    while True:
        accepted = listener.accept()[0]
        threading.Thread(
            target=lambda accepted=accepted: [*iter(lambda: accepted.recv(65536), b"")], daemon=True
        ).start()


def counters() -> dict[str, int]:
    """Of both files, by name."""
    found: dict[str, int] = {}
    for file in ("snmp", "netstat"):
        lines = Path("/proc/net", file).read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            section, *keys = names.split()
            found |= dict(zip((section + key for key in keys), map(int, values.split()[1:]), strict=True))
    return found


def is_stuck(sample: Retransmissions, transfers: int) -> bool:
    return sum(d.stuck for d in sample.destinations) == transfers


def main(transfers: int) -> None:
    there = ThreadPoolExecutor(max_workers=1)
    listener = lay_cables(there)
    threading.Thread(target=read_all, args=(listener,), daemon=True).start()
    collector = RetransmissionsCollector(read_support(Roots()))
    before = socket.create_connection(listener.getsockname())
    before.sendall(b"x" * SMALL)
    began = counters()
    collector.start()
    hanging = [socket.create_connection(listener.getsockname()) for _ in range(transfers)]
    for one in hanging:
        one.sendall(b"x" * LARGE)
    for _ in range(MESSAGES):
        before.sendall(b"x" * SMALL)
        time.sleep(0.05)
    wait_until(lambda: is_stuck(collector.collect(), transfers))
    while True:
        first, sample, last = counters(), collector.collect(), counters()
        if first == last:
            break
    collector.close()
    risen = {name: last[name] - began[name] for name in last if name.startswith(("Tcp:", "TcpExt:"))}
    print(json.dumps({"sample": msgspec.to_builtins(sample), "counters": risen}), flush=True)
    os._exit(0)  # threads wait in accept() and recv()


if __name__ == "__main__":
    main(int(sys.argv[1]))
