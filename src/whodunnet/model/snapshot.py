"""All samples of one moment, and snapshots in time order."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from whodunnet.model.addresses import Addresses
from whodunnet.model.clock import Clock
from whodunnet.model.connections import Connections
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.counters import Counters
from whodunnet.model.cpu_pressure import CpuPressure
from whodunnet.model.cpu_quota import CpuQuotas
from whodunnet.model.descriptors import Descriptors
from whodunnet.model.devices import Devices
from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.links import Links
from whodunnet.model.memory_cgroups import MemoryCgroups
from whodunnet.model.neighbours import Neighbours
from whodunnet.model.ports import Ports
from whodunnet.model.resolvers import Resolvers
from whodunnet.model.retransmissions import Retransmissions
from whodunnet.model.sample import CollectorCost, Failure, Moment
from whodunnet.model.settings import Settings
from whodunnet.model.sockets import Sockets
from whodunnet.model.softnet import Softnet
from whodunnet.model.stalls import Stalls
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Workloads

AnySample = (
    TcpMemory | Sockets | KernelLog | Workloads | Conntrack | Addresses | Devices | Connections | Softnet
    | MemoryCgroups | Stalls | CpuQuotas | Counters | Settings | Ports | Retransmissions | Resolvers
    | CpuPressure | Clock | Descriptors | Neighbours | Links | Failure
)  # fmt: skip
S = TypeVar(
    "S",
    TcpMemory,
    Sockets,
    KernelLog,
    Workloads,
    Conntrack,
    Addresses,
    Devices,
    Connections,
    Softnet,
    MemoryCgroups,
    Stalls,
    CpuQuotas,
    Counters,
    Settings,
    Ports,
    Retransmissions,
    Resolvers,
    CpuPressure,
    Clock,
    Descriptors,
    Neighbours,
    Links,
)


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """The machine a recording was made on."""

    hostname: str
    kernel: str
    boot_id: str
    virtual_machine: bool | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """samples: by collector name; a collector that failed has a Failure, one that was not asked is missing.

    partial: only some of the collectors that were wanted were asked.
    """

    at: Moment
    samples: dict[str, AnySample]
    partial: bool = False


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """Snapshots in time order, of one boot of one node.

    notes: sentences that whoever reads a judgement of it must know (what of a longer recording is not in it).
    tree: the directory of copied files that it was read from, None for a node that ran.
    """

    node: Node
    snapshots: tuple[Snapshot, ...]
    costs: dict[str, CollectorCost] = {}
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0
    notes: tuple[str, ...] = ()
    tree: str | None = None

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.snapshots[-1].at.boot_seconds - self.snapshots[0].at.boot_seconds

    def series(self, kind: type[S]) -> list[tuple[Moment, S]]:
        """Every sample of one kind, oldest first; failed readings are left out."""
        return [(s.at, x) for s in self.snapshots for x in s.samples.values() if isinstance(x, kind)]

    def owned_sockets(self) -> list[tuple[Moment, Sockets, Workloads | None]]:
        """Every reading of sockets with who had which pid then, oldest first."""
        found = []
        for snapshot in self.snapshots:
            sockets = [x for x in snapshot.samples.values() if isinstance(x, Sockets)]
            workloads = [x for x in snapshot.samples.values() if isinstance(x, Workloads)]
            found += [(snapshot.at, x, workloads[0] if workloads else None) for x in sockets]
        return found

    def last(self, kind: type[S]) -> S | None:
        """The newest sample of one kind, or None."""
        found = self.series(kind)
        return found[-1][1] if found else None

    def failure(self, collector: str) -> Failure | None:
        """The newest failure of a collector, None if its newest reading succeeded; "not-collected" if it never ran."""
        for snapshot in reversed(self.snapshots):
            sample = snapshot.samples.get(collector)
            if sample is not None:
                return sample if isinstance(sample, Failure) else None
        return Failure(code="not-collected", reason=f"the {collector} collector was not run")
