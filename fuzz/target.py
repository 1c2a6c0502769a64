"""What is fuzzed: a decoder, real bytes to begin from, and what it may raise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from whodunnet.errors import MalformedError

FIXTURES: Final = Path(__file__).parents[1] / "tests/fixtures"
RECORDED: Final = Path(__file__).with_name("seeds")
SEEDS_MAX: Final = 64
"""Of one pattern."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One decoder, or a few that read the same bytes.

    run: takes the bytes. raises: what the decoder says that it raises; anything else is a defect.
    seeds: bytes that it takes, as written here. recorded: names in fuzz/seeds, a message in each line.
    files: patterns below tests/fixtures. live: patterns of files of this machine, for the fuzzer only.
    max_bytes: how long an input gets that is longer than any seed. weight: how many parts of the time it gets.
    """

    name: str
    run: Callable[[bytes], object]
    raises: tuple[type[Exception], ...] = (MalformedError,)
    seeds: tuple[bytes, ...] = ()
    recorded: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    live: tuple[str, ...] = ()
    max_bytes: int = 4096
    weight: int = 1

    def try_bytes(self, data: bytes) -> bool:
        """Whether the decoder takes them. Raises what it must not raise."""
        with suppress(*self.raises):
            self.run(data)
            return True
        return False

    def kept_seeds(self) -> list[bytes]:
        """Those of the repository, always the same."""
        lines = (line for name in self.recorded for line in (RECORDED / f"{name}.hex").read_text().splitlines())
        files = (path for pattern in self.files for path in islice(sorted(FIXTURES.glob(pattern)), SEEDS_MAX))
        return [*self.seeds, *map(bytes.fromhex, lines), *(path.read_bytes() for path in files)]

    def live_seeds(self) -> Iterator[bytes]:
        """What this machine's own files hold, as far as they can be read."""
        for pattern in self.live:
            for path in islice(Path("/").glob(pattern), SEEDS_MAX):
                with suppress(OSError), open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 - of a descriptor
                    yield file.read(self.max_bytes)


def text_target(name: str, decode: Callable[[str], object], seeds: tuple[str, ...], **more: Any) -> Target:
    """Of a decoder of text, which comes with undecodable bytes as surrogates."""
    encoded = tuple(os.fsencode(seed) for seed in seeds)
    return Target(name=name, run=lambda data: decode(os.fsdecode(data)), seeds=encoded, **more)


def sourced(decode: Callable[[bytes, str], object]) -> Callable[[bytes], object]:
    """Without the second argument of nearly all parsers, which says in errors where the bytes are from."""
    return lambda data: decode(data, "source")
