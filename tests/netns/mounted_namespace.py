"""A network namespace that a mount in /run/netns keeps, with programs that run in it."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from whodunnet.kernel import namespaces


def run(command: str, text: str | None = None) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True, input=text).stdout


class Place:
    """A namespace that a mount keeps, as CNI makes them."""

    def __init__(self, kept: ExitStack, *commands: str) -> None:
        self.name = f"whodunnet-{uuid.uuid4().hex[:8]}"
        run(f"ip netns add {self.name}")
        kept.callback(run, f"ip netns del {self.name}")
        self.path = Path("/run/netns", self.name)
        self.number = self.path.stat().st_ino
        self._kept = kept
        self.ip("link set lo up", *commands)

    def ip(self, *commands: str) -> None:
        for command in commands:
            run(f"ip -n {self.name} {command}")

    def start(self, program: str, *arguments: object, by: str = sys.executable) -> int:
        """A process in it, once it says that it is ready; its pid."""
        argv = ["ip", "netns", "exec", self.name, by, "-c", program, *map(str, arguments)]
        process = self._kept.enter_context(
            subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        self._kept.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process.pid


def inside(place: Place, call: Callable[[], Any]) -> Any:
    return namespaces.inside(place.path, place.number, call)
