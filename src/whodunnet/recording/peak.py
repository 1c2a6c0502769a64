"""How full a snapshot saw the kernel: the highest of a boot is what a shortened recording must not lose."""

from __future__ import annotations

from whodunnet.model.conntrack import Conntrack
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.tcp_memory import TcpMemory


def used_pages(snapshot: Snapshot) -> int | None:
    """TCP memory as the kernel counted it, None if it was not read."""
    return max((s.used_pages for s in snapshot.samples.values() if isinstance(s, TcpMemory)), default=None)


def tracked(snapshot: Snapshot) -> int | None:
    """Tracked connections of the namespace that has most, since each is compared with the limit; None if not read."""
    samples = [s for s in snapshot.samples.values() if isinstance(s, Conntrack)]
    found = [n for s in samples for n in (s.count, *s.counts.values()) if n is not None]
    return max(found, default=None)
