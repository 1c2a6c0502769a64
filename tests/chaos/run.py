"""whodunnet as a user starts it, and that nothing of it is left when it has ended, by whatever."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lab.look import wait_until
from lab.stage import session
from tests.chaos.left_behind import traces
from tests.netns.command import WHODUNNET, Answer

NEVER = ("Traceback", "Exception ignored", "Error in ", "Fatal Python error", "an error of whodunnet itself")
OF_HASHLIB = re.compile(r"ERROR:root:code for hash \S+ was not found\..*?unsupported hash type \S+\n", re.DOTALL)
"""What Python's own module logs where there is no memory to load a hash, and goes on without it."""

AT_REST_SECONDS = 30
"""BPF objects and namespaces are freed by the kernel some time after the last who used them has ended."""


class Run:
    """whodunnet in a session of its own; what it wrote is read when it has ended."""

    def __init__(self, place: Path, *arguments: str, rights: Sequence[str] = ()) -> None:
        """place: where it may write: home, temporary files, working directory."""
        self._files = [(place.parent / f"{place.name}.{name}").open("w+b") for name in ("out", "err")]
        place.mkdir(exist_ok=True)
        self.arguments = arguments
        self.process = subprocess.Popen(
            [*rights, str(WHODUNNET), *arguments],
            stdin=subprocess.DEVNULL, stdout=self._files[0], stderr=self._files[1], cwd=place, start_new_session=True,
            env=os.environ | {"TMPDIR": str(place), "HOME": str(place), "WHODUNNET_TRACEBACK": "1"},
        )  # fmt: skip

    def answer(self, seconds: float = 120, interrupted: bool = False) -> Answer:
        """Its end, by which no process of it is left. Raises TimeoutExpired if it hangs.

        interrupted: it got SIGINT; Python may complain of that itself before it has called us.
        """
        try:
            self.process.wait(seconds)
            assert not session(self.process.pid), self.arguments
        finally:
            self.process.kill()
            self.process.wait()
        out, err = (self._read(file) for file in self._files)
        err = OF_HASHLIB.sub("", err)
        if not (interrupted and is_before_us(err)):
            assert not [words for words in NEVER if words in err], (self.arguments, err)
        return Answer(self.process.returncode, out, err)

    def _read(self, file: IO[bytes]) -> str:
        with file:
            file.seek(0)
            return str(file.read().decode())


def is_before_us(err: str) -> bool:
    """Whether Python was interrupted while it started and loaded: `run`, our first function, was not yet called."""
    return "KeyboardInterrupt" in err and ", in run\n" not in err


@contextmanager
def nothing_left(*directories: Path) -> Iterator[None]:
    """After the block the kernel holds what it held before, and so do these directories."""
    before = traces(*directories)
    yield
    wait_until(
        lambda: not traces(*directories).beyond(before),
        AT_REST_SECONDS,
        lambda: f"left behind: {traces(*directories).beyond(before)}",
    )
