"""`python -m lab.actor COMM MODULE FUNCTION ARGUMENTS`: run a function of a case in a process that goes by COMM."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NoReturn


def every(seconds: float, times: int) -> Iterator[int]:
    """So many turns at this pace; a late turn is made up for."""
    begin = time.monotonic()
    for turn in range(times):
        time.sleep(max(0.0, begin + turn * seconds - time.monotonic()))  # the pace is what was asked for
        yield turn


def connected(address: str, port: int) -> socket.socket:
    """A connection, as soon as somebody listens; the case itself sets the limit (`ready_within_seconds`)."""
    while True:
        try:
            return socket.create_connection((address, port))
        except ConnectionRefusedError:
            time.sleep(0.1)  # nobody tells when somebody listens


def rest() -> NoReturn:
    """Live on and do nothing: no more turns, everything stays as it is."""
    while True:
        signal.pause()


def main(comm: str, module: str, function: str, arguments: str) -> None:
    Path("/proc/self/comm").write_text(comm)
    getattr(import_module(module), function)(*json.loads(arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
