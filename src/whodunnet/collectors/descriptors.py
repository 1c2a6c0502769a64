"""Processes near their limit of open descriptors, and the machine near its limit of open files.

Needs nothing from Linux 6.2 on; CAP_SYS_PTRACE for other users' processes on older kernels, and to tell sockets from
files. CAP_BPF with CAP_PERFMON to see who is refused one, which is looked at only near the limit of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

import msgspec

from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.bpf.refusals import Refusals, RefusalWatch
from whodunnet.kernel.procfs.open_files import count_open_files, read_descriptor_limit, read_file_use, read_kinds
from whodunnet.kernel.procfs.process import read_stat
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.descriptors import Descriptors, DescriptorUse

MANY = 32
"""Descriptors from which on the limit of a process is read, at about 30 µs: hardly any limit is as low."""
LISTED = 32
"""Processes that are kept, those nearest to their limits, and the one with most descriptors."""
ABOVE = 8
"""Of those, how many may have more open than their limit, as sandboxes do, while one that is near its own needs the
room; more only in what these leave."""
NEAR = 0.8
"""Share of its limit from which on it is looked what the descriptors of a process are; or share of the machine's limit,
for the process with most."""
LOOKED_AT = 256
"""Descriptors of one process that are looked at."""
WATCHED = 0.9
"""Share of the machine's limit from which on it is watched who is refused a file, until it is below NEAR."""


Use = tuple[float, int, int, int]
"""Share of the limit, pid, open descriptors, limit."""


class DescriptorsCollector:
    """Counts the descriptors of every process, by one stat for each."""

    name: ClassVar[str] = "descriptors"

    def __init__(self, roots: Roots, support: Support | None = None) -> None:
        """support: None never loads a BPF program."""
        self._roots = roots
        self._refusals = RefusalsNearLimit(support)

    def collect(self) -> Descriptors:
        """One reading. Raises UnreadableError if processes cannot be listed."""
        found = count_open_files(self._roots.proc)
        uses = self._uses(found.by_pid)
        most = max(uses, key=lambda use: (use[2], -use[1]), default=None)
        kept = _kept(uses, most)
        files = unless_unreadable(partial(read_file_use, self._roots))
        share = files[0] / files[1] if files and files[1] else None
        look = most if share is not None and share >= NEAR else None
        fullest = [self._use(*use, look=use[0] >= NEAR or use == look) for use in kept]
        refusals = self._refusals.read(share)
        return Descriptors(
            fullest=tuple(use for use in fullest if use is not None),
            near_left_out=_near(uses) - _near(kept),
            processes=len(found.by_pid),
            denied=found.denied,
            left_out=found.left_out,
            open_files=files[0] if files else None,
            max_files=files[1] if files else None,
            refusals_watched=refusals is not None,
            refused=refusals.processes if refusals else (),
            refused_left_out=refusals.left_out if refusals else 0,
        )

    def close(self) -> None:
        """Detaches the BPF program, where it was needed."""
        self._refusals.close()

    def _uses(self, by_pid: Mapping[int, int]) -> list[Use]:
        found: list[Use] = []
        for pid, number in by_pid.items():
            limit = self._limit(pid) if number >= MANY else None
            if limit is not None:
                found.append((number / max(limit, 1), pid, number, limit))
        return found

    def _limit(self, pid: int) -> int | None:
        """None where there is none, or the process is gone."""
        return unless_unreadable(partial(read_descriptor_limit, self._roots, pid))

    def _use(self, _: float, pid: int, number: int, limit: int, *, look: bool) -> DescriptorUse | None:
        """None if it is gone meanwhile. look: at what they are. Raises MalformedError."""
        try:
            stat = read_stat(self._roots, pid)
        except MalformedError:
            raise
        except UnreadableError:
            return None
        use = DescriptorUse(pid=pid, comm=stat.comm, started_seconds=stat.started_seconds, open=number, limit=limit)
        kinds = read_kinds(self._roots.proc, pid, LOOKED_AT) if look else None
        if kinds is None:
            return use
        return msgspec.structs.replace(use, sockets=kinds.sockets, files=kinds.files, other=kinds.other)


class RefusalsNearLimit:
    """Keeps the BPF program attached as long as the machine is near its limit, and no longer."""

    def __init__(self, support: Support | None) -> None:
        self._support = support
        self._watch: RefusalWatch | None = None
        self._failed = False

    def read(self, share: float | None) -> Refusals | None:
        """What was counted since it was attached; None if it was not attached before. share: of the limit, now; None
        where that was not read: then all stays as it is."""
        refusals = self._counted()
        if share is not None and share >= WATCHED:
            self._start()
        elif share is not None and share < NEAR:
            self.close()
            self._failed = False
        return refusals

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _counted(self) -> Refusals | None:
        try:
            return self._watch.read() if self._watch is not None else None
        except UnreadableError:
            self.close()  # or what was counted so far would count again after the gap
            self._failed = True
            return None

    def _start(self) -> None:
        """Where BPF fails it is not tried again until there was room, and nothing is said: all else is known."""
        if self._watch is None and self._support is not None and not self._failed:
            try:
                self._watch = RefusalWatch(self._support)
            except (UnreadableError, OSError):  # the latter where we are refused files too, before libbpf is loaded
                self._failed = True


def _kept(uses: Sequence[Use], most: Use | None) -> list[Use]:
    """The nearest first: of those within their limits the nearest one always; and, if those near theirs leave room, the
    one with most, which may be far from a limit of its own while the machine is near its."""
    ordered = sorted(uses, key=_nearest_first)
    above = [use for use in ordered if use[0] > 1]
    within = [use for use in ordered if use[0] <= 1]
    first = max(_near(within), 1)
    kept = above[:ABOVE] + within[:first] + above[ABOVE:] + ([most] if most else []) + within[first:]
    return sorted(list(dict.fromkeys(kept))[:LISTED], key=_nearest_first)


def _nearest_first(use: Use) -> tuple[float, int]:
    return -use[0], use[1]


def _near(uses: Sequence[Use]) -> int:
    return sum(use[0] >= NEAR for use in uses)
