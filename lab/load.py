"""What clients do in more than one case: requests on new connections, connections that stay, questions to a DNS."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from itertools import count
from threading import Thread

from lab.actor import rest

THREADS = 16
REQUEST = b"GET /small HTTP/1.1\r\nHost: lab\r\n\r\n"
ANSWER_BYTES = 200
A, AAAA = 1, 28


def ask_anew(address: str, port: int, per_second: int, source: str | None = None) -> None:
    """Requests of http.client, each on a connection of its own that is closed properly."""

    def ask_in_turn() -> None:
        while True:
            begin = time.monotonic()
            with suppress(OSError, HTTPException):
                ask_once(address, port, source)
            time.sleep(max(0.0, begin + THREADS / per_second - time.monotonic()))

    for _ in range(THREADS):
        Thread(target=ask_in_turn).start()
    rest()


def ask_once(address: str, port: int, source: str | None = None) -> None:
    connection = HTTPConnection(address, port, timeout=2, source_address=(source, 0) if source else None)
    try:
        connection.request("GET", "/small")
        connection.getresponse().read()
    finally:
        connection.close()


def keep_idle(address: str, port: int, connections: int) -> None:
    """One answered request on each connection, and never another."""
    kept = []
    for number in range(connections):
        kept.append(one := socket.create_connection((address, port)))
        one.sendall(REQUEST)
        one.recv(4096)
        if number % 10 == 0:
            time.sleep(0.005)  # a burst would find the accept queue full, which is another case
    rest()


def keep_busy(address: str, port: int, connections: int, every_seconds: float) -> None:
    """A request on each connection at this pace, and every answer read."""

    async def browse(number: int) -> None:
        reader, writer = await asyncio.open_connection(address, port)
        await asyncio.sleep(every_seconds * number / connections)
        while True:
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(ANSWER_BYTES)
            await asyncio.sleep(every_seconds)

    async def arrive() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(connections):
                group.create_task(browse(number))
                if number % 20 == 0:
                    await asyncio.sleep(0.01)  # as above

    asyncio.run(arrive())


def connect_anew(targets: list[tuple[str, int]], per_second: int, wait_seconds: float) -> None:
    """Connect to one target after the other, over and over, and wait so long for each; how it ends is not looked at."""

    async def attempt(address: str, port: int) -> None:
        with suppress(OSError, TimeoutError):
            _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), wait_seconds)
            writer.close()

    async def go_round() -> None:
        async with asyncio.TaskGroup() as group:
            begin = asyncio.get_running_loop().time()
            for number in count():
                group.create_task(attempt(*targets[number % len(targets)]))
                await asyncio.sleep(max(0.0, begin + number / per_second - asyncio.get_running_loop().time()))

    asyncio.run(go_round())


def look_up(address: str, per_second: int) -> None:
    """Questions of type A, each from a socket of its own, as every resolver library does."""
    asked = question(A)
    begin = time.monotonic()
    for number in count():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker, suppress(OSError):
            asker.settimeout(0.5)
            asker.sendto(asked, (address, 53))
            asker.recv(512)
        time.sleep(max(0.0, begin + number / per_second - time.monotonic()))


def question(kind: int) -> bytes:
    """Of this type, for the one name that the lab's DNS knows; the type is its number too."""
    name = b"\x04shop\x03lab\x00"
    return struct.pack(">HHHHHH", kind, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", kind, 1)
