"""How another of this Python is started. That of the one-file bundle is reached by a descriptor, which a child has to
inherit, and by a loader of its own; whoever started us has written down how ($LAB_PYTHON)."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable


def python() -> list[str]:
    """The words that stand before its arguments."""
    return shlex.split(os.environ.get("LAB_PYTHON", "")) or [sys.executable]


def with_python(command: Iterable[str]) -> list[str]:
    """A command in which sys.executable stands for this Python."""
    return [part for word in command for part in (python() if word == sys.executable else [word])]


def inherited() -> tuple[int, ...]:
    """Descriptors without which it does not find its own files."""
    return tuple({int(number) for word in python() for number in re.findall(r"/proc/self/fd/(\d+)/", word)})
