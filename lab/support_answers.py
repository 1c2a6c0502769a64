"""What became of a collector or BPF program under some rights, in the words of the tool itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from whodunnet.collectors.snapshots import COLLECTORS
from whodunnet.model.connections import Connections
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.descriptors import Descriptors
from whodunnet.model.ports import Ports
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import AnySample, Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.model.stalls import Stalls
from whodunnet.model.workload import Workloads

Outcome = Literal["full", "part", "fallback", "failed", "unasked"]
NOT_ENTERED = "network namespaces that it could not enter or find were not read"
NOT_COUNTED = "processes that it may not look at were not counted"
NOT_IN_SIGHT = "processes may exist that it cannot see"
WITHOUT_PROGRAM = "of a process of root's in another network namespace it knows the name, not the program"
WITHOUT_NAME = "a process of root's in another network namespace is not named"
NOT_ASKED = "not asked for: no other collector had an address to be named"


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """outcome: "full": it names no gap; "part": its own way, with gaps; "fallback": by another way, `method`.

    reasons: why it is no more, one sentence each.
    """

    outcome: Outcome
    reasons: tuple[str, ...] = ()
    method: str | None = None


def answers(snapshot: Snapshot, server: int) -> dict[str, Answer]:
    """Of every collector. server: the pid of a process with a socket, of root's, in another network namespace."""
    missing = Answer("unasked", (NOT_ASKED,))
    found = snapshot.samples
    return {name: answer_of(found[name], server) if name in found else missing for name in COLLECTORS}


def answer_of(sample: AnySample, server: int) -> Answer:
    """From what the sample says of itself, without looking at what was found, but for who the server is."""
    if isinstance(sample, Failure):
        return Answer("failed", (sample.reason,))
    gaps = tuple(_gaps(sample, server))
    if isinstance(sample, Sockets | Connections) and sample.fallback_reason is not None:
        return Answer("fallback", (sample.fallback_reason, *gaps), sample.method)
    return Answer("part", gaps) if gaps else Answer("full")


def _gaps(sample: AnySample, server: int) -> Iterator[str]:
    if getattr(sample, "netns_unread", 0):
        yield NOT_ENTERED
    if isinstance(sample, Conntrack) and sample.dump_failure is not None:
        yield sample.dump_failure.reason
    if isinstance(sample, Descriptors) and sample.denied:
        yield NOT_COUNTED
    if isinstance(sample, Sockets) and not sample.all_processes:
        yield NOT_IN_SIGHT
    if isinstance(sample, Stalls):
        yield from filter(None, (sample.sampling_reason, sample.symbols_reason))
    if isinstance(sample, Ports):
        yield from dict.fromkeys(one.unread for one in sample.by_netns.values() if one.unread is not None)
    if isinstance(sample, Workloads):
        yield from _nameless(sample, server)


def _nameless(sample: Workloads, server: int) -> Iterator[str]:
    owner = sample.by_pid.get(server)
    if owner is None or owner.process is None:
        yield WITHOUT_NAME
    elif owner.process.exe is None:
        yield WITHOUT_PROGRAM
