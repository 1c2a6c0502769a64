"""Lines of the kernel's log that a rule knows, from the best source there is."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import ClassVar, Protocol

from whodunnet.errors import UnreadableError
from whodunnet.kernel.journal import Journal, directories
from whodunnet.kernel.kmsg import Kmsg, Line
from whodunnet.kernel.logfiles import open_first
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.kernel_log import KernelLog, LogLine, RepeatedLine
from whodunnet.model.text import clean

LINES_KEPT = 64
COMPARED_A_READ = 1000
"""New lines of one reading that are compared with each other; of a flood that is a sample."""
KINDS_COMPARED = 256
KINDS_KEPT = 4
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|[0-9]+")

# Anchored at both ends: some kernel lines begin with a process's name, which anybody may choose.
KNOWN: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("tcp-out-of-memory", re.compile(r"TCP: out of memory -- consider tuning tcp_mem")),
    ("too-many-orphans", re.compile(r"TCP: too many orphaned sockets")),
    # Before kernel 3.4 one text stood for both; memory is the limit that was met more often.
    ("tcp-out-of-memory", re.compile(r"Out of socket memory")),
    # __nf_conntrack_alloc: of every namespace up to Linux 6.14, later only of the first; the prefix is there twice.
    ("conntrack-table-full", re.compile(r"(?:nf_conntrack: )+table full, dropping packet\.?")),
    # tcp_syn_flood_action: up to Linux 6.3 with the port alone and a second sentence.
    (
        "syn-flooding",
        re.compile(
            r"(?:TCP: )?request_sock_[A-Za-z0-9_]{1,32}: Possible SYN flooding on port [0-9A-Fa-f.:\[\]]{1,64}\. "
            r"(?:Sending cookies|Dropping request)\.(?:  Check SNMP counters\.)?"
        ),
    ),
    # neigh_alloc, and alloc_empty_file: that one only when it is more than ever before.
    ("neighbour-table-full", re.compile(r"(?:neighbour: )?arp_cache: neighbor table overflow!")),
    ("neighbour-table-full-ipv6", re.compile(r"(?:neighbour: )?ndisc_cache: neighbor table overflow!")),
    ("file-max", re.compile(r"VFS: file-max limit [0-9]{1,20} reached")),
    ("conntrack-table-full-netns", re.compile(r"(?:nf_conntrack: )+table full in netns [0-9]{1,10}, dropping packet")),
)


class Source(Protocol):
    """Where lines come from. oldest: CLOCK_BOOTTIME in seconds of its oldest line. lost: lines overwritten unread."""

    @property
    def name(self) -> str: ...
    @property
    def oldest(self) -> float | None: ...
    @property
    def lost(self) -> int: ...
    def read(self) -> list[Line]: ...
    def close(self) -> None: ...


class KernelLogCollector:
    """Reads the kernel's log from its oldest line at the first call, and then what is new; samples are cumulative."""

    name: ClassVar[str] = "kernel_log"

    def __init__(self, roots: Roots, support: Support) -> None:
        self._roots = roots
        self._boot_id = support.boot_id
        self._source: Source | None = None
        self._counts: Counter[str] = Counter()
        self._lines: deque[LogLine] = deque(maxlen=LINES_KEPT)
        self._written = 0
        self._repeated = Repeated()

    def collect(self) -> KernelLog:
        """Everything known so far. Raises UnreadableError, missing-capability (CAP_SYSLOG) if no source may be read."""
        if self._source is None:
            self._source, lines = self._open()
        else:
            lines = self._source.read()
            self._written += len(lines)
            self._repeated.add(lines)
        for line in known(lines):
            self._lines.append(line)
            self._counts[line.kind] += 1
        return KernelLog(
            source=self._source.name,
            reaches_back_seconds=_age(self._source.oldest),
            lines=tuple(self._lines),
            counts=dict(self._counts),
            lost=self._source.lost,
            written=self._written,
            repeated=self._repeated.most(),
        )

    def close(self) -> None:
        """Give the source back."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _open(self) -> tuple[Source, list[Line]]:
        """The first source that has a line of this boot, and its lines. Raises UnreadableError."""
        problems: list[UnreadableError] = []
        for opener in self._openers():
            try:
                source = opener()
                lines = source.read()
            except UnreadableError as error:
                problems.append(error)
                continue
            if lines or source.oldest is not None:
                return source, lines
            source.close()
            problems.append(UnreadableError(f"{source.name} has no kernel line of this boot", code="missing-file"))
        raise _none_of(problems)

    def _openers(self) -> Iterator[Callable[[], Source]]:
        yield partial(Kmsg.open, self._roots)
        for directory in directories(self._roots):
            yield partial(Journal, directory, self._boot_id)
        yield partial(open_first, self._roots)


class Repeated:
    """Counts lines that differ in numbers only."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, lines: Sequence[Line]) -> None:
        """The newest of these, and no more kinds than there is room for."""
        for line in lines[-COMPARED_A_READ:]:
            kind = _NUMBER.sub("0", line.text[:256])
            if kind in self._counts or len(self._counts) < KINDS_COMPARED:
                self._counts[kind] += 1
                self._examples[kind] = line.text

    def most(self) -> tuple[RepeatedLine, ...]:
        """Those that came at least twice."""
        most = self._counts.most_common(KINDS_KEPT)
        return tuple(RepeatedLine(clean(self._examples[kind]), n) for kind, n in most if n > 1)


def known(lines: Iterable[Line]) -> Iterator[LogLine]:
    """The lines that a rule knows, with their kind."""
    for line in lines:
        for kind, pattern in KNOWN:
            if pattern.fullmatch(line.text):
                yield LogLine(kind, line.boot_seconds, clean(line.text))


def _age(boot_seconds: float | None) -> float | None:
    return None if boot_seconds is None else max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - boot_seconds)


def _none_of(problems: list[UnreadableError]) -> UnreadableError:
    """All sources failed: the code is that of the first, /dev/kmsg, which one right would open."""
    text = "no kernel log can be read: " + "; ".join(str(problem) for problem in problems)
    return UnreadableError(text, code=problems[0].code, missing_capability=problems[0].missing_capability)
