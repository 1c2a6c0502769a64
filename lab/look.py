"""Second sources: what ss, /proc/net/sockstat and /proc/<pid>/fd say, and waiting for it."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096
UNREAD = 16384  # more than a record of TLS or a session ticket
POLL_SECONDS = 0.3
PATIENCE = float(os.environ.get("WHODUNNET_LAB_PATIENCE", "1"))
"""How many times longer than on an ordinary machine anything may take to come, as under emulation."""


class NotThereError(Exception):
    """What was waited for did not come."""


@dataclass(frozen=True)
class Sight:
    there: bool
    seen: str


@dataclass(frozen=True)
class Connection:
    state: str  # as ss prints it: ESTAB, CLOSE-WAIT, ...
    unread: int
    unsent: int
    local_port: int
    peer_port: int
    memory: int  # r + w + f of skmem: what tcp_mem counts
    acked: int


class Connections(tuple[Connection, ...]):
    """The TCP sockets of one network namespace."""

    def where(
        self, state: str | None = None, *, local_port: int | None = None, peer_port: int | None = None
    ) -> Connections:
        return Connections(
            c
            for c in self
            if state in (None, c.state) and local_port in (None, c.local_port) and peer_port in (None, c.peer_port)
        )

    @property
    def unread(self) -> Connections:
        return Connections(c for c in self if c.unread >= UNREAD and c.state != "LISTEN")

    @property
    def unsent(self) -> Connections:
        return Connections(c for c in self if c.unsent > 0 and c.state != "LISTEN")

    @property
    def pages(self) -> int:
        return sum(c.memory for c in self) // PAGE

    def __str__(self) -> str:
        return f"{len(self)} ({self.pages} pages)"


def connections(netns: Path) -> Connections:
    """Every TCP socket which ss sees from inside a namespace."""
    command = ["nsenter", f"--net={netns}", "ss", "-tanmiOH"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return Connections(parse(line) for line in lines)


def parse(line: str) -> Connection:
    state, unread, unsent, local, peer, *_ = line.split()
    skmem = dict(re.findall(r"[(,]([a-z]+)(-?\d+)", line[line.find("skmem:") :]))
    acked = re.search(r"bytes_acked:(\d+)", line)
    return Connection(
        state,
        int(unread),
        int(unsent),
        port(local),
        port(peer),
        sum(int(skmem.get(name, 0)) for name in "rwf"),
        int(acked[1]) if acked else 0,
    )


def port(address: str) -> int:
    number = address.rpartition(":")[2]
    return int(number) if number.isdigit() else 0


def listening(netns: Path, number: int) -> bool:
    return bool(connections(netns).where("LISTEN", local_port=number))


def sockstat() -> dict[str, int]:
    """The TCP line. orphan, alloc and mem are of the whole machine."""
    line = next(x for x in Path("/proc/net/sockstat").read_text().splitlines() if x.startswith("TCP:"))
    words = line.split()[1:]
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def tcp_counter(netns: Path, name: str) -> int:
    """Of the Tcp lines of /proc/net/snmp, as a namespace has counted."""
    command = ["nsenter", f"--net={netns}", "cat", "/proc/net/snmp"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index(name)])


def descriptors(pids: frozenset[int], kind: str) -> int:
    """How many descriptors lead to something whose name starts so ("socket:", "/tmp/...")."""
    count = 0
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                count += str(entry.readlink()).startswith(kind)
            except FileNotFoundError:
                continue
    return count


def wait_until(condition: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE * seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotThereError(f"not there after {PATIENCE * seconds:g} s: {what()}")
        time.sleep(POLL_SECONDS)


def never_read(reader: Path, writer: Path, number: int, at_least: int) -> Sight:
    """Responses wait unread on one side, and the rest of them unsent on the other."""
    unread = connections(reader).where(peer_port=number).unread
    unsent = connections(writer).where(local_port=number).unsent
    return Sight(
        len(unread) >= at_least and len(unsent) >= at_least,
        f"reader: {unread} unread, writer: {unsent} with full send queues, sockstat mem {sockstat()['mem']}",
    )
