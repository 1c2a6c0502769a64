"""Takes snapshots of the live machine: runs the collectors that are wanted, names the owners, adds up the cost."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from whodunnet.collectors.addresses import AddressesCollector
from whodunnet.collectors.collector import Collector, run
from whodunnet.collectors.conntrack import ConntrackCollector
from whodunnet.collectors.devices import DevicesCollector
from whodunnet.collectors.kernel_log import KernelLogCollector
from whodunnet.collectors.sockets import SocketsCollector
from whodunnet.collectors.tcp_memory import TcpMemoryCollector
from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.kernel.bpf.socket_walk import Owner
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.flow_owners import FlowOwners
from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.sample import CollectorCost, Moment
from whodunnet.model.snapshot import AnySample, Snapshot
from whodunnet.model.sockets import SocketGroup, Sockets, in_order
from whodunnet.model.workload import Process, Workload, Workloads

Identity = tuple[int, float]
"""A process for as long as it lives: its pid, and when it started in seconds since boot."""

COLLECTORS = ("tcp_memory", "kernel_log", "conntrack", "addresses", "devices", "sockets", "workloads")
NAMED_OWNERS = 2048
"""Processes looked up in /proc at each snapshot, largest first; the others keep the name the kernel gave."""

REMEMBERED_OWNERS = 4 * NAMED_OWNERS
"""Owners whose names are remembered from snapshot to snapshot, those met last: a recorder runs for days."""


class SnapshotTaker:
    """Holds the collectors of one window; use it in a `with` block."""

    def __init__(self, roots: Roots, support: Support, wanted: Collection[str], *, bpf: bool = True) -> None:
        """wanted: names of collectors; addresses come with conntrack, workloads with it and with sockets."""
        self._sockets = SocketsCollector(roots, support, bpf=bpf)
        every: tuple[Collector, ...] = (
            TcpMemoryCollector(roots, support),
            KernelLogCollector(roots, support),
            DevicesCollector(roots, support),
            ConntrackCollector(roots, support),
            self._sockets,
        )
        self._collectors = [c for c in every if c.name in wanted]
        self._addresses = AddressesCollector(roots)
        self._workloads = WorkloadsCollector(roots)
        self._named: dict[Identity, Workload] = {}
        self._costs: dict[str, CollectorCost] = {}

    def __enter__(self) -> SnapshotTaker:
        return self

    def __exit__(self, *_: object) -> None:
        for collector in self._collectors:
            collector.close()

    @property
    def costs(self) -> dict[str, CollectorCost]:
        """Cost of all snapshots so far, by collector."""
        return dict(self._costs)

    def take(self, names: Collection[str] = COLLECTORS) -> Snapshot:
        """One snapshot, of those collectors that are both wanted and named."""
        at = now()
        samples: dict[str, AnySample] = {}
        for collector in self._collectors:
            if collector.name not in names:
                continue
            sample, cost = run(collector.collect)
            if isinstance(sample, Sockets):
                sample = in_order(sample)
            samples[collector.name] = sample
            self._add_cost(collector.name, cost)
            if isinstance(sample, Conntrack) and sample.groups:
                samples["addresses"], cost = run(self._addresses.collect)
                self._add_cost("addresses", cost)
        if not {"sockets", "addresses"}.isdisjoint(samples):
            self._attribute(samples)
        self._note_losses(samples)
        return Snapshot(at=at, samples=samples)

    def _attribute(self, samples: dict[str, AnySample]) -> None:
        """Add who is behind the other samples."""
        sockets, conntrack, addresses = (samples.get(name) for name in ("sockets", "conntrack", "addresses"))
        if not isinstance(sockets, Sockets) and not isinstance(addresses, Addresses):
            return
        places = addresses.by_netns if isinstance(addresses, Addresses) else {}
        shared = {conntrack.netns} if isinstance(conntrack, Conntrack) and conntrack.netns is not None else set()

        samples["workloads"], cost = run(
            lambda: name_owners(
                self._workloads,
                sockets if isinstance(sockets, Sockets) else None,
                self._sockets.owners,
                self._named,
                netns=places,
                shared_netns=shared,
            )
        )
        self._add_cost("workloads", cost)

    def _note_losses(self, samples: Mapping[str, AnySample]) -> None:
        """What each collector lost, and how much of what it found has an owner."""
        workloads = samples.get("workloads")
        workloads = workloads if isinstance(workloads, Workloads) else None
        for name, sample in samples.items():
            if isinstance(sample, KernelLog):
                self._note(name, lost=sample.lost)
            elif isinstance(sample, Sockets):
                share = attributed_share(sample, workloads) if workloads else None
                self._note(name, lost=sample.lost, attributed_share=share, truncated=sample.other_sockets > 0)
            elif isinstance(sample, Conntrack):
                lost = sample.malformed + sample.interrupted
                share = share_with_opener(sample, samples) if workloads else None
                self._note(name, lost=lost, attributed_share=share, truncated=sample.other_entries > 0)
            elif isinstance(sample, Addresses):
                self._note(name, truncated=sample.left_out > 0)

    def _note(self, name: str, **changed: int | float | bool | None) -> None:
        self._costs[name] = msgspec.structs.replace(self._costs[name], **changed)

    def _add_cost(self, name: str, cost: CollectorCost) -> None:
        before = self._costs.get(name, CollectorCost())
        self._costs[name] = msgspec.structs.replace(
            before,
            wall_seconds=before.wall_seconds + cost.wall_seconds,
            cpu_seconds=before.cpu_seconds + cost.cpu_seconds,
        )


def name_owners(
    workloads: WorkloadsCollector,
    sample: Sockets | None,
    owners: Mapping[int, Owner],
    named: dict[Identity, Workload],
    *,
    netns: Iterable[int] = (),
    shared_netns: Iterable[int] = (),
) -> Workloads:
    """Who owns the sockets of one sample, if there is one, and who lives in some network namespaces.

    netns, shared_netns: as for WorkloadsCollector.attribute. owners: as the BPF walk met them. named: what earlier
    snapshots found, filled here: whoever is gone since, or cannot be looked up this time, keeps what is known of it, so
    that its history does not break.
    """
    groups = sample.groups if sample else ()
    unowned = [g for g in groups if g.owner_pid is None]
    found = workloads.attribute(
        largest_owners(groups)[:NAMED_OWNERS],
        started={pid: owner.started_seconds for pid, owner in owners.items()},
        netns={g.netns for g in unowned if g.netns is not None}.union(netns),
        cgroup_ids={g.cgroup_id for g in unowned if g.cgroup_id is not None},
        shared_netns=shared_netns,
    )
    by_pid = dict(found.by_pid)
    for pid, owner in owners.items():
        identity = (pid, owner.started_seconds)
        met = Workload(process=Process(pid=pid, comm=owner.comm), netns=owner.netns or None)
        known = by_pid.get(pid) or named.get(identity) or met
        by_pid[pid] = known if known.netns is not None else msgspec.structs.replace(known, netns=met.netns)
        if pid in found.by_pid:
            named.pop(identity, None)
            named[identity] = by_pid[pid]
    for identity in list(named)[:-REMEMBERED_OWNERS]:
        del named[identity]
    return msgspec.structs.replace(found, by_pid=by_pid)


def now() -> Moment:
    """This instant on the wall clock and on the clock that also runs while suspended."""
    return Moment(wall=datetime.now(UTC), boot_seconds=boot_seconds())


def boot_seconds() -> float:
    """Seconds since boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def largest_owners(groups: tuple[SocketGroup, ...]) -> list[int]:
    """pids by memory, then by number of sockets, largest first."""
    sums: dict[int, tuple[int, int]] = {}
    for g in groups:
        if g.owner_pid is not None:
            memory, sockets = sums.get(g.owner_pid, (0, 0))
            sums[g.owner_pid] = (memory + g.memory_bytes, sockets + g.sockets)
    return sorted(sums, key=lambda pid: sums[pid], reverse=True)


def attributed_share(sample: Sockets, found: Workloads) -> float | None:
    """Share of the TCP memory found whose owner is known; of the sockets where there is no memory."""
    tcp = [g for g in sample.groups if g.protocol == "tcp"]
    listeners = sample.listeners()
    known = [g for g in tcp if sample.owner_of(g, listeners) in found.by_pid]
    if sample.tcp_memory_bytes > 0:
        return round(sum(g.memory_bytes for g in known) / sample.tcp_memory_bytes, 4)
    return round(sum(g.sockets for g in known) / sample.tcp_sockets, 4) if sample.tcp_sockets else None


def share_with_opener(sample: Conntrack, samples: Mapping[str, AnySample]) -> float | None:
    """Share of the tracked connections whose opener is known by name, or as an address elsewhere."""
    addresses, sockets, workloads = (samples.get(name) for name in ("addresses", "sockets", "workloads"))
    owners = FlowOwners(
        sample,
        addresses if isinstance(addresses, Addresses) else None,
        [sockets] if isinstance(sockets, Sockets) else [],
        workloads if isinstance(workloads, Workloads) else Workloads(),
    )
    known = sum(
        n for group in sample.groups for owner, n in owners.split(group) if owner.kind in ("workload", "remote")
    )
    return round(known / sample.entries_read, 4) if sample.entries_read else None
