"""Asks for sockets and files and is refused them; run as `python refused.py THREADS`.

For each number on stdin each thread asks for so many TCP sockets, and as many others. Answers how many of TCP it did
not get, by the name of the error. "fill": from now on it has no descriptor left.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

DESCRIPTORS = 64


def ask(times: int) -> Counter[str]:
    """By turns with IPv4 and IPv6; what is got is given back at once."""
    refused: Counter[str] = Counter()
    for number in range(times):
        try:
            socket.socket((socket.AF_INET, socket.AF_INET6)[number % 2]).close()
        except OSError as error:
            refused[errno.errorcode[error.errno or 0]] += 1
        ask_for_others()
    return refused


def ask_for_others() -> None:
    with suppress(OSError):
        socket.socket(type=socket.SOCK_DGRAM).close()
    with suppress(OSError), Path(os.devnull).open("rb"):
        pass


def fill() -> int:
    """How many it took to leave none."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    taken = 0
    with suppress(OSError):
        while True:
            os.dup(0)
            taken += 1
    return taken


def main() -> None:
    threads = int(sys.argv[1])
    with ThreadPoolExecutor(threads) as pool:
        print(os.getpid(), flush=True)
        for line in sys.stdin:
            if line.strip() == "fill":
                print(fill(), flush=True)
                continue
            refused = sum(pool.map(ask, [int(line)] * threads), Counter())
            print(json.dumps(refused), flush=True)


if __name__ == "__main__":
    main()
