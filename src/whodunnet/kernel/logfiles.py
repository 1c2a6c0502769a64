"""The kernel's lines in the files of a syslog daemon: kern.log, syslog, messages (rsyslog.conf(5), RFC 3164, RFC 3339).

The weakest source: a file can be old, and whoever may log as the kernel can write into it.
"""

from __future__ import annotations

import os
import re
import time
from datetime import datetime
from pathlib import Path

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.kmsg import Line, suspended_seconds
from whodunnet.kernel.procfs.files import unreadable
from whodunnet.kernel.roots import Roots

TAIL_BYTES = 4 << 20
NAMES = ("kern.log", "syslog", "messages")
_BOOT = "Linux version "  # the first line of every boot (start_kernel, init/main.c)
_LINE = re.compile(
    r"(?:(?P<wall>\d{4}-\d\d-\d\dT[0-9:.+Z-]{8,24})|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) \S+ kernel: "
    r"(?:\[ {0,6}(?P<stamp>\d{1,9}\.\d{6})\] )?(?P<text>.*)"
)


class FileLine(msgspec.Struct, frozen=True, kw_only=True):
    """stamp_seconds: the kernel's own stamp. wall: the daemon's, None if it has no year. Either may be missing."""

    stamp_seconds: float | None
    wall: datetime | None
    text: str


def parse_lines(data: bytes, source: str) -> list[FileLine]:
    """The kernel's lines among whole lines of a log file. Raises MalformedError if it is no text at all."""
    if b"\0" in data[:4096]:
        raise MalformedError(f"{source}: is not a text file")
    found = (_LINE.fullmatch(line) for line in data.decode(errors="replace").split("\n") if " kernel: " in line)
    return [
        FileLine(
            stamp_seconds=float(match["stamp"]) if match["stamp"] else None,
            wall=_wall(match["wall"]),
            text=match["text"],
        )
        for match in found
        if match
    ]


def of_last_boot(lines: list[FileLine]) -> list[FileLine]:
    """The lines from the last start of a kernel on; all of them if none is among them."""
    starts = [index for index, line in enumerate(lines) if line.text.startswith(_BOOT)]
    return lines[starts[-1] :] if starts else lines


class LogFile:
    """One log file, of which the end is read at first, and then what was added.

    oldest: CLOCK_BOOTTIME in seconds of the oldest line of this boot, None if the file does not say.
    """

    lost = 0

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._inode: int | None = None
        self._offset = 0
        self.oldest: float | None = None

    def read(self) -> list[Line]:
        """The kernel's lines since the last call, oldest first. Raises UnreadableError."""
        lines = [
            Line(_boot_seconds(line), line.text)
            for line in of_last_boot(parse_lines(self._added(), self.name))
            if _in_this_boot(line)
        ]
        if self.oldest is None and lines:
            self.oldest = lines[0].boot_seconds
        return lines

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _added(self) -> bytes:
        """Whole lines added since the last call, of them the last TAIL_BYTES."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:  # first call, or the file was rotated
                    self._inode, self._offset = status.st_ino, 0
                start = max(self._offset, status.st_size - TAIL_BYTES)
                file.seek(start)
                data = file.read(status.st_size - start)
        except OSError as error:
            raise unreadable(self.name, error, "CAP_DAC_READ_SEARCH") from error
        whole = data.rfind(b"\n") + 1
        begin = data.find(b"\n") + 1 if start > self._offset else 0
        self._offset = start + whole
        return data[begin:whole]


def open_first(roots: Roots) -> LogFile:
    """The first of NAMES under var/log that exists. Raises UnreadableError."""
    for name in NAMES:
        path = roots.var / "log" / name
        if path.is_file():
            return LogFile(path)
    raise UnreadableError(f"{roots.var}/log has none of {', '.join(NAMES)}", code="missing-file")


def _wall(text: str | None) -> datetime | None:
    try:
        wall = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return wall if wall is not None and wall.tzinfo is not None else None


def _boot_seconds(line: FileLine) -> float | None:
    """When a line was written, on CLOCK_BOOTTIME."""
    if line.stamp_seconds is not None:
        return line.stamp_seconds + suspended_seconds()
    if line.wall is not None:
        return time.clock_gettime(time.CLOCK_BOOTTIME) - (time.time() - line.wall.timestamp())
    return None


def _in_this_boot(line: FileLine) -> bool:
    """False for a line that was written before this boot, or stamped later than now, by an older and longer boot."""
    if line.wall is not None and time.time() - line.wall.timestamp() > time.clock_gettime(time.CLOCK_BOOTTIME):
        return False
    boot_seconds = _boot_seconds(line)
    return boot_seconds is None or boot_seconds <= time.clock_gettime(time.CLOCK_BOOTTIME) + 1
