"""What goes on around a diagnosis, each in a process of its own (lab.actor)."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lab.actor import rest

HERE = "127.0.0.1"
PORT = 7001
ANSWER_BYTES = 20_011
CLONE_NEWNET = 0x40000000
CHUNK_BYTES = 1 << 20


def serve() -> None:
    """Answers whoever connects, and keeps the connection."""
    listener = socket.create_server((HERE, PORT), backlog=600)
    print("listening", flush=True)
    kept = []
    while True:
        kept.append(listener.accept()[0])
        kept[-1].sendall(bytes(ANSWER_BYTES))


def never_read(connections: int) -> None:
    """The fault: asks, and never reads the answer."""
    kept = [socket.create_connection((HERE, PORT)) for _ in range(connections)]
    print(f"holds {len(kept)}", flush=True)
    rest()


def live() -> None:
    """A process's whole life: a descriptor, a thread."""
    with Path("/proc/self/stat").open("rb") as file:
        file.read()
    thread = threading.Thread(target=time.sleep, args=(0.001,))
    thread.start()
    thread.join()


def live_elsewhere() -> None:
    """The same in a network namespace of its own, with sockets that end with it."""
    import ctypes

    if ctypes.CDLL(None).unshare(CLONE_NEWNET):
        os._exit(1)
    kept = [socket.socket() for _ in range(3)]
    kept[0].bind((HERE, 80))
    kept[0].listen()


def processes(workers: int) -> None:
    """They come and go, and how many did is told; so do namespaces with `namespaces`."""
    come_and_go(live, workers)


def namespaces(workers: int) -> None:
    come_and_go(live_elsewhere, workers)


def come_and_go(one_life: Callable[[], None], workers: int) -> None:
    """Each worker starts the next only when the one before has ended."""
    for _ in range(workers - 1):
        if os.fork() == 0:
            break
    begin, lives = time.monotonic(), 0
    while True:
        if (child := os.fork()) == 0:
            one_life()
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            raise OSError("a life failed")
        lives += 1
        if time.monotonic() - begin >= 0.1:
            os.write(1, f"{lives}\n".encode())
            begin, lives = time.monotonic(), 0


def thrash(file: str, size: int) -> None:
    """Reads a file that its cgroup has no room for, again and again, and holds what memory it gets."""
    with Path(file).open("wb") as made:
        made.truncate(size)
    held = bytearray(CHUNK_BYTES * 4)
    while True:
        with Path(file).open("rb", buffering=0) as read:
            while piece := read.read(CHUNK_BYTES):
                held[: len(piece)] = piece
                held[0] ^= 1
        print("read", flush=True)
