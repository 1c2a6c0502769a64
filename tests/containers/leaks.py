"""A program that leaks sockets, and the command's table of owners."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

WHODUNNET = Path(sys.executable).parent / "whodunnet"
LEAKED = 61
_LEAKS = f"import socket, time; kept = [socket.socket() for _ in range({LEAKED})]; time.sleep(1000000)"
LEAKING = ("/usr/bin/python3", "-c", _LEAKS)


def rows_by_container() -> list[dict[str, Any]]:
    """The rows of `whodunnet sockets --by container`, as JSON."""
    command = [WHODUNNET, "sockets", "--by", "container", "--top", "1000", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert isinstance(rows, list)
    return rows


def leaked_by(container: str) -> tuple[str, int]:
    """Label and number of sockets of the one row with that container id."""
    (row,) = [row for row in rows_by_container() if _container_id(row) == container]
    return row["label"], row["sockets"]


def _container_id(row: dict[str, Any]) -> str | None:
    found = ((row["owner"] or {}).get("workload") or {}).get("container") or {}
    identifier = found.get("id")
    return identifier if isinstance(identifier, str) else None


def has_leaked(pid: int) -> bool:
    """Whether all sockets are there."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir())) >= LEAKED
