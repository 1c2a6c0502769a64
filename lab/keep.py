"""A fault that stays until somebody has looked at it: who plays in it, where, and commands to look with."""

from __future__ import annotations

import select
import shlex
import signal
import sys
from pathlib import Path

from lab.case import Case
from lab.stage import NAMESPACES


def keep(case: Case, command: list[str]) -> None:
    """Until Ctrl-C, TERM, HUP, or Enter on a terminal. command: the diagnosis as a person would ask for it."""
    ends = "Enter or Ctrl-C" if sys.stdin.isatty() else "Ctrl-C or TERM"
    try:
        print(f"\n{case.name} is kept until {ends}.\n\n{players(case)}\n\n{commands(case, command)}", flush=True)
        if sys.stdin.isatty():
            select.select([sys.stdin], [], [])
        else:
            signal.pause()
    except (KeyboardInterrupt, SystemExit):
        print()


def players(case: Case) -> str:
    lines = [f"  {'pid':>7}  {'program':15}  network namespace"]
    for player in case.stage.players:
        lines.append(f"  {player.pid:>7}  {player.comm:15}  {namespace_of(player.pid)}")
    return "\n".join(lines)


def commands(case: Case, command: list[str]) -> str:
    lines = ["Look for yourself, in another terminal:", shlex.join(command)]
    lines += [f"nsenter --net={path} ss -tnmpi" for path in namespaces(case)]
    return "\n  ".join(lines)


def namespaces(case: Case) -> list[Path]:
    return sorted(NAMESPACES.glob(f"{case.stage.label}-*"))


def namespace_of(pid: int) -> str:
    """By its name below /run/netns."""
    try:
        inode = Path(f"/proc/{pid}/ns/net").stat().st_ino
    except FileNotFoundError:
        return "gone"
    return next((path.name for path in NAMESPACES.iterdir() if path.stat().st_ino == inode), "the machine's")
