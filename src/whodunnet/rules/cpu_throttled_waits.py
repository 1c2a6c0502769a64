"""Quotas of CPU time that were used up between two readings, and what waited at both for who is below them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

import msgspec

from whodunnet.model.cpu_quota import CpuQuotas, LimitedCgroup, QuotaUser
from whodunnet.model.drop_window import WRAP, is_full
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import AcceptQueue, SocketGroup, Sockets
from whodunnet.model.workload import Workloads
from whodunnet.rules.catalogue import Entry

NETWORK: Final = ("tcp", "mptcp")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot that has both samples."""

    at: Moment
    quotas: CpuQuotas
    sockets: Sockets
    workloads: Workloads | None

    @property
    def by_path(self) -> dict[str, LimitedCgroup]:
        return {cgroup.path: cgroup for cgroup in self.quotas.cgroups}


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes below a cgroup had not taken at one reading. unread: by pid, in bytes. full: accept queues."""

    unread: dict[int, int] = {}
    full: tuple[AcceptQueue, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.unread or self.full)

    @property
    def unread_bytes(self) -> int:
        return sum(self.unread.values())


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one quota did between two readings, and what waited at the first and at the second.

    dropped: datagrams by pid, meanwhile, of UDP sockets that had hardly any room at one of the two.
    used_ms: CPU time by pid, meanwhile, of the processes in this cgroup; empty where they were not read at both.
    """

    begin: Moment
    end: Moment
    cgroup: LimitedCgroup
    workloads: Workloads | None
    periods: int
    throttled: int
    throttled_us: int
    before: Waiting
    after: Waiting
    dropped: dict[int, int] = {}
    used_ms: dict[int, int] = {}

    @property
    def waits(self) -> bool:
        """At both."""
        return bool(self.before and self.after)

    @property
    def lost(self) -> int:
        """Datagrams."""
        return sum(self.dropped.values())

    @property
    def seconds(self) -> float:
        return self.end.boot_seconds - self.begin.boot_seconds

    @property
    def share(self) -> float:
        """Of the periods in which it ran, those in which its time was used up."""
        return min(self.throttled / self.periods, 1.0) if self.periods else 0.0


def readings(recording: Recording) -> list[Reading]:
    """Oldest first."""
    found = []
    for snapshot in recording.snapshots:
        quotas, sockets, workloads = (
            next((x for x in snapshot.samples.values() if isinstance(x, kind)), None)
            for kind in (CpuQuotas, Sockets, Workloads)
        )
        if isinstance(quotas, CpuQuotas) and isinstance(sockets, Sockets):
            known = workloads if isinstance(workloads, Workloads) else None
            found.append(Reading(at=snapshot.at, quotas=quotas, sockets=sockets, workloads=known))
    return found


def steps_of(read: Iterable[Reading], entry: Entry) -> dict[str, list[Step]]:
    """By path of the cgroup, all steps in which it was there at both ends; a cgroup made anew begins again."""
    found: dict[str, list[Step]] = {}
    for before, after in pairwise(read):
        known = before.by_path
        for path, cgroup in after.by_path.items():
            first = known.get(path)
            if first is not None and first.periods <= cgroup.periods and first.throttled <= cgroup.throttled:
                found.setdefault(path, []).append(_step(before, after, first, cgroup, entry))
    return found


def _step(before: Reading, after: Reading, first: LimitedCgroup, then: LimitedCgroup, entry: Entry) -> Step:
    return Step(
        begin=before.at,
        end=after.at,
        cgroup=then,
        workloads=after.workloads,
        periods=then.periods - first.periods,
        throttled=then.throttled - first.throttled,
        throttled_us=max(then.throttled_us - first.throttled_us, 0),
        before=waiting(before.sockets, frozenset(first.pids), entry),
        after=waiting(after.sockets, frozenset(then.pids), entry),
        dropped=dropped(before.sockets, after.sockets, frozenset(then.pids)),
        used_ms=used(first.users, then.users),
    )


def used(before: Iterable[QuotaUser], after: Iterable[QuotaUser]) -> dict[int, int]:
    """CPU time by pid; who was started since used all of its own."""
    known = {(user.pid, user.started_seconds): user.cpu_ms for user in before}
    if not known:
        return {}
    return {x.pid: max(x.cpu_ms - known.get((x.pid, x.started_seconds), 0), 0) for x in after}


def waiting(sockets: Sockets, pids: frozenset[int], entry: Entry) -> Waiting:
    """What these processes had received and not taken."""
    unread: dict[int, int] = {}
    for g in sockets.groups:
        if g.owner_pid is not None and g.owner_pid in pids and g.unread_bytes and _is_new(g, entry):
            unread[g.owner_pid] = unread.get(g.owner_pid, 0) + g.unread_bytes
    # sk_acceptq_is_full, include/net/sock.h
    full = tuple(q for q in sockets.accept_queues if q.owner_pid in pids and q.waiting > q.limit)
    return Waiting(unread=unread, full=full)


def _is_new(g: SocketGroup, entry: Entry) -> bool:
    """Whether it may be read yet. A client leaves session tickets unread for ever, and so are things never read."""
    if g.protocol not in NETWORK or g.state != "established" or g.holding != "descriptor":
        return False
    if g.symptom == "unread":
        return g.unchanged is None or g.unchanged < g.sockets
    return g.role != "initiated" and (not g.ages or g.older_than(int(entry.limit("new_age"))) < g.sockets)


def dropped(before: Sockets, after: Sockets, pids: frozenset[int]) -> dict[int, int]:
    """What UDP sockets of these processes alone had no room for, by pid; empty where not all of them are known."""
    if before.dropping_cut or after.dropping_cut:
        return {}
    known = {(s.netns, s.inode): s for s in before.dropping}
    found: Counter[int] = Counter()
    for s in after.dropping:
        first = known.get((s.netns, s.inode))
        if s.owner_pid is None or s.owner_pid not in pids or s.shared or not (is_full(s) or (first and is_full(first))):
            continue
        if first is None and before.netns_unread:
            continue
        rise = (s.dropped - (first.dropped if first else 0)) % WRAP
        found[s.owner_pid] += rise if rise < WRAP // 2 else 0  # a number that fell is another socket's
    return {pid: n for pid, n in found.items() if n}
