"""Takes snapshots of the live machine: runs the collectors that are wanted, names the owners, adds up the cost."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import partial

import msgspec

from whodunnet.collectors.addresses import AddressesCollector
from whodunnet.collectors.clock import ClockCollector
from whodunnet.collectors.collector import Collector, run
from whodunnet.collectors.connections import ConnectionsCollector
from whodunnet.collectors.conntrack import ConntrackCollector
from whodunnet.collectors.counters import CountersCollector
from whodunnet.collectors.cpu_pressure import CpuPressureCollector
from whodunnet.collectors.cpu_quota import CpuQuotaCollector
from whodunnet.collectors.descriptors import NEAR, DescriptorsCollector
from whodunnet.collectors.devices import DevicesCollector
from whodunnet.collectors.kernel_log import KernelLogCollector
from whodunnet.collectors.links import LinksCollector
from whodunnet.collectors.memory_cgroups import MemoryCgroupsCollector
from whodunnet.collectors.neighbours import NeighboursCollector
from whodunnet.collectors.owner_names import Identity, name_owners
from whodunnet.collectors.ports import PortsCollector
from whodunnet.collectors.resolvers import ResolversCollector
from whodunnet.collectors.retransmissions import RetransmissionsCollector
from whodunnet.collectors.settings import SettingsCollector
from whodunnet.collectors.sockets import SocketsCollector
from whodunnet.collectors.softnet import SoftnetCollector
from whodunnet.collectors.stalls import StallsCollector
from whodunnet.collectors.tcp_memory import COUNTERS, TcpMemoryCollector
from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.addresses import Addresses
from whodunnet.model.connections import Connections
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.cpu_pressure import Consumer, CpuPressure
from whodunnet.model.cpu_quota import CpuQuotas
from whodunnet.model.descriptors import Descriptors, DescriptorUse, RefusedFiles
from whodunnet.model.flow_owners import FlowOwners
from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.links import Links
from whodunnet.model.neighbours import Neighbours
from whodunnet.model.resolvers import Resolvers
from whodunnet.model.retransmissions import Retransmissions
from whodunnet.model.sample import CollectorCost, Moment
from whodunnet.model.snapshot import AnySample, Snapshot
from whodunnet.model.sockets import Sockets, in_order
from whodunnet.model.softnet import Softnet
from whodunnet.model.stalls import Stalls
from whodunnet.model.workload import Workload, Workloads

COLLECTORS = (
    "tcp_memory", "counters", "settings", "ports", "kernel_log", "conntrack", "addresses", "devices", "links",
    "softnet", "cpu_pressure", "clock", "resolvers", "descriptors", "neighbours", "memory_cgroups",
    "connections", "retransmissions", "stalls", "sockets", "workloads", "cpu_quota",
)  # fmt: skip

_NAMED_TOO = ("descriptors", "neighbours", "links")
"""Collectors whose samples may name processes or namespaces that no other does."""


class SnapshotTaker:
    """Holds the collectors of one window; use it in a `with` block."""

    def __init__(
        self,
        roots: Roots,
        support: Support,
        wanted: Collection[str],
        *,
        bpf: bool = True,
        active: bool = False,
        addresses: bool = False,
    ) -> None:
        """wanted: names of collectors; addresses come with conntrack, connections and resolvers, workloads also with
        sockets and stalls. cpu_quota is of the owners that these name.

        active: also read what may itself delay packets. addresses: read them also where nothing else has any.
        """
        self._always_addresses = addresses
        self._sockets = SocketsCollector(roots, support, bpf=bpf)
        self._connections = ConnectionsCollector(roots, support, bpf=bpf)
        self._stalls = StallsCollector(roots, support, bpf=bpf)
        self._retransmissions = RetransmissionsCollector(support, bpf=bpf)
        self._links = LinksCollector(roots)
        counters, settings = CountersCollector(roots, COUNTERS), SettingsCollector(roots)
        every: tuple[Collector, ...] = (
            self._connections,  # first: what begins while the others look, it sees
            self._retransmissions,
            self._stalls,
            counters,
            TcpMemoryCollector(roots, support, counters.hand_over),  # after it: netstat is read once
            settings,
            PortsCollector(roots, lambda: settings.newest),  # after it: how many ports there are
            KernelLogCollector(roots, support),
            DevicesCollector(roots, support),
            self._links,
            SoftnetCollector(roots, support),
            CpuPressureCollector(roots),
            ClockCollector(roots),
            ResolversCollector(roots, active=active),
            DescriptorsCollector(roots, support if bpf else None),
            NeighboursCollector(roots),
            MemoryCgroupsCollector(roots, support, active=active),
            ConntrackCollector(roots, support),
            self._sockets,
        )
        self._collectors = [c for c in every if c.name in wanted]
        self._addresses = AddressesCollector(roots)
        self._workloads = WorkloadsCollector(roots)
        self._quotas = CpuQuotaCollector(roots) if CpuQuotaCollector.name in wanted else None
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

    def start(self) -> None:
        """Attach what watches from now on, else done by the first snapshot.

        It takes a moment, once, which is no measure of what snapshots take.
        """
        for collector in (self._connections, self._retransmissions, self._stalls):
            if collector in self._collectors:
                wall, cpu = time.perf_counter(), time.process_time()
                collector.start()
                cost = CollectorCost(wall_seconds=time.perf_counter() - wall, cpu_seconds=time.process_time() - cpu)
                self._add_cost(collector.name, cost)

    def take(self, names: Collection[str] = COLLECTORS) -> Snapshot:
        """One snapshot, of the collectors that are both wanted and named; who is behind them only with workloads."""
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
        if "addresses" in names and (self._always_addresses or _has_addresses(samples)):
            samples["addresses"], cost = run(self._addresses.collect)
            self._add_cost("addresses", cost)
        named = {"sockets", "addresses", "connections", "stalls", "cpu_pressure", *_NAMED_TOO}
        if "workloads" in names and not named.isdisjoint(samples):
            self._attribute(samples)
        if "cpu_quota" in names and self._quotas is not None and isinstance(samples.get("workloads"), Workloads):
            samples[self._quotas.name], cost = run(partial(self._quotas.collect, self._workloads.cgroups))
            self._add_cost(self._quotas.name, cost)
        self._note_losses(samples)
        return Snapshot(at=at, samples=samples)

    def _attribute(self, samples: dict[str, AnySample]) -> None:
        """Add who is behind the other samples."""
        sockets, connections, conntrack, addresses, stalls, cpus = (
            samples.get(name) for name in ("sockets", "connections", "conntrack", "addresses", "stalls", "cpu_pressure")
        )
        ended = connections if isinstance(connections, Connections) and connections.method == "bpf" else None
        seen = stalls.stalls if isinstance(stalls, Stalls) else ()
        consumers: list[Consumer | DescriptorUse | RefusedFiles] = [*_short_of_files(samples)]
        consumers += cpus.consumers if isinstance(cpus, CpuPressure) else ()
        troubled = self._troubled(samples)
        nobody = ended is None and not seen and not consumers and not troubled
        if nobody and not isinstance(sockets, Sockets) and not isinstance(addresses, Addresses):
            return
        places = addresses.by_netns if isinstance(addresses, Addresses) else {}
        shared = {conntrack.netns} if isinstance(conntrack, Conntrack) and conntrack.netns is not None else set()

        samples["workloads"], cost = run(
            lambda: name_owners(
                self._workloads,
                sockets if isinstance(sockets, Sockets) else None,
                self._sockets.owners,
                self._named,
                connections=ended,
                stalls=seen,
                consumers=consumers,
                netns={*places, *troubled},
                shared_netns=shared,
            )
        )
        self._add_cost("workloads", cost)

    def _troubled(self, samples: Mapping[str, AnySample]) -> set[int]:
        """Namespaces whose devices lose packets, or whose neighbours fill a table."""
        neighbours = samples.get("neighbours")
        crowded = {p.netns for p in neighbours.places} if isinstance(neighbours, Neighbours) else set()
        return crowded | (set(self._links.troubled) if "links" in samples else set())

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
            elif isinstance(sample, Connections):
                lost, share = sample.missed + sample.untracked, share_with_owner(sample, samples) if workloads else None
                self._note(name, lost=lost, attributed_share=share, truncated=bool(sample.other))
            elif isinstance(sample, Retransmissions):
                self._note(name, lost=sample.missed + sample.untracked, truncated=sample.other > 0)
            elif isinstance(sample, Stalls):
                self._note(name, lost=sample.lost + sample.suppressed, truncated=sample.left_out > 0)
            elif isinstance(sample, Conntrack):
                lost = sample.malformed + sample.interrupted
                share = share_with_opener(sample, samples) if workloads else None
                self._note(name, lost=lost, attributed_share=share, truncated=sample.other_entries > 0)
            elif isinstance(
                sample, Addresses | Softnet | CpuQuotas | CpuPressure | Resolvers | Descriptors | Neighbours | Links
            ):
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


def _has_addresses(samples: Mapping[str, AnySample]) -> bool:
    """Whether it matters whose addresses are on this node: those of connections, and of name servers that are asked."""
    if any(isinstance(sample, Conntrack | Connections) and sample.groups for sample in samples.values()):
        return True
    sockets = samples.get("sockets")
    asked = isinstance(sockets, Sockets) and any(s.remote is not None for s in sockets.names or ())
    return asked and isinstance(samples.get("resolvers"), Resolvers)


def _short_of_files(samples: Mapping[str, AnySample]) -> tuple[DescriptorUse | RefusedFiles, ...]:
    """Processes near their limit of descriptors, and those that the machine refuses files."""
    descriptors = samples.get("descriptors")
    if not isinstance(descriptors, Descriptors):
        return ()
    return *(use for use in descriptors.fullest if use.share >= NEAR), *descriptors.refused


def now() -> Moment:
    """This instant on the wall clock and on the clock that also runs while suspended."""
    return Moment(wall=datetime.now(UTC), boot_seconds=boot_seconds())


def boot_seconds() -> float:
    """Seconds since boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def attributed_share(sample: Sockets, found: Workloads) -> float | None:
    """Share of the TCP memory found whose owner is known; of the sockets where there is no memory."""
    tcp = [g for g in sample.groups if g.protocol == "tcp"]
    owners = sample.queue_owners()
    known = [g for g in tcp if sample.owner_of(g, owners) in found.by_pid]
    if sample.tcp_memory_bytes > 0:
        return round(sum(g.memory_bytes for g in known) / sample.tcp_memory_bytes, 4)
    return round(sum(g.sockets for g in known) / sample.tcp_sockets, 4) if sample.tcp_sockets else None


def share_with_owner(sample: Connections, samples: Mapping[str, AnySample]) -> float | None:
    """Share of what is counted in groups and beside them whose end has a name: its process's, or who listens there."""
    sockets, workloads = samples.get("sockets"), samples.get("workloads")
    listeners = sockets.listeners() if isinstance(sockets, Sockets) else {}
    by_pid = workloads.by_pid if isinstance(workloads, Workloads) else {}
    known = sum(
        g.connections
        for g in sample.groups
        if g.owner_pid is not None
        or g.comm
        or (g.role == "accepted" and listeners.get((g.netns, g.server.port)) in by_pid)
    )
    every = sum(g.connections for g in sample.groups) + sum(sample.other.values())
    return round(known / every, 4) if every else None


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
