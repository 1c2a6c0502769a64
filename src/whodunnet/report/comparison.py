"""Two snapshots, of one node or of two: who is new, who grew, what else differs (schema whodunnet/comparison/v1)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal, TypeVar

import msgspec

from whodunnet import __version__
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.diagnosis import Tool
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import AnySample, Node, Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Workloads
from whodunnet.report.lasting import Lasting, Side
from whodunnet.report.node_changes import (
    CounterChanges,
    Setting,
    TotalChange,
    compare_counters,
    compare_settings,
    compare_table_settings,
    compare_totals,
    compare_tracked,
)
from whodunnet.report.owner import By
from whodunnet.report.owner_changes import OwnerChanges, compare_owners
from whodunnet.report.quantity import duration

S = TypeVar("S", Sockets, TcpMemory, Workloads, Conntrack)
Taken = tuple[Node, Snapshot]
Subject = Literal["owners", "totals", "counters"]
WITHOUT_PROCESSES: tuple[By, ...] = ("endpoint", "netns", "state")
CLOCK_STEP_SECONDS = 60.0


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two snapshots: of what and when, and what it could not see. method, lost: None without sockets."""

    node: Node
    at: datetime
    boot_seconds: float
    method: Literal["bpf", "sock_diag"] | None
    lost: int | None
    not_seen: tuple[str, ...]
    failures: dict[str, Failure]


class NotCompared(msgspec.Struct, frozen=True, kw_only=True):
    """A part that one of the snapshots does not have, or that cannot be compared between these two."""

    subject: Subject
    reason: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What changed from one snapshot to another. A part that is None stands in not_compared with its reason.

    seconds: between them, by the boot clock within one boot; None between two nodes.
    notes: what makes numbers compare badly. settings: only what differs.
    """

    schema: str = "whodunnet/comparison/v1"
    tool: Tool
    by: By
    before: Sight
    after: Sight
    same_node: bool
    same_boot: bool
    seconds: float | None
    notes: tuple[str, ...]
    owners: OwnerChanges | None
    totals: tuple[TotalChange, ...] | None
    settings: tuple[Setting, ...]
    counters: CounterChanges | None
    not_compared: tuple[NotCompared, ...]


def compare(before: Taken, after: Taken, *, by: By = "container", top: int = 20) -> Comparison:
    """Compare two snapshots, the older one first."""
    pair = _Pair(before, after)
    owners = pair.missing_owners(by)
    totals = pair.missing("tcp_memory", TcpMemory)
    counters = totals if pair.same_boot else "counters go on within one boot only"
    tables = pair.found(Conntrack)
    missing: dict[Subject, str | None] = {"owners": owners, "totals": totals, "counters": counters}
    return Comparison(
        tool=Tool(__version__),
        by=by,
        before=_sight(*before),
        after=_sight(*after),
        same_node=pair.same_node,
        same_boot=pair.same_boot,
        seconds=pair.seconds,
        notes=tuple(pair.notes()),
        owners=None if owners else pair.owners(by, top),
        totals=None if totals else (*compare_totals(*pair.both(TcpMemory)), *compare_tracked(*tables)),
        settings=(
            *compare_settings((before[0], after[0]), pair.found(TcpMemory)),
            *compare_table_settings(*tables),
        ),
        counters=None if counters else pair.counters(),
        not_compared=tuple(NotCompared(subject=s, reason=r) for s, r in missing.items() if r),
    )


class _Pair:
    """Both snapshots, and what they have in common."""

    def __init__(self, before: Taken, after: Taken) -> None:
        self._nodes = before[0], after[0]
        self._snapshots = before[1], after[1]
        self.same_boot = before[0].boot_id == after[0].boot_id
        self.same_node = self.same_boot or before[0].hostname == after[0].hostname
        workloads = self.found(Workloads)
        self._sides = tuple(Side(s.at, w or Workloads()) for s, w in zip(self._snapshots, workloads, strict=True))
        self._lasting = Lasting(*self._sides, same_boot=self.same_boot)

    @property
    def seconds(self) -> float | None:
        """From the one to the other, negative if they stand in the wrong order."""
        before, after = (s.at for s in self._snapshots)
        if self.same_boot:
            return after.boot_seconds - before.boot_seconds
        return (after.wall - before.wall).total_seconds() if self.same_node else None

    def found(self, kind: type[S]) -> tuple[S | None, S | None]:
        """The samples of a kind."""
        before, after = self._snapshots
        return _sample(before, kind), _sample(after, kind)

    def both(self, kind: type[S]) -> tuple[S, S]:
        """The samples of a kind that neither snapshot lacks."""
        before, after = self.found(kind)
        assert before is not None
        assert after is not None
        return before, after

    def missing(self, collector: str, kind: type[S]) -> str | None:
        """Why a kind of samples cannot be compared, None if it can."""
        lacking = [
            f"{when}: {_why(snapshot.samples.get(collector), collector)}"
            for when, snapshot, sample in zip(("before", "after"), self._snapshots, self.found(kind), strict=True)
            if sample is None
        ]
        return "; ".join(lacking) or None

    def missing_owners(self, by: By) -> str | None:
        """As `missing`, for what a view needs."""
        sockets = self.missing("sockets", Sockets)
        return sockets or (None if by in WITHOUT_PROCESSES else self.missing("workloads", Workloads))

    def owners(self, by: By, top: int) -> OwnerChanges:
        before, after = zip(self._sides, self.both(Sockets), strict=True)
        return compare_owners(before, after, self._lasting, by, top)

    def counters(self) -> CounterChanges:
        before, after = zip(self._sides, self.both(TcpMemory), strict=True)
        return compare_counters(before, after, self._lasting, self.seconds or 0.0)

    def notes(self) -> Iterator[str]:
        """What a reader must know before the numbers."""
        if not self.same_node:
            names = " and ".join(node.hostname for node in self._nodes)
            yield (
                f"these are two nodes, {names}, or one in recordings that were redacted each for itself: owners are "
                "matched by name, counters do not compare"
            )
        elif not self.same_boot:
            yield "the node was booted between them: owners are matched by name, counters begin anew"
        before, after = self.found(Sockets)
        if before and after and before.method != after.method:
            yield (
                f"sockets were read by {before.method} before and by {after.method} after, which do not see the same: "
                "the numbers of owners do not compare"
            )
        steps = (self._sides[1].booted - self._sides[0].booted).total_seconds()
        if self.same_boot and abs(steps) >= CLOCK_STEP_SECONDS:
            yield f"the clock was set by {duration(abs(steps))} between them; durations are those of the boot clock"


def _sample(snapshot: Snapshot, kind: type[S]) -> S | None:
    return next((sample for sample in snapshot.samples.values() if isinstance(sample, kind)), None)


def _why(sample: AnySample | None, collector: str) -> str:
    return sample.reason if isinstance(sample, Failure) else f"the {collector} collector was not run"


def _sight(node: Node, snapshot: Snapshot) -> Sight:
    sockets = _sample(snapshot, Sockets)
    return Sight(
        node=node,
        at=snapshot.at.wall,
        boot_seconds=snapshot.at.boot_seconds,
        method=sockets.method if sockets else None,
        lost=sockets.lost if sockets else None,
        not_seen=sockets.not_seen if sockets else (),
        failures={name: s for name, s in snapshot.samples.items() if isinstance(s, Failure)},
    )
