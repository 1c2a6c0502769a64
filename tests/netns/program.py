"""A program of ours that runs in a network namespace of its own, and obeys lines on its standard input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


class Program:
    """It says its pid when it is ready, and answers each order with a line."""

    def __init__(self, script: Path, *words: str, before: str = "true") -> None:
        """before: a shell command run in that namespace."""
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", f'{before} && exec "$@"', "sh", sys.executable, str(script), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.pid = int(self.process.stdout.readline())
        self.netns = Path(f"/proc/{self.pid}/ns/net").stat().st_ino

    def answer(self, order: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def asked(self, *words: str) -> str:
        """What a command says in that namespace: a second source."""
        command = ["nsenter", "-t", str(self.pid), "-n", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
