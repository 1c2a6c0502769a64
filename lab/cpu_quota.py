"""A cgroup whose CPU time is limited, for players of a case; servers that work for each request, and their clients."""

from __future__ import annotations

import selectors
import socket
import time
from pathlib import Path

from lab.actor import connected
from lab.look import NotThereError
from lab.stage import Player, Stage

OLD = Path("/sys/fs/cgroup/cpu")
NEW = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
REQUEST = b"GET /report\n"
PORT = 8080


class Quota:
    """A cgroup of the case, until the stage closes. Raises NotThereError without the CPU controller."""

    def __init__(self, stage: Stage, cpus: float) -> None:
        old = (OLD / "cpu.cfs_quota_us").exists()
        if not old and "cpu" not in (NEW / "cgroup.subtree_control").read_text().split():
            raise NotThereError("no cgroups with the CPU controller")
        self.place = (OLD if old else NEW) / stage.label
        stage.tell_guard(f"directory {self.place}")
        self.place.mkdir()
        stage.undo.callback(self.place.rmdir)
        if old:
            (self.place / "cpu.cfs_quota_us").write_text(str(round(cpus * PERIOD_US)))
        else:
            (self.place / "cpu.max").write_text(f"{round(cpus * PERIOD_US)} {PERIOD_US}")

    def take(self, player: Player) -> None:
        (self.place / "cgroup.procs").write_text(str(player.pid))

    def throttled(self) -> int:
        """Periods in which it was used up, as the kernel counts them."""
        counts = dict(line.split() for line in (self.place / "cpu.stat").read_text().splitlines())
        return int(counts["nr_throttled"])


def work(seconds: float) -> None:
    """So much time of a CPU."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def serve(seconds: float) -> None:
    """One thread, which works so long for each request."""
    ready = selectors.DefaultSelector()
    listener = socket.create_server(("", PORT))
    ready.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                ready.register(listener.accept()[0], selectors.EVENT_READ)
            elif isinstance(key.fileobj, socket.socket) and key.fileobj.recv(len(REQUEST)):
                work(seconds)
                key.fileobj.sendall(b"done\n")


def compute(share: float) -> None:
    """Batch work that would like so much of a CPU, with a port for questions that nobody asks."""
    listener = socket.create_server(("", PORT))
    while listener.fileno() >= 0:
        work(share / 100)
        time.sleep((1 - share) / 100)  # what it leaves of each hundredth of a second


def ask(address: str, clients: int) -> None:
    """Each asks again as soon as it is answered."""
    ready = selectors.DefaultSelector()
    for _ in range(clients):
        connection = connected(address, PORT)
        connection.sendall(REQUEST)
        ready.register(connection, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.recv(64)
            key.fileobj.sendall(REQUEST)
