"""How full a snapshot saw the kernel, and for how long packets waited: what a shortened recording must not lose."""

from __future__ import annotations

from whodunnet.model.conntrack import Conntrack
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.stalls import Stalls
from whodunnet.model.tcp_memory import TcpMemory


def used_pages(snapshot: Snapshot) -> int | None:
    """TCP memory as the kernel counted it, None if it was not read."""
    return max((s.used_pages for s in snapshot.samples.values() if isinstance(s, TcpMemory)), default=None)


def tracked(snapshot: Snapshot) -> int | None:
    """Tracked connections of the namespace that has most, since each is compared with the limit; None if not read."""
    samples = [s for s in snapshot.samples.values() if isinstance(s, Conntrack)]
    found = [n for s in samples for n in (s.count, *s.counts.values()) if n is not None]
    return max(found, default=None)


def waited_us(snapshot: Snapshot) -> int | None:
    """Microseconds that received packets waited in the stalls of this snapshot, None if they were not looked for.

    Times without a sample are none: most of them are pauses of a machine.
    """
    samples = [s for s in snapshot.samples.values() if isinstance(s, Stalls)]
    waits = [stall.wait_seconds for s in samples for stall in s.stalls if stall.kind != "silent"]
    return round(1e6 * max(sum(waits), 0.0)) if samples else None
