"""Who made the connects of a window, for entries that outlive their sockets: BPF met each of them with its process."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import inf

import msgspec

from whodunnet.model.connection_places import Processes
from whodunnet.model.connection_window import Step, connection_window
from whodunnet.model.connections import ConnectionGroup, Connections, Ending
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.flow_kept import kept_in
from whodunnet.model.flow_left import Connects
from whodunnet.model.flow_sockets import Opened, keys_of
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.model.table_drops import lacking_in
from whodunnet.model.vouching import Destination
from whodunnet.model.workload import Workload, Workloads

MADE_SHARE = 0.95
"""Of the connects to a destination: of whoever made as many the entries are, but for one in twenty."""
MADE_LEAST = 10
"""Fewer connects than this within the window are no habit."""
LEAVES_ENTRY: frozenset[Ending] = frozenset({"opened", "refused"})
"""Endings of a connect that leave an entry in a state without a socket."""
AGAIN: Ending = "syn-retransmitted"
"""In a table that is full most connects are only tried."""
WATCHED_LEAST = 0.01
"""Seconds: what was watched for less has no pace."""


class Made(msgspec.Struct, frozen=True):
    """Connects of one process to one destination. key: of the owner, None where nobody knows. client: their source."""

    key: str | None
    client: str | None
    ending: Ending
    connects: int


class FlowMakers:
    """Connects of some time by destination, with who made them. lost: of nobody knows whom, to nobody knows where."""

    def __init__(
        self, steps: Sequence[Connections], seconds: float, dropped: int, processes: Processes, kept: Opened | None
    ) -> None:
        """steps: by how much they grew. dropped: packets for which the table had no room meanwhile.

        kept: connections that are still open, None where that is not known; a few of those that come and go are always
        met.
        """
        self.dropped = dropped
        self._kept = kept
        self._seconds = seconds
        self._lost = sum(sum(s.other.get(e, 0) for e in LEAVES_ENTRY) + s.untracked + s.missed for s in steps)
        self._named: dict[str, Workload] = {}
        self._made: dict[tuple[int, Endpoint], list[Made]] = defaultdict(list)
        for g in (g for step in steps for g in step.groups):
            if g.role == "initiated" and (g.ending in LEAVES_ENTRY or g.ending == AGAIN):
                made = Made(self._key(g, processes), g.client, g.ending, g.connections)
                self._made[g.netns, g.server].append(made)

    def _key(self, g: ConnectionGroup, processes: Processes) -> str | None:
        """As those have it who are known by their sockets. Who is known by a number only cannot be named by it."""
        workload = processes.find(g)
        if workload is None or g.owner_pid is None:
            return None
        key = keys_of({g.owner_pid: workload})(g.owner_pid, g.netns)
        if key != keys_of({})(g.owner_pid, g.netns):
            self._named.setdefault(key, workload)
        return key

    def maker(self, to: Destination, source: str) -> tuple[str, Workload] | None:
        """Key of the one who opened nearly all connections from an address to a destination, with one of its processes.

        Of a connect without source nobody knows whether it was from there.
        """
        there = self._from(to, source)
        opened: Counter[str] = Counter()
        for made in there:
            if made.key in self._named and made.client == source and made.ending == "opened":
                opened[made.key] += made.connects
        most = max(opened, key=lambda key: opened[key], default=None)
        if most is None:
            return None
        own_again = sum(made.connects for made in there if _is_again(made, most, source))
        every = self._lost + sum(made.connects for made in there) - own_again
        return (most, self._named[most]) if opened[most] >= max(MADE_LEAST, MADE_SHARE * every) else None

    def connects(self, key: str, to: Destination, source: str) -> Connects:
        """Of one owner from an address to a destination, as far as they leave entries."""
        own: Counter[Ending] = Counter()
        for made in self._from(to, source):
            if made.key == key and made.client == source:
                own[made.ending] += made.connects
        kept = self._kept.get((*to, key), 0) if self._kept is not None else inf
        left = max(own["opened"] - (kept if kept >= MADE_LEAST else 0), 0) + own["refused"]
        return Connects(int(left), min(own[AGAIN], self.dropped), self._seconds)

    def contradict(self, key: str, to: Destination, source: str) -> bool:
        """Whether others than this owner made more of the connects than a few."""
        there = [made for made in self._from(to, source) if made.ending != AGAIN]
        own = sum(made.connects for made in there if made.key == key)
        return own < MADE_SHARE * sum(made.connects for made in there)

    def _from(self, to: Destination, source: str) -> list[Made]:
        """Connects that may be from an address; only those of TCP are known."""
        netns, protocol, endpoint = to
        there = self._made.get((netns, endpoint), ()) if protocol == "tcp" else ()
        return [made for made in there if made.client in (None, source)]


def _is_again(made: Made, key: str, source: str) -> bool:
    return (made.key, made.client, made.ending) == (key, source, AGAIN)


class WindowMakers:
    """Who made the connects that left the entries of one reading: neither later ones nor older than entries get."""

    def __init__(self, recording: Recording, steps: Sequence[tuple[float, Step]]) -> None:
        """steps: each with when it began, on the boot clock; at least one."""
        self._steps = steps
        self._recording = recording
        self._processes = Processes(recording.series(Workloads))

    def at(self, at: float, longest: float) -> FlowMakers | None:
        """at: when the table was read, on the boot clock. longest: seconds for which its entries stay.

        None where hardly anything was watched. What came next tells of a reading before which nothing was.
        """
        before = [(begin, step) for begin, step in self._steps if step.until <= at]
        over = before or self._steps[:1]
        end = over[-1][1].until
        part = [(begin, step) for begin, step in over if step.until > end - longest] or over[-1:]
        growths = [step.growth for _, step in part]
        seconds = sum(growth.watched_seconds for growth in growths)
        if seconds < WATCHED_LEAST:
            return None
        begin, tables = part[0][0], self._recording.series(Conntrack)
        dropped = lacking_in([read for when, read in tables if begin <= when.boot_seconds <= end])
        # Sockets are read more seldom than connects; whose the entries of the first reading are is no more than a pace.
        kept = kept_in(self._recording, begin, end, latest=end if before else inf)
        return FlowMakers(growths, seconds, max(dropped, 0), self._processes, kept)


def makers_of(recording: Recording) -> WindowMakers | None:
    """None where connects were not met by one run of BPF throughout the window."""
    series = recording.series(Connections)
    window = connection_window(recording)
    if window is None or len(series) < 2 or any(sample.method != "bpf" for _, sample in series):
        return None
    if len({sample.started_seconds for _, sample in series}) > 1:
        return None
    begins = [at.boot_seconds for at, _ in series]
    return WindowMakers(recording, list(zip(begins, window.steps, strict=False)))
