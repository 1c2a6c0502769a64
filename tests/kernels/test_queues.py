"""Requests of a listener and drops of a UDP socket under other kernels: the walk has the numbers of ss and procfs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import machine
from lab.kernel_packages import Kernel

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
HALF_OPEN, DATAGRAMS = 17, 101


@pytest.fixture(scope="module")
def answer(kernel: Kernel) -> dict[str, Any]:
    done = machine.run(kernel, [sys.executable, "-m", "inside.queues", str(HALF_OPEN), str(DATAGRAMS)], HERE)
    assert done.status == 0, done.stderr
    assert "BUG:" not in done.console
    print(f"{kernel.version}: {done.seconds:.0f} s")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_half_open_connections_are_those_of_ss(answer: dict[str, Any]) -> None:
    assert answer["ss"] == [HALF_OPEN, HALF_OPEN]
    assert (answer["requests"], answer["waiting"]) == (HALF_OPEN, 0)


def test_drops_are_those_of_procfs(answer: dict[str, Any]) -> None:
    ((inode, drops),) = answer["procfs"].items()
    assert int(inode) == answer["inode"]
    assert 0 < drops < DATAGRAMS
    assert answer["drops"] == [[answer["pid"], answer["inode"], drops]]
