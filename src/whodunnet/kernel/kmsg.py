"""The kernel's log buffer, /dev/kmsg (Documentation/ABI/testing/dev-kmsg; kernel/printk/printk.c).

Records that user space wrote are left out: everybody who may open the device can write any text, but the kernel never
lets them claim facility 0 (devkmsg_write).
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable

import msgspec

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import integer, shown, unreadable
from whodunnet.kernel.roots import Roots

_RECORD_BYTES = 8192  # one read() returns one whole record, or EINVAL if it does not fit (PRINTK_MESSAGE_MAX is 2048)
_KERN = 0  # LOG_KERN, syslog(3)
RECORDS_A_READ = 65536  # a flood of messages must not hold us for ever
# EPIPE: records were overwritten, the next read() starts at the oldest there is. EINVAL: a record was too long, and is
# skipped. Both leave a gap in the sequence numbers, which is where they are counted.
_SKIPPED = {errno.EPIPE, errno.EINVAL}
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


class Line(msgspec.Struct, frozen=True):
    """One line of the kernel's log. boot_seconds: CLOCK_BOOTTIME when it was written, None if the source is silent."""

    boot_seconds: float | None
    text: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record of /dev/kmsg. facility: 0 is the kernel. stamp_seconds: clock of the log, which stops in suspend."""

    facility: int
    level: int
    sequence: int
    stamp_seconds: float
    text: str


def parse_record(data: bytes, source: str) -> Record:
    """Parse "priority,sequence,microseconds,flags;text", with a dictionary after the newline, which is dropped.

    Raises MalformedError naming source and item.
    """
    head, semicolon, rest = data.partition(b";")
    fields = head.split(b",")
    if not semicolon or len(fields) < 4:
        raise MalformedError(f"{source}: a record should begin with four fields and is {shown(data)}")
    priority = integer(fields[0], source, "priority")
    return Record(
        facility=priority >> 3,
        level=priority & 7,
        sequence=integer(fields[1], source, "sequence"),
        stamp_seconds=integer(fields[2], source, "timestamp") / 1e6,
        text=_ESCAPE.sub(_unescaped, rest.partition(b"\n")[0]).decode(errors="replace"),
    )


def suspended_seconds() -> float:
    """What to add to a stamp of the kernel's log to have CLOCK_BOOTTIME: right for lines since the last suspend."""
    # Rounded: the two readings are microseconds apart.
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC), 3)


def _unescaped(found: re.Match[bytes]) -> bytes:
    """One byte that msg_add_ext_text wrote as \\xHH: a control, a backslash, or beyond ASCII."""
    return bytes([int(found[1], 16)])


class Kmsg:
    """An open /dev/kmsg, at its oldest record. `read` hands out what came since the last call.

    oldest: CLOCK_BOOTTIME in seconds of the oldest record seen, None before the first.
    lost: records overwritten between two reads, counted by the gap in sequence numbers.
    """

    name = "/dev/kmsg"

    def __init__(self, descriptor: int, read: Callable[[int, int], bytes] = os.read) -> None:
        self._descriptor = descriptor
        self._read = read
        self._sequence: int | None = None
        self.oldest: float | None = None
        self.lost = 0

    @classmethod
    def open(cls, roots: Roots) -> Kmsg:
        """Open the device. Raises UnreadableError, missing-capability (CAP_SYSLOG) where dmesg is restricted."""
        path = roots.dev / "kmsg"
        try:
            return cls(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            raise unreadable(str(path), error, "CAP_SYSLOG") from error

    def read(self) -> list[Line]:
        """The kernel's own lines since the last call, oldest first, at most RECORDS_A_READ. Raises UnreadableError."""
        offset = suspended_seconds()
        lines: list[Line] = []
        for _ in range(RECORDS_A_READ):
            try:
                data = self._read(self._descriptor, _RECORD_BYTES)
            except OSError as error:
                if error.errno in _SKIPPED:
                    continue
                if error.errno == errno.EAGAIN:
                    break
                raise unreadable(self.name, error, "CAP_SYSLOG") from error
            if not data:
                break
            record = self._follow(parse_record(data, self.name), offset)
            if record.facility == _KERN:
                lines.append(Line(record.stamp_seconds + offset, record.text))
        return lines

    def _follow(self, record: Record, offset: float) -> Record:
        """Count the gap to the record before, and remember the first one's time."""
        if self._sequence is not None:
            self.lost += max(0, record.sequence - self._sequence - 1)
        if self.oldest is None:
            self.oldest = record.stamp_seconds + offset
        self._sequence = record.sequence
        return record

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)
