"""What one owner holds of one shape, snapshot by snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Process, Workload, Workloads, owner_key


class Tally(msgspec.Struct):
    """Sums over the groups of one owner and shape at one moment. follows: as in its Sockets sample."""

    follows: bool = True
    sockets: int = 0
    memory_bytes: int = 0
    unsent_bytes: int = 0
    unchanged: int | None = None
    shared: int = 0
    unmarked: int = 0
    ages: list[int] = msgspec.field(default_factory=lambda: [0] * (len(AGE_BOUNDS_SECONDS) + 1))
    pids: Counter[int] = msgspec.field(default_factory=Counter)
    endpoints: Counter[Endpoint] = msgspec.field(default_factory=Counter)
    netns: Counter[int] = msgspec.field(default_factory=Counter)

    def add(self, g: SocketGroup) -> None:
        """One more group."""
        self.sockets += g.sockets
        self.memory_bytes += g.memory_bytes
        self.unsent_bytes += g.unsent_bytes
        self.shared += g.shared
        self.unmarked += g.unmarked
        if g.unchanged is not None:
            self.unchanged = (self.unchanged or 0) + g.unchanged
        for i, n in enumerate(g.ages):
            self.ages[i] += n
        if g.owner_pid is not None:
            self.pids[g.owner_pid] += g.sockets
        if g.endpoint is not None:
            self.endpoints[g.endpoint] += g.sockets
        if g.netns is not None:
            self.netns[g.netns] += g.sockets

    @property
    def comparable(self) -> int:
        """How many can be looked for in the next snapshot."""
        return self.sockets - self.unmarked

    def older_than(self, seconds: float) -> int:
        """Number of sockets at least that old; `seconds` is one of AGE_BOUNDS_SECONDS."""
        return sum(self.ages[AGE_BOUNDS_SECONDS.index(int(seconds)) + 1 :])

    def oldest_seconds(self) -> int:
        """Lower bound of the oldest age class that has a socket."""
        held = [i for i, n in enumerate(self.ages) if n]
        return AGE_BOUNDS_SECONDS[held[-1] - 1] if held and held[-1] > 0 else 0


class Candidate(msgspec.Struct):
    """One owner with one shape over the whole window; `series` has one tally a snapshot, which may be empty."""

    key: str
    shape: str
    workload: Workload | None
    series: list[tuple[Moment, Tally]]

    @property
    def last(self) -> Tally:
        return self.series[-1][1]

    @property
    def counts(self) -> list[int]:
        """Number of sockets at each snapshot."""
        return [tally.sockets for _, tally in self.series]

    @property
    def growth(self) -> int:
        """Sockets at the end minus sockets at the beginning."""
        return self.counts[-1] - self.counts[0]

    @property
    def state(self) -> str:
        """State of the process that is shown for it, "unknown" where nobody looked."""
        process = self.workload.process if self.workload else None
        return (process.state if process else None) or "unknown"

    @property
    def loss(self) -> int:
        """How many went away between snapshots, as far as their number shows it."""
        counts = self.counts
        return sum(max(a - b, 0) for a, b in pairwise(counts))


def shape_of(g: SocketGroup) -> str | None:
    """Which kind of leak a group would be part of, if it is one; None for what is never a leak of its holder."""
    if g.protocol != "tcp" or g.state == "listen":
        return None
    if g.holding == "accept-queue":
        return "accept-not-called"
    if g.holding == "orphan":
        return "orphans"
    if g.holding != "descriptor" or g.symptom == "window-closed":
        return None
    if g.symptom == "never-connected":
        return "never-connected"
    if g.symptom == "dead":
        return "dead-not-closed"
    if g.symptom == "unread":
        return "response-never-read"
    if g.state == "close-wait":
        return "close-forgotten"
    return "held-open" if g.state == "established" and g.role == "initiated" else None


def candidates(recording: Recording) -> list[Candidate]:
    """Every owner and shape in the newest snapshot, with its past."""
    moments = list(_moments(recording))
    found: dict[tuple[str, str], Candidate] = {}
    for index, (at, sockets, workloads) in enumerate(moments):
        for (key, shape), (workload, tally) in _tally(sockets, workloads).items():
            candidate = found.get((key, shape))
            if candidate is None:
                past = [(m, Tally()) for m, _, _ in moments[:index]]
                candidate = found[key, shape] = Candidate(key, shape, workload, past)
            candidate.series.append((at, tally))
            candidate.workload = workload or candidate.workload
        for candidate in found.values():
            if len(candidate.series) <= index:
                candidate.series.append((at, Tally(follows=sockets.follows)))
    return [c for c in found.values() if c.last.sockets]


def _moments(recording: Recording) -> Iterator[tuple[Moment, Sockets, Workloads]]:
    known = Workloads()
    for snapshot in recording.snapshots:
        sockets = snapshot.samples.get("sockets")
        workloads = snapshot.samples.get("workloads")
        known = workloads if isinstance(workloads, Workloads) else known
        if isinstance(sockets, Sockets):
            yield snapshot.at, sockets, known


def _tally(sockets: Sockets, workloads: Workloads) -> dict[tuple[str, str], tuple[Workload | None, Tally]]:
    owners = sockets.queue_owners(lambda pid: owner_key(pid, workloads.by_pid.get(pid)))
    found: dict[tuple[str, str], tuple[Workload | None, Tally]] = {}
    for g in sockets.groups:
        shape = shape_of(g)
        if shape is None:
            continue
        pid = sockets.owner_of(g, owners)
        workload = workloads.by_pid.get(pid) if pid is not None else _unowned(g, workloads)
        key = owner_key(pid, workload) if pid is not None else f"netns {g.netns} {g.cgroup_id}"
        if shape in ("held-open", "accept-not-called", "orphans"):
            key += f" {g.endpoint}"
        _, tally = found.setdefault((key, shape), (workload, Tally(follows=sockets.follows)))
        tally.add(g)
        if pid is not None and g.owner_pid is None:
            tally.pids[pid] += g.sockets
    return {k: (_largest(t, w, workloads), t) for k, (w, t) in found.items()}


def _unowned(g: SocketGroup, workloads: Workloads) -> Workload | None:
    """A socket that no process holds belongs to its cgroup's container, else to the only tenant of its namespace."""
    if g.cgroup_id is not None and g.cgroup_id in workloads.by_cgroup_id:
        return workloads.by_cgroup_id[g.cgroup_id]
    return workloads.by_netns.get(g.netns) if g.netns is not None else None


def _largest(tally: Tally, workload: Workload | None, workloads: Workloads) -> Workload | None:
    """Of several processes of one owner, the one that holds most is shown."""
    if not tally.pids:
        return workload
    pid = tally.pids.most_common(1)[0][0]
    return workloads.by_pid.get(pid) or workload or Workload(process=Process(pid=pid, comm=f"pid {pid}"))
