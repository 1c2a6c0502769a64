"""How much TCP memory a snapshot saw: the highest of a boot is what a shortened recording must not lose."""

from __future__ import annotations

from whodunnet.model.snapshot import Snapshot
from whodunnet.model.tcp_memory import TcpMemory


def used_pages(snapshot: Snapshot) -> int | None:
    """What the kernel counted, None if it was not read."""
    return max((s.used_pages for s in snapshot.samples.values() if isinstance(s, TcpMemory)), default=None)
