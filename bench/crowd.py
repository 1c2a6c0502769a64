"""A node full of sockets: namespaces ("containers") with one process each that holds its share of idle connections.

`python -m bench.crowd NAMESPACES SOCKETS UNREAD_EVERY` prints "PID INODE" for each namespace as it is ready, then waits
for its standard input to end and takes everything down. `crowd()` does that from another process.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

from lab.look import wait_until

ROOT = Path(__file__).parent.parent
CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
SIOCSIFFLAGS = 0x8914
SIOCSIFADDR = 0x8916
IFF_UP = 1
UNREAD_BYTES = 12_000
"""Below what counts as a symptom: this is a healthy node."""
SPARE_DESCRIPTORS = 16
AT_ONCE = 2
"""Namespaces filled at the same time: more processes than CPUs make it no faster."""
READY_SECONDS = 600
GONE_SECONDS = 120


class Container(NamedTuple):
    """One namespace of the crowd: its process, and the inode number of the namespace."""

    pid: int
    netns: int


@contextmanager
def crowd(namespaces: int, sockets: int, unread_every: int) -> Iterator[list[Container]]:
    """So many namespaces with so many TCP sockets each, one in unread_every with something unread; gone afterwards."""
    before = tcp_sockets()
    command = [sys.executable, "-m", "bench.crowd", str(namespaces), str(sockets), str(unread_every)]
    keeper = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert keeper.stdin
    assert keeper.stdout
    try:
        lines = (keeper.stdout.readline().split() for _ in range(namespaces))
        containers = [Container(int(line[0]), int(line[1])) for line in lines if line]
        if len(containers) < namespaces:
            raise ChildProcessError(f"only {len(containers)} of {namespaces} namespaces could be filled")
        yield containers
    finally:
        keeper.stdin.close()
        keeper.wait()
        # The kernel takes namespaces down in its own time.
        wait_until(
            lambda: tcp_sockets() <= before + sockets, GONE_SECONDS, lambda: f"{tcp_sockets():,} sockets are left"
        )


def tcp_sockets() -> int:
    """All TCP sockets of the kernel ("alloc" of sockstat)."""
    words = Path("/proc/net/sockstat").read_text().split()
    return int(words[words.index("alloc") + 1])


def keep(namespaces: int, sockets: int, unread_every: int) -> None:
    """Fill namespaces, AT_ONCE at a time, say so, and wait for the end of standard input."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if sockets + SPARE_DESCRIPTORS > limit:
        raise SystemExit(f"bench.crowd: {sockets} sockets a process, but RLIMIT_NOFILE is {limit}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    members: list[int] = []
    filling: list[tuple[int, int]] = []
    try:
        for number in range(namespaces):
            if len(filling) == AT_ONCE:
                announce(*filling.pop(0))
            pid, ready = start(number, sockets, unread_every)
            members.append(pid)
            filling.append((pid, ready))
        for pid, ready in filling:
            announce(pid, ready)
        sys.stdin.read()
    finally:
        for pid in members:
            os.kill(pid, signal.SIGKILL)
        for pid in members:
            os.waitpid(pid, 0)


def announce(pid: int, ready: int) -> None:
    """Wait for one member and print it."""
    if not os.read(ready, 1):
        raise ChildProcessError(f"process {pid} could not fill its namespace")
    os.close(ready)
    print(pid, Path(f"/proc/{pid}/ns/net").stat().st_ino, flush=True)


def start(number: int, sockets: int, unread_every: int) -> tuple[int, int]:
    """Fork one member; its pid, and a descriptor that has a byte when it is ready and ends when it fails."""
    parent = os.getpid()
    ready, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(ready)
            live(parent, address_of(number), sockets, unread_every, write)
        finally:
            os._exit(1)
    os.close(write)
    return pid, ready


def address_of(number: int) -> bytes:
    """The IPv4 address that a member has for itself, beside loopback's: of those for benchmarks (RFC 2544)."""
    return bytes((198, 18, number >> 8, number & 255))


def live(parent: int, address: bytes, sockets: int, unread_every: int, ready: int) -> NoReturn:
    """Be one container: a namespace, its connections, and nothing to do."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise ChildProcessError("the keeper of the crowd is gone")
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))
        fcntl.ioctl(any_socket, SIOCSIFADDR, struct.pack("16sH2x4s16x", b"lo:1", socket.AF_INET, address))
    kept = connections(sockets // 2, unread_every)
    os.write(ready, b"r")
    while kept:
        signal.pause()
    raise ChildProcessError("no sockets were asked for")


def connections(pairs: int, unread_every: int) -> list[socket.socket]:
    """Both ends of so many connections over loopback; one socket in unread_every has something to read."""
    kept: list[socket.socket] = []
    data = bytes(UNREAD_BYTES)
    with socket.create_server(("127.0.0.1", 8080)) as server:
        for n in range(pairs):
            initiated = socket.create_connection(("127.0.0.1", 8080))
            accepted, _ = server.accept()
            if n * 2 % unread_every < 2:
                initiated.sendall(data)
            kept += (initiated, accepted)
    return kept


if __name__ == "__main__":
    keep(*(int(word) for word in sys.argv[1:]))
