"""A network namespace for a test, and what ss says about the sockets in it."""

from __future__ import annotations

import ctypes
import re
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
DEADLINE_SECONDS = 15.0
SILENT = "10.9.0.2"
"""An address that takes packets and never answers."""
SILENT_NETWORK = (
    "link add silent type veth peer name nobody",
    "addr add 10.9.0.1/24 dev silent",
    "link set nobody up",
    "link set silent up",
    f"neigh add {SILENT} lladdr 02:00:00:00:00:02 dev silent nud permanent",
)
SS_STATES = {"estab": "established", "unconn": "close"}


class Row(NamedTuple):
    """One TCP socket as ss shows it; receive and send are Recv-Q and Send-Q, memory is r + f + w."""

    state: str
    receive: int
    send: int
    local: str
    remote: str
    memory: int

    @property
    def unread(self) -> int:
        """Bytes to be read: a FIN that came and was not read yet is one in Recv-Q, and nothing to read."""
        return self.receive - (self.state in ("close-wait", "last-ack", "closing") and self.receive > 0)


class Namespace:
    """A thread that lives in a network namespace of its own. Call it with a function to run that there."""

    def __init__(self, *commands: str, before: Callable[[], None] | None = None) -> None:
        """commands: of ip(8), to furnish it; lo is up. before: run in a namespace that it is then made from."""
        self.kept = ExitStack()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self.number = self(lambda: enter_new(commands, before))

    def __call__(self, call: Callable[[], T]) -> T:
        return self._thread.submit(call).result(timeout=120)

    def keep(self, made: socket.socket) -> socket.socket:
        """Close it with the namespace."""
        return self.kept.enter_context(made)

    def leave(self) -> None:
        """End the thread, so that only sockets keep the namespace."""
        self._thread.shutdown()

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *_: object) -> None:
        self.kept.close()
        self.leave()


def enter_new(commands: Sequence[str], before: Callable[[], None] | None) -> int:
    """Move the calling thread to a new namespace; its inode number."""
    if before is not None:
        unshare()
        before()
    unshare()
    for command in ("link set lo up", *commands):
        ip(command)
    return Path("/proc/thread-self/ns/net").stat().st_ino


def unshare() -> None:
    assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def set_sysctl(name: str, value: int) -> None:
    """Of the namespace that the calling thread is in."""
    Path("/proc/sys/net", name).write_text(str(value))


def ss_rows() -> list[Row]:
    """Every TCP socket with memory (no minisockets) of the namespace that the calling thread is in."""
    output = subprocess.run(["ss", "-tanmiH"], check=True, capture_output=True, text=True).stdout
    return sorted(row for text in re.split(r"\n(?=\S)", output.strip()) if text for row in ss_row(text))


def ss_row(text: str) -> list[Row]:
    memory = re.search(r"skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f(\d+),w(\d+),", text)
    if memory is None:
        return []
    state, receive, send, local, remote = text.split()[:5]
    state = SS_STATES.get(state.lower(), state.lower())
    return [Row(state, int(receive), int(send), local, remote, sum(map(int, memory.groups())))]


def at_rest(read: Callable[[], T]) -> tuple[T, list[Row]]:
    """A reading between two equal outputs of ss."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        before, ours, after = ss_rows(), read(), ss_rows()
        if before == after:
            return ours, after
        assert time.monotonic() < deadline, "the sockets did not come to rest"


def wait_until(true: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Look again and again until it is true; fails after the deadline."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)
