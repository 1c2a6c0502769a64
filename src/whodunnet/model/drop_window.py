"""What UDP sockets dropped between the first and the newest reading of them."""

from __future__ import annotations

from collections import Counter

import msgspec

from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import DroppingSocket
from whodunnet.model.workload import Workload

WRAP = 2**32


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A UDP socket that is open now. rise: packets it dropped within the window; it may have been opened in it.

    pid, owner: None where nobody is known; nor of a socket that init has open too, which handed it on (socket
    activation). full: in how many readings hardly any room was left, of `readings` in which it was listed.
    """

    at: Moment
    socket: DroppingSocket
    pid: int | None
    owner: Workload | None
    rise: int
    full: int
    readings: int


def drops(recording: Recording) -> list[Dropped] | None:
    """Those that dropped any within the window, most first; None where two readings cannot be compared."""
    every = recording.owned_sockets()
    if len(every) < 2 or any(sample.dropping_cut for _, sample, _ in every):
        return None
    before = {(s.netns, s.inode): s.dropped for s in every[0][1].dropping}
    listed: Counter[tuple[int, int]] = Counter()
    full: Counter[tuple[int, int]] = Counter()
    named: dict[int, Workload] = {}
    for _, sample, workloads in every:
        named |= workloads.by_pid if workloads else {}
        for s in sample.dropping:
            listed[s.netns, s.inode] += 1
            full[s.netns, s.inode] += is_full(s)
    at, newest, _ = every[-1]
    found = [
        Dropped(
            at=at,
            socket=s,
            pid=(pid := None if s.shared and s.owner_pid == 1 else s.owner_pid),
            owner=named.get(pid) if pid is not None else None,
            rise=(s.dropped - before.get((s.netns, s.inode), 0)) % WRAP,
            full=full[s.netns, s.inode],
            readings=listed[s.netns, s.inode],
        )
        for s in newest.dropping
    ]
    return sorted((d for d in found if d.rise), key=lambda d: (-d.rise, d.socket.netns, d.socket.inode))


def is_full(s: DroppingSocket) -> bool:
    """Whether it is near its limit: a packet is taken as long as any room is left, with the kernel's share of it."""
    return 2 * s.unread_bytes >= s.limit_bytes
