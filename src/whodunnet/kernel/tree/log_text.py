"""The kernel's log in a tree: what dmesg printed, the journal as text, or the files of a syslog daemon."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, NamedTuple

from whodunnet.errors import UnreadableError
from whodunnet.kernel.kmsg import Line
from whodunnet.kernel.logfiles import NAMES, FileLine, of_last_boot, parse_lines
from whodunnet.kernel.tree.files import Tree
from whodunnet.model.sample import Moment

LIMIT_BYTES: Final = 16 << 20
DMESG: Final = ("sos_commands/kernel/dmesg", "sos_commands/kernel/dmesg_-x", "dmesg")
JOURNALS: Final = (
    "sos_commands/logs/journalctl_--no-pager_--boot",
    "sos_commands/logs/journalctl_--no-pager_--catalog_--boot",
)
_STAMPED: Final = re.compile(r"(?:[a-z]{1,8} {0,8}: ?[a-z]{1,8} {0,8}: ?)?\[ {0,6}(\d{1,9}\.\d{6})\] (.*)")


class Log(NamedTuple):
    """source: path in the tree. lines: of the last boot, oldest first."""

    source: str
    lines: list[Line]


def parse_dmesg(data: bytes) -> list[Line]:
    """Lines with the kernel's stamp; others are passed over."""
    lines = data.decode(errors="replace").split("\n")
    return [Line(float(match[1]), match[2]) for line in lines if (match := _STAMPED.fullmatch(line))]


def read_log(tree: Tree, at: Moment) -> Log:
    """The first that has a line. Raises UnreadableError."""
    for path in DMESG:
        lines = parse_dmesg(_end(tree, path))
        if lines:
            return Log(path, lines)
    for path in (*JOURNALS, *(f"var/log/{name}" for name in NAMES)):
        try:
            parsed = of_last_boot(parse_lines(_end(tree, path), path))
        except UnreadableError:
            continue
        lines = [Line(_boot_seconds(line, at), line.text) for line in parsed if _in_this_boot(line, at)]
        if lines:
            return Log(path, lines)
    raise UnreadableError("no output of dmesg and no log with lines of the kernel is in the tree", code="missing-file")


def _end(tree: Tree, path: str) -> bytes:
    try:
        return tree.read_end(path, LIMIT_BYTES)
    except UnreadableError:
        return b""


def _boot_seconds(line: FileLine, at: Moment) -> float | None:
    if line.stamp_seconds is not None:
        return line.stamp_seconds
    return at.boot_seconds - _age(line.wall, at) if line.wall is not None else None


def _in_this_boot(line: FileLine, at: Moment) -> bool:
    """False for a line that is older than the boot, or stamped later than the tree's time."""
    if line.wall is not None and _age(line.wall, at) > at.boot_seconds:
        return False
    seconds = _boot_seconds(line, at)
    return seconds is None or seconds <= at.boot_seconds + 1


def _age(wall: datetime, at: Moment) -> float:
    return (at.wall - wall).total_seconds()
