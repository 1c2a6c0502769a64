"""Whole commands as a user types them: their time, their memory, the time to their first line."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from bench.crowd import Container

WHODUNNET = (sys.executable, "-m", "whodunnet")
VERSION = (*WHODUNNET, "--version")
DIAGNOSE = (*WHODUNNET, "diagnose", "--for", "0s", "--only", "tcp-memory", "--only", "socket-leak", "--format", "json")
REPORT = (*WHODUNNET, "diagnose", "--for", "1s", "--only", "tcp-memory", "--only", "socket-leak")
REPLAY = (*WHODUNNET, "replay", "--format", "json")
PLOT = (*WHODUNNET, "plot", "-o", "-")
SS_MEMORY = ("ss", "-tm")
SS_OWNERS = ("ss", "-tmnp")
EXPECTED = (0, 1)
"""Healthy and a finding: both are answers."""

Environment = dict[str, str]


class Ran(NamedTuple):
    """One run of a command."""

    seconds: float
    peak_bytes: int
    first_line_seconds: float


@contextmanager
def environments() -> Iterator[tuple[Environment, Environment]]:
    """Without and with compiled bytecode: a checkout just made, and an installed package."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON") or key == "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="whodunnet-bench-") as directory:
        cold = plain | {"PYTHONDONTWRITEBYTECODE": "1"}
        warm = plain | {"PYTHONPYCACHEPREFIX": directory}
        for command in (VERSION, DIAGNOSE, REPORT):
            run(command, warm)
        yield cold, warm


def run(command: Sequence[str], environment: Environment) -> Ran:
    """Run it to its end. Raises ChildProcessError if it fails. Its peak is at least ours, which exec() hands on."""
    begin = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert child.stdout
    with child.stdout:
        child.stdout.readline()
        first_line = time.perf_counter() - begin
        child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in EXPECTED:
        raise ChildProcessError(f"{' '.join(command)} ended with {child.returncode}")
    return Ran(seconds, usage.ru_maxrss * 1024, first_line)


def runs(command: Sequence[str], environment: Environment, number: int) -> list[Ran]:
    return [run(command, environment) for _ in range(number)]


def in_each(containers: Sequence[Container], tool: Sequence[str]) -> float:
    """Seconds to run a tool in one namespace after the other, its output thrown away."""
    begin = time.perf_counter()
    for container in containers:
        enter = ("nsenter", "-t", str(container.pid), "-n")
        subprocess.run([*enter, *tool], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin
