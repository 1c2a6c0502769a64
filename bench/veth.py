"""A TCP connection over a veth pair, both ends in one process on one CPU: `python -m bench.veth CPU`, as root.

Each end is in a network namespace of its own. Nobody sleeps or wakes another CPU, so that all that packets cost, and
nothing else, is in the CPU time of the process; two processes on two CPUs differ by a tenth from second to second on a
machine that is not alone.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parent.parent
CLONE_NEWNET = 0x40000000
PORT = 5000
HERE, THERE = "10.9.9.1", "10.9.9.2"
BUFFER_BYTES = 65536
WARMING_SHARE = 10
Work = Literal["exchange", "send", "count"]
"""A byte there and one back; a buffer there; no packets at all."""


class Link:
    """The process, which works when told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def seconds(self, work: Work, times: int) -> float:
        """CPU time for each, after some that are not measured: programs that were just loaded are in no cache."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{work} {times}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


@contextmanager
def link(cpu: int) -> Iterator[Link]:
    """Ends with the block."""
    command = [sys.executable, "-m", "bench.veth", str(cpu)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Link(process)


def connect() -> tuple[socket.socket, socket.socket]:
    """Both ends. A thread stays in each namespace until the process ends."""
    here, there = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    for end in (here, there):
        end.submit(unshare).result()
    other = there.submit(threading.get_native_id).result()
    here.submit(ip, f"link add end type veth peer name end netns {other}").result()
    for end, address in ((here, HERE), (there, THERE)):
        end.submit(ip, f"addr add {address}/24 dev end").result()
        end.submit(ip, "link set end up").result()
    listener = there.submit(socket.create_server, (THERE, PORT)).result()
    client = here.submit(socket.create_connection, (THERE, PORT)).result()
    server = listener.accept()[0]
    for end_socket in (client, server):
        end_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, server


def work(cpu: int) -> None:
    """As each line of standard input says."""
    client, server = connect()
    os.sched_setaffinity(0, {cpu})
    buffer, room = bytes(BUFFER_BYTES), bytearray(BUFFER_BYTES)

    def exchange() -> None:
        client.send(b"?")
        server.recv(1)
        server.send(b"!")
        client.recv(1)

    def send() -> None:
        left = client.send(buffer)
        while left:
            left -= server.recv_into(room)

    def count() -> None:
        sum(range(1000))

    works: dict[str, Callable[[], None]] = {"exchange": exchange, "send": send, "count": count}
    for line in sys.stdin:
        name, times = line.split()
        timed(works[name], int(times) // WARMING_SHARE)
        print(timed(works[name], int(times)), flush=True)


def timed(act: Callable[[], None], times: int) -> float:
    begin = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - begin) / times


def unshare() -> None:
    assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


if __name__ == "__main__":
    work(int(sys.argv[1]))
