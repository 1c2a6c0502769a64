"""One snapshot from a tree of copied files: what is there becomes samples, what is not is said."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import msgspec

from whodunnet.collectors.collector import run
from whodunnet.collectors.tree import counted, others
from whodunnet.collectors.tree.place import Place, find_place
from whodunnet.collectors.tree.sockets import TreeSockets, read_sockets
from whodunnet.errors import UnreadableError, UsageError
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.procfs.scope import MOUNTINFO_LIMIT_BYTES, is_procfs
from whodunnet.kernel.tree.files import Tree
from whodunnet.kernel.tree.machine import MARKS
from whodunnet.model.sample import CollectorCost, Failure
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.text import clean

Read = Callable[[Place], AnySample]

READERS: Final[dict[str, Read]] = {
    "tcp_memory": counted.read_tcp_memory,
    "counters": counted.read_counters,
    "settings": counted.read_settings,
    "kernel_log": others.read_kernel_log,
    "conntrack": others.read_conntrack,
    "addresses": others.read_addresses,
    "links": others.read_links,
    "softnet": others.read_softnet,
    "cpu_pressure": others.read_cpu_pressure,
    "clock": others.read_clock,
    "resolvers": others.read_resolvers,
    "descriptors": others.read_descriptors,
    "neighbours": others.read_neighbours,
}
"""By collector; those of TreeSockets come from one text, and any other is not read from trees."""
_WATCHED: Final = {"connections", "retransmissions", "stalls"}
"""What BPF sees while it happens."""
_LISTED: Final = 8


def read_tree(root: Path, wanted: Collection[str]) -> Recording:
    """A recording of one snapshot. wanted: names of collectors. Raises UsageError if DIR is no such tree."""
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        tree = Tree(root)
    except OSError as error:
        hint = ": unpack it first" if isinstance(error, NotADirectoryError) else ""
        raise UsageError(f"{clean(str(root))} cannot be read as a directory ({error.strerror}){hint}") from error
    with tree:
        _check(tree, root)
        place = find_place(tree)
        samples, costs = _samples(place, wanted)
    return Recording(
        node=place.machine.node,
        snapshots=(Snapshot(at=place.machine.at, samples=samples),),
        costs=costs,
        wall_seconds=round(time.perf_counter() - wall, 3),
        cpu_seconds=round(time.process_time() - cpu, 3),
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        notes=tuple(_notes(place)),
        tree=clean(str(root), 4096),
    )


def _check(tree: Tree, root: Path) -> None:
    """Raises UsageError for a machine that runs, and for what has nothing of a machine."""
    names = tree.names("")
    if not set(MARKS) & set(names):
        below = [name for name in names if set(MARKS) & set(tree.names(name))]
        hint = f"; {clean(below[0])} in it has" if below else ""
        raise UsageError(f"{clean(str(root))} has neither proc nor sos_commands, and is no tree of a machine{hint}")
    try:
        mounts = read_bytes(Path("/proc/self/mountinfo"), MOUNTINFO_LIMIT_BYTES)
        lives = not (root / "proc").is_symlink() and is_procfs(root / "proc", mounts)
    except UnreadableError:
        lives = False  # the files themselves are refused then
    if lives:
        raise UsageError(
            f"{clean(str(root))} is the root of a machine that runs, which diagnose watches without --root"
        )


def _samples(place: Place, wanted: Collection[str]) -> tuple[dict[str, AnySample], dict[str, CollectorCost]]:
    samples: dict[str, AnySample] = {}
    costs: dict[str, CollectorCost] = {}
    for name in sorted(wanted):
        if name in READERS:
            samples[name], costs[name] = run(lambda name=name: READERS[name](place))  # type: ignore[misc]
        elif name not in TreeSockets.__struct_fields__:
            samples[name] = _never(name)
    if not set(wanted).isdisjoint(TreeSockets.__struct_fields__):
        found, cost = _sockets(place)
        costs["sockets"] = cost
        samples |= {name: sample for name, sample in found.items() if name in wanted}
    return {name: _of_tree(sample) for name, sample in samples.items()}, costs


def _sockets(place: Place) -> tuple[dict[str, AnySample], CollectorCost]:
    """What comes from ss, or that each of it is missing."""
    every: list[TreeSockets] = []

    def read() -> AnySample:
        every.append(read_sockets(place))
        return every[0].sockets

    sample, cost = run(read)
    names = TreeSockets.__struct_fields__
    if not every:
        return dict.fromkeys(names, sample), cost
    found = every[0]
    cost = msgspec.structs.replace(cost, lost=found.sockets.lost, truncated=found.sockets.other_sockets > 0)
    return {name: getattr(found, name) for name in names}, cost


def _of_tree(sample: AnySample) -> AnySample:
    """A file that is missing in a tree says nothing of the machine: not that it has no such thing."""
    if isinstance(sample, Failure) and sample.code in ("missing-file", "missing-capability"):
        return Failure(code="unreadable", reason=sample.reason)
    return sample


def _never(name: str) -> Failure:
    if name in _WATCHED:
        reason = "this is seen only while it happens, on the machine itself (by BPF): no tree of files has it"
        return Failure(code="unsupported", reason=reason)
    return Failure(code="unsupported", reason=f"{name} is not read from trees of files")


def _notes(place: Place) -> list[str]:
    """What whoever reads the judgement must know."""
    notes = [
        "files copied from a machine were judged, not a machine that runs: they are of one moment, in which no change "
        "shows, and nothing is more than possible",
        *place.machine.notes,
    ]
    if place.named:
        shown = ", ".join(f"{named.number} is {named.name}" for named in place.named[:_LISTED])
        more = f", and so on to {place.named[-1].number}" if len(place.named) > _LISTED else ""
        notes.append(
            f"network namespaces have numbers of our own: 1 is the machine's, {shown}{more}, as ip netns has them"
        )
    return notes
