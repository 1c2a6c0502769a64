"""What the kernel says of one connection of ours, and waiting for it to say something."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_SECONDS = 90.0
POLL_SECONDS = 0.02
UNACKED, LAST_DATA_SENT, LAST_DATA_RECEIVED, LAST_ACK_RECEIVED = 24, 44, 52, 56
"""Offsets in struct tcp_info (include/uapi/linux/tcp.h): segments in flight, and three times in milliseconds."""
ESTABLISHED, CLOSE, CLOSE_WAIT, FIN_WAIT2 = 1, 7, 8, 5


def wait_until(condition: Callable[[], bool]) -> None:
    """Raises TimeoutError where it does not come true."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {DEADLINE_SECONDS:.0f} s: {condition}")
        time.sleep(POLL_SECONDS)


def tcp_info(connection: socket.socket, offset: int) -> int:
    value: int = struct.unpack_from("I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), offset)[0]
    return value


def state(connection: socket.socket) -> int:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def idle_seconds(connection: socket.socket) -> float:
    """Since data moved last in either direction; once the peer has closed, since its last segment."""
    if state(connection) == CLOSE_WAIT:
        return tcp_info(connection, LAST_ACK_RECEIVED) / 1000
    return min(tcp_info(connection, LAST_DATA_SENT), tcp_info(connection, LAST_DATA_RECEIVED)) / 1000


def sockstat() -> dict[str, int]:
    """The row TCP of /proc/net/sockstat."""
    row = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:"))
    words = row.split()[1:]
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=True)}
