"""The kernel's lines in the systemd journal, by libsystemd (sd_journal_open(3), sd_journal_get_data(3)).

journald copies /dev/kmsg, and with it what user space wrote there; SYSLOG_FACILITY=0 leaves that out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.kmsg import Line, suspended_seconds
from whodunnet.kernel.procfs.files import integer, shown, unreadable
from whodunnet.kernel.roots import Roots

if TYPE_CHECKING:
    import ctypes  # 5 ms to import: only where there is no /dev/kmsg

ENTRIES_A_READ = 4096
_FIELD_BYTES = 4096


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. received_us: CLOCK_MONOTONIC when journald took it. stamp_us: the kernel's own stamp, if kept."""

    received_us: int
    stamp_us: int | None
    text: str


def parse_field(data: bytes, name: str) -> bytes:
    """The value in "NAME=value". Raises MalformedError."""
    start = name.encode() + b"="
    if not data.startswith(start):
        raise MalformedError(f"journal: field {name} is {shown(data)}")
    return data[len(start) :]


class Journal:
    """The kernel's lines of this boot. oldest: CLOCK_BOOTTIME in seconds of the oldest line read at the first call."""

    name = "journal"
    lost = 0

    def __init__(self, directory: Path, boot_id: str) -> None:
        self._directory = directory
        self._boot_id = boot_id.replace("-", "")
        self._newest_us = -1
        self.oldest: float | None = None

    def read(self) -> list[Line]:
        """Lines since the last call, oldest first, of them the newest ENTRIES_A_READ. Raises UnreadableError."""
        entries: list[Entry] = []
        with _opened(self._directory, self._boot_id) as handle:
            for entry in _backwards(handle):
                if entry.received_us <= self._newest_us or len(entries) == ENTRIES_A_READ:
                    break
                entries.append(entry)
        return self._lines(entries[::-1])

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _lines(self, entries: list[Entry]) -> list[Line]:
        offset = suspended_seconds()
        lines = [Line((e.received_us if e.stamp_us is None else e.stamp_us) / 1e6 + offset, e.text) for e in entries]
        if lines:
            self._newest_us = entries[-1].received_us
            self.oldest = lines[0].boot_seconds if self.oldest is None else self.oldest
        return lines


def directories(roots: Roots) -> list[Path]:
    """Where a journal may be: the lasting one, then the one that ends with the boot (systemd-journald.service(8))."""
    return [path for path in (roots.var / "log/journal", roots.run / "log/journal") if path.is_dir()]


@cache
def _library() -> ctypes.CDLL:
    import ctypes

    try:
        library = ctypes.CDLL("libsystemd.so.0")
    except OSError as error:
        raise UnreadableError(f"the journal needs libsystemd.so.0: {error}", code="missing-file") from error
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    library.sd_journal_open_directory.argtypes = [ctypes.POINTER(pointer), text, ctypes.c_int]
    library.sd_journal_add_match.argtypes = [pointer, text, size]
    library.sd_journal_set_data_threshold.argtypes = [pointer, size]
    library.sd_journal_get_data.argtypes = [pointer, text, ctypes.POINTER(pointer), ctypes.POINTER(size)]
    library.sd_journal_get_monotonic_usec.argtypes = [pointer, ctypes.POINTER(ctypes.c_uint64), text]
    for function in (library.sd_journal_seek_tail, library.sd_journal_previous, library.sd_journal_close):
        function.argtypes = [pointer]
    library.sd_journal_close.restype = None
    return library


@contextmanager
def _opened(directory: Path, boot_id: str) -> Iterator[ctypes.c_void_p]:
    """A handle that stands behind the newest kernel line of the boot. Raises UnreadableError."""
    import ctypes

    library, handle = _library(), ctypes.c_void_p()
    _checked(library.sd_journal_open_directory(ctypes.byref(handle), os.fsencode(directory), 0), "open")
    try:
        for match in ("_TRANSPORT=kernel", "SYSLOG_FACILITY=0", f"_BOOT_ID={boot_id}"):
            _checked(library.sd_journal_add_match(handle, match.encode(), 0), "match")
        _checked(library.sd_journal_set_data_threshold(handle, _FIELD_BYTES), "limit")
        _checked(library.sd_journal_seek_tail(handle), "seek")
        yield handle
    finally:
        library.sd_journal_close(handle)


def _backwards(handle: ctypes.c_void_p) -> Iterator[Entry]:
    """Entries, newest first. Raises UnreadableError."""
    import ctypes

    library, received = _library(), ctypes.c_uint64()
    boot = ctypes.create_string_buffer(16)
    while _checked(library.sd_journal_previous(handle), "step"):
        _checked(library.sd_journal_get_monotonic_usec(handle, ctypes.byref(received), boot), "time")
        stamp = _field(handle, "_SOURCE_MONOTONIC_TIMESTAMP")
        yield Entry(
            received_us=received.value,
            stamp_us=None if stamp is None else integer(stamp, "journal", "_SOURCE_MONOTONIC_TIMESTAMP"),
            text=(_field(handle, "MESSAGE") or b"").decode(errors="replace"),
        )


def _field(handle: ctypes.c_void_p, name: str) -> bytes | None:
    import ctypes

    data, size = ctypes.c_void_p(), ctypes.c_size_t()
    result = _library().sd_journal_get_data(handle, name.encode(), ctypes.byref(data), ctypes.byref(size))
    if result < 0 or data.value is None:
        return None  # the entry has no such field, or it is damaged
    return parse_field(ctypes.string_at(data.value, size.value), name)


def _checked(result: int, step: str) -> int:
    """A result of libsystemd, which says errors as negative errno."""
    if result < 0:
        raise unreadable(f"the journal ({step})", OSError(-result, os.strerror(-result)))
    return result
