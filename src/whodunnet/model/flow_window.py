"""Bounds what a window of snapshots keeps in memory of connections, without forgetting one.

Of the groups of the conntrack table some snapshots keep a coarser reading; of what the connections collector counted
since its start some have none, since any two of the others tell what came between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from whodunnet.model.connections import Connections
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.sockets import Endpoint

GROUPS_IN_WINDOW = 131_072
"""Of all snapshots together, about 500 bytes each."""
GROUPS_BETWEEN = 1024
"""Of a snapshot that is neither the first, the newest nor the fullest, once there are too many."""
ENDS_IN_WINDOW = 131_072
"""Groups and classes of times of all samples of the connections collector together, about 150 bytes each."""


def bounded(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """The same window with at most about GROUPS_IN_WINDOW and ENDS_IN_WINDOW."""
    return bounded_ends(bounded_flows(snapshots))


def bounded_ends(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Samples of connections are taken out until there are few enough: the one nearest to its neighbours first.

    The first and the newest stay. The first and the last of each run of a collector go after all others, for nothing
    else tells what it counted.
    """
    sizes = {n: _size(snapshot) for n, snapshot in enumerate(snapshots) if _counted(snapshot)}
    left, total = list(sizes), sum(sizes.values())
    taken, edges = set(), _edges(snapshots)
    while total > ENDS_IN_WINDOW and len(left) > 2:
        times = [snapshots[n].at.boot_seconds for n in left]
        place = min(range(1, len(left) - 1), key=lambda n: (left[n] in edges, times[n + 1] - times[n - 1]))
        taken.add(left.pop(place))
        total = sum(sizes[n] for n in left)
    return [_without_ends(snapshot) if n in taken else snapshot for n, snapshot in enumerate(snapshots)]


def bounded_flows(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """The same window with at most about GROUPS_IN_WINDOW groups of tracked connections.

    The first snapshot, the newest, and of those with most entries the newest stay as they are: of them rules ask who
    has what.
    """
    sizes = [sum(map(_groups, _tables(snapshot))) for snapshot in snapshots]
    if sum(sizes) <= GROUPS_IN_WINDOW:
        return list(snapshots)
    counts = [max((c.count or 0 for c in _tables(snapshot)), default=-1) for snapshot in snapshots]
    fullest = max(reversed(range(len(snapshots))), key=counts.__getitem__)
    whole = {0, fullest, len(snapshots) - 1}
    return [s if n in whole or sizes[n] <= GROUPS_BETWEEN else _coarser(s) for n, s in enumerate(snapshots)]


def coarser(conntrack: Conntrack, at_most: int) -> Conntrack:
    """The same reading in at most so many groups: half of them the largest, half without destination.

    What fits in neither is in other_entries, as if the collector had had no room for it. Without other tables.
    """
    conntrack = msgspec.structs.replace(conntrack, inner={})
    if len(conntrack.groups) <= at_most:
        return conntrack
    by_size = sorted(conntrack.groups, key=lambda g: -g.entries)
    merged: dict[FlowGroup, list[FlowGroup]] = {}
    for group in by_size[at_most // 2 :]:
        merged.setdefault(_kind(group), []).append(group)
    kinds = sorted(merged.items(), key=lambda item: -_entries(item[1]))
    room = at_most - at_most // 2
    return msgspec.structs.replace(
        conntrack,
        groups=(*by_size[: at_most // 2], *(_sum(kind, groups) for kind, groups in kinds[:room])),
        other_entries=conntrack.other_entries + sum(_entries(groups) for _, groups in kinds[room:]),
    )


def _counted(snapshot: Snapshot) -> list[Connections]:
    return [sample for sample in snapshot.samples.values() if isinstance(sample, Connections)]


def _size(snapshot: Snapshot) -> int:
    return sum(1 + len(g.spans) for sample in _counted(snapshot) for g in sample.groups)


def _edges(snapshots: Sequence[Snapshot]) -> set[int]:
    """Which snapshots are the first and the last of a run of the connections collector."""
    runs: dict[float, list[int]] = {}
    for n, snapshot in enumerate(snapshots):
        for sample in _counted(snapshot):
            runs.setdefault(sample.started_seconds, []).append(n)
    return {n for run in runs.values() for n in (run[0], run[-1])}


def _without_ends(snapshot: Snapshot) -> Snapshot:
    samples = {name: sample for name, sample in snapshot.samples.items() if not isinstance(sample, Connections)}
    return msgspec.structs.replace(snapshot, samples=samples)


def _tables(snapshot: Snapshot) -> list[Conntrack]:
    return [sample for sample in snapshot.samples.values() if isinstance(sample, Conntrack)]


def _groups(conntrack: Conntrack) -> int:
    return len(conntrack.groups) + sum(map(len, conntrack.inner.values()))


def _coarser(snapshot: Snapshot) -> Snapshot:
    samples = {
        name: coarser(sample, GROUPS_BETWEEN) if isinstance(sample, Conntrack) else sample
        for name, sample in snapshot.samples.items()
    }
    return msgspec.structs.replace(snapshot, samples=samples)


def _kind(group: FlowGroup) -> FlowGroup:
    """What a group shares with those it is merged with; no entries yet."""
    answered_by = Endpoint(None, None) if group.answered_by is not None else None
    return msgspec.structs.replace(
        group, destination=None, answered_by=answered_by, merged=True, entries=0, idle_seconds=0, ages=()
    )


def _sum(kind: FlowGroup, groups: Sequence[FlowGroup]) -> FlowGroup:
    ages = [group.ages for group in groups if group.ages]
    return msgspec.structs.replace(
        kind,
        entries=_entries(groups),
        idle_seconds=sum(group.idle_seconds for group in groups),
        ages=tuple(map(sum, zip(*ages, strict=True))),
    )


def _entries(groups: Sequence[FlowGroup]) -> int:
    return sum(group.entries for group in groups)
