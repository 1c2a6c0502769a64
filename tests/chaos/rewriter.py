"""A runtime's note of a container, kept changing: right, another's, damaged in every way, and away."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

HUGE_BYTES = 5 << 20
"""More than whodunnet reads of one note (4 MiB)."""
DEPTH = 100_000
ENDLESS = "/dev/zero"

Note = dict[str, Any]
Way = Callable[[Path, bytes, bytes], None]


def rewrite(note: str, right: Note, others: Note, pause_seconds: float) -> None:
    """Every way in turn; after each round its number is told. others: of another pod's container."""
    path, dice = Path(note), random.Random(1)
    texts = json.dumps(right).encode(), json.dumps(others).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    for turn in count(1):
        for way in dice.sample(WAYS, len(WAYS)):
            way(path, *texts)
            time.sleep(pause_seconds)
            clear(path)
        print(turn, flush=True)


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def put(path: Path, text: bytes) -> None:
    """As runtimes do: it is there as a whole or not."""
    new = path.with_suffix(".new")
    new.write_bytes(text)
    new.replace(path)


def in_place(path: Path, right: bytes, others: bytes) -> None:
    """It is seen while it is half written, then another's in the same file."""
    for text in (right, others, right):
        with path.open("wb", buffering=0) as file:
            for begin in range(0, len(text), 40):
                file.write(text[begin : begin + 40])


def cut(path: Path, right: bytes, _: bytes) -> None:
    put(path, right[: random.randrange(1, len(right) - 1)])


def huge(path: Path, right: bytes, _: bytes) -> None:
    put(path, right + b" " * HUGE_BYTES)


def linked(path: Path, _: bytes, others: bytes) -> None:
    beside = path.with_name("beside")
    beside.write_bytes(others)
    path.symlink_to(beside)


def wrong_types(path: Path, right: bytes, _: bytes) -> None:
    put(path, json.dumps({key: [value] for key, value in json.loads(right).items()}).encode())


WAYS: list[Way] = [
    lambda path, right, _: put(path, right),
    lambda path, right, _: put(path, right),
    lambda path, _, others: put(path, others),
    lambda path, *_: put(path, b""),
    lambda path, *_: put(path, b"null"),
    lambda path, *_: put(path, random.randbytes(4096)),
    lambda path, *_: put(path, b"[" * DEPTH),
    lambda path, *_: put(path, b'{"annotations":' * DEPTH),
    lambda path, *_: path.symlink_to(path.name),
    lambda path, *_: path.symlink_to(ENDLESS),
    lambda path, *_: path.symlink_to("/proc/self/mem"),
    lambda path, *_: os.mkfifo(path),
    lambda path, *_: path.mkdir(),
    lambda *_: None,
    in_place,
    cut,
    huge,
    linked,
    wrong_types,
]
