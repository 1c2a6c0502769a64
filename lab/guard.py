"""`python -m lab.guard`: takes down what a run has left behind when the run itself was killed.

It is told on its standard input what there is, one thing a line, and acts when that input ends without "done".
"""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from pathlib import Path

from lab import host
from lab.look import NotThereError
from lab.stage import drop_namespace, end_session


def take_down(thing: str) -> None:
    kind, name = thing.split(" ", 1)
    if kind == "session":
        end_session(int(name))
    elif kind == "freezer":
        host.Freezer(name).remove()
    elif kind == "namespace":
        drop_namespace(name)
    elif kind == "empty":
        Path(name).rmdir()  # unless somebody else is in it
    elif kind == "directory":
        shutil.rmtree(name, ignore_errors=True)


def main() -> None:
    things = sys.stdin.read().splitlines()
    if "done" not in things:
        for thing in reversed(things):
            with suppress(OSError, NotThereError):
                take_down(thing)


if __name__ == "__main__":
    main()
