"""Servers below a real quota of CPU time, and clients who ask more of them than that allows."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from whodunnet.collectors.cpu_quota import with_cpu
from whodunnet.errors import UnreadableError
from whodunnet.kernel.cgroupfs import read_hierarchies
from whodunnet.kernel.roots import Roots

PERIOD_US = 100_000
REQUEST = b"x" * 100
CLIENTS = 8
SERVER = """
import selectors, socket, sys, time
burn, backlog, size = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
print(listener.getsockname()[1], flush=True)
ready = selectors.DefaultSelector()
ready.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in ready.select(0 if burn < 0 else None):
        if key.fileobj is listener:
            ready.register(listener.accept()[0], selectors.EVENT_READ)
        elif key.fileobj.recv(size):
            key.fileobj.sendall(b"y")
        else:
            ready.unregister(key.fileobj)
            key.fileobj.close()
        end = time.thread_time() + abs(burn)
        while time.thread_time() < end: pass
    end = time.thread_time() + (-burn if burn < 0 else 0)
    while time.thread_time() < end: pass
"""


def place() -> Path | None:
    """Where cgroups with a quota can be made, None if nowhere."""
    with suppress(UnreadableError):
        return with_cpu(read_hierarchies(Roots())).point
    return None


@contextmanager
def quota(cpus: float | None) -> Iterator[Path]:
    """A cgroup whose processes may use so many CPUs. Its processes have to be ended first."""
    top = place()
    assert top is not None
    made = top / f"whodunnet-{uuid.uuid4().hex[:8]}"
    made.mkdir()
    try:
        if cpus is not None:
            v2 = (top / "cgroup.controllers").exists()
            if v2:
                (made / "cpu.max").write_text(f"{round(cpus * PERIOD_US)} {PERIOD_US}")
            else:
                (made / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (made / "cpu.cfs_quota_us").write_text(str(round(cpus * PERIOD_US)))
        yield made
    finally:
        made.rmdir()


@contextmanager
def server(cgroup: Path, burn: float, backlog: int = 128) -> Iterator[tuple[int, int]]:
    """pid and port of a server that works `burn` seconds for each request; below zero it works without being asked."""
    arguments = ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', cgroup)
    command = (*arguments, sys.executable, "-c", SERVER, str(burn), str(backlog), str(len(REQUEST)))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def burner(cgroup: Path, beside: int) -> Iterator[int]:
    """The pid of another program, which does nothing but use CPU time: nine tenths of what it and `beside` get.

    Both stay on one CPU, since a quota is spent on each at once and niceness weighs within one only.
    """
    cpu = min(os.sched_getaffinity(0))
    os.sched_setaffinity(beside, {cpu})
    command = ("nice", "-n", "-10", "sh", "-c", 'echo $$ > "$0/cgroup.procs"; while :; do :; done', cgroup)
    with subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, {cpu})) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@contextmanager
def asking(port: int, clients: int = CLIENTS) -> Iterator[None]:
    """Clients in a process of their own, each of which asks again as soon as it is answered."""
    script = f"""
import selectors, socket
ready = selectors.DefaultSelector()
for _ in range({clients}):
    s = socket.create_connection(("127.0.0.1", {port}))
    s.sendall({REQUEST!r})
    ready.register(s, selectors.EVENT_READ)
print("asked", flush=True)
while True:
    for key, _ in ready.select():
        key.fileobj.recv(1)
        key.fileobj.sendall({REQUEST!r})
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "asked\n"
            yield
        finally:
            process.kill()


@contextmanager
def connecting(port: int, clients: int) -> Iterator[None]:
    """Connects that nobody waits for: they fill the accept queue."""
    with ExitStack() as opened:
        for _ in range(clients):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield


def kernel_counts(cgroup: Path) -> dict[str, int]:
    """cpu.stat as it is, by another way of reading it than ours."""
    text = subprocess.run(["cat", cgroup / "cpu.stat"], check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in (line.split() for line in text.splitlines())}


def used_ms(pid: int) -> int:
    """CPU time of a process of one thread, by the scheduler's own count and not by ticks."""
    text = subprocess.run(["cat", f"/proc/{pid}/schedstat"], check=True, capture_output=True, text=True).stdout
    return int(text.split()[0]) // 1_000_000
