"""What cases of failing connects and of resets share: callers that keep a log, servers that misbehave, and counters."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar

from lab.case import CONNECTION_RULES, Case, Named
from lab.load import ANSWER_BYTES, REQUEST
from lab.node import Node
from lab.stage import Player, inside

ANSWERED, CLOSED, GAVE_UP = "answered", "closed", "gave-up"
"""Closed: without an answer. Gave up: by the caller's own limit, where the kernel would have waited on."""

ANY, NEVER = "0.0.0.0", 1e6
UPLOAD = b"POST /small HTTP/1.1\r\nHost: lab\r\nContent-Length: %d\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + bytes(ANSWER_BYTES)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER: send nothing more, not even a FIN."""

STEP_SECONDS = 0.95
"""A connect that took so long had its first SYN lost."""


class ConnectCase(Case):
    """A case with a node, and with failures that go on from before the window until after it."""

    rules: ClassVar[tuple[str, ...]] = CONNECTION_RULES
    age_seconds: ClassVar[int] = 0

    node: Node

    @property
    def enter(self) -> Path | None:
        return self.node.host.netns


def named(caller: Player) -> Named:
    """A caller has to be named, in whatever role."""
    return Named(caller.who(), ("victim", "culprit", "peer", "holder"))


def answerable(server: Player) -> Named:
    """So has the server which does it."""
    return Named(server.who(), ("culprit", "holder", "peer"))


@dataclass(frozen=True)
class Call:
    """outcome: one of those above, or the errno. seconds: until it was connected, or failed."""

    outcome: str
    seconds: float


class Calls(tuple[Call, ...]):
    """What a caller has logged."""

    def where(self, outcome: str | None = None, *, at_least_seconds: float = 0.0) -> Calls:
        return Calls(c for c in self if outcome in (None, c.outcome) and c.seconds >= at_least_seconds)

    def share(self, outcome: str) -> float:
        return len(self.where(outcome)) / len(self) if self else 0.0

    def __str__(self) -> str:
        """How many of each, with median and longest time."""
        return ", ".join(f"{n} {outcome} ({self.where(outcome).times})" for outcome, n in self.outcomes) or "no call"

    @property
    def outcomes(self) -> list[tuple[str, int]]:
        return Counter(call.outcome for call in self).most_common()

    @property
    def times(self) -> str:
        times = sorted(call.seconds for call in self)
        return f"median {times[len(times) // 2]:.3f} s, longest {times[-1]:.3f} s"


def calls(caller: Player) -> Calls:
    """A line that is being written is left out."""
    words = (line.split() for line in caller.log.read_text().splitlines(keepends=True) if line.endswith("\n"))
    return Calls(Call(outcome, float(seconds)) for outcome, seconds in words)


def call(
    targets: list[tuple[str, int]], per_second: float, wait_seconds: float, burst: int = 1, body_bytes: int = 0
) -> None:
    """Ask one target after the other, so many at a time, each on a connection of its own, and log how each ended."""

    async def go_on() -> None:
        async with asyncio.TaskGroup() as group:
            begin = time.monotonic()
            for number in count():
                group.create_task(call_once(*targets[number % len(targets)], wait_seconds, body_bytes))
                if number % burst == 0:  # the pace of the calls
                    await asyncio.sleep(max(0.0, begin + number / per_second - time.monotonic()))

    asyncio.run(go_on())


async def call_once(address: str, port: int, wait_seconds: float, body_bytes: int) -> None:
    begin = time.monotonic()
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), wait_seconds)
    except OSError as error:
        return log(name_of(error), time.monotonic() - begin)
    connected = time.monotonic() - begin
    try:
        writer.write(UPLOAD % body_bytes + bytes(body_bytes) if body_bytes else REQUEST)
        await asyncio.wait_for(read_answer(reader), wait_seconds)
        log(ANSWERED, connected)
    except OSError as error:
        log(name_of(error), connected)
    except asyncio.IncompleteReadError:
        log(CLOSED, connected)
    finally:
        writer.close()


def rushes(address: str, port: int, at_once: int, pause_seconds: float) -> None:
    """So many ask at the same time, each on a connection of its own, and all again after a pause; log each."""

    async def go_on() -> None:
        while True:
            await asyncio.gather(*(ask_and_leave(address, port) for _ in range(at_once)))
            await asyncio.sleep(pause_seconds)

    asyncio.run(go_on())


async def ask_and_leave(address: str, port: int) -> None:
    begin = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection(address, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        log(ANSWERED if answer.startswith(b"HTTP/1.1 200") else CLOSED, time.monotonic() - begin)
        writer.close()
    except OSError as error:
        log(name_of(error), time.monotonic() - begin)


async def read_answer(reader: asyncio.StreamReader) -> None:
    """All of it: whoever closes earlier resets what still comes."""
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(ANSWER_BYTES)


def name_of(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, GAVE_UP)


def log(outcome: str, seconds: float) -> None:
    """A line in one piece, also from several threads."""
    os.write(sys.stdout.fileno(), f"{outcome} {seconds:.3f}\n".encode())


def serve(
    port: int, abort_one_in: int = 0, begin_after_seconds: float = 0.0, end_after_seconds: float | None = None
) -> None:
    """Answer once on each IPv4 connection. One in so many is reset instead, after its request was read. At the end the
    process dies as it is."""
    numbers = count(1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            if abort_one_in and next(numbers) % abort_one_in == 0:
                reset_at_close(writer.get_extra_info("socket"))
            else:
                writer.write(ANSWER)
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the caller went away
        finally:
            writer.transport.abort()

    async def go_on() -> None:
        await asyncio.sleep(begin_after_seconds)  # it starts as slowly as that
        async with await asyncio.start_server(answer, ANY, port, backlog=1024):
            await asyncio.sleep(NEVER if end_after_seconds is None else end_after_seconds)  # it lives so long
            os._exit(1)

    asyncio.run(go_on())


def reset_at_close(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


def serve_in_turn(port: int, backlog: int, answer_after_seconds: float) -> None:
    """One request after the other; who comes meanwhile waits in the accept queue, of this length and one more."""
    listener = socket.create_server(("", port), backlog=backlog)
    while True:
        with listener.accept()[0] as connection:
            connection.recv(4096)
            time.sleep(answer_after_seconds)  # its work for one request
            connection.sendall(ANSWER)


def filter_forwarded(node: Node, rule: str) -> None:
    """A rule for what the node forwards, which has to say `counter`."""
    inside(node.host, "nft", "add chain inet lab filter { type filter hook forward priority filter; }")
    inside(node.host, "nft", f"add rule inet lab filter {rule}")


def filtered(node: Node) -> int:
    """Packets which that rule has met."""
    command = ["nsenter", f"--net={node.host.netns}", "nft", "list", "chain", "inet", "lab", "filter"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sum(map(int, re.findall(r"counter packets (\d+)", listed)))


def counter(netns: Path, name: str) -> int:
    """One of the Tcp, Ip, TcpExt and IpExt counters of a namespace."""
    command = ["nsenter", f"--net={netns}", "cat", "/proc/net/snmp", "/proc/net/netstat"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        if name in names.split():
            return int(values.split()[names.split().index(name)])
    raise KeyError(name)
