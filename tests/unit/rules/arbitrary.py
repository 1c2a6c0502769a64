"""Arbitrary nodes: every value is well typed, and need not make sense together.

Made from a seed, which hypothesis draws: a thousand times as fast as drawing each field, so that rare combinations
come up. Half of the groups are of a known kind, old and unmoved, and half of the single sockets come in pairs, so that
rules have something to find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any, TypeVar, get_args

from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.errors import FailureCode
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.kernel_log import KernelLog, LogLine
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot
from whodunnet.model.sockets import (
    AcceptQueue,
    Endpoint,
    Holding,
    Protocol,
    Role,
    SocketGroup,
    Sockets,
    StuckSocket,
    Symptom,
)
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads

from . import arbitrary_tables
from .nodes import BEGIN, KINDS, ages, group, moment, pairs

T = TypeVar("T")
PIDS = (1, 2, 3, 4)
NAMESPACES = (4_026_531_840, 4_026_532_100)
NUMBERS = (0, 1, 7, 49, 50, 200, 5_000, 50 * 2**20, 2**40)
COUNTS = (1, 7, 8, 10, 49, 50, 90, 199, 200, 900, 10**7)
TEXTS = ("a", "web-1", "", "{who}", "\x1b[31m\n", "\u202e$(id)", "é" * 90, "--all", "'\"")
STATES = ("established", "close-wait", "listen", "close", "fin-wait-1", "fin-wait-2", "last-ack", "none")
ADDRESSES = ("10.0.0.1", "10.0.0.2", "127.0.0.1", "203.0.113.9", "2001:db8::5")
PORTS = (80, 443, 40_000, 40_001)
AGES = (0, 1, 5, 10, 30, 60, 300, 7_200, 10**6)


class Dice(Random):
    """Random choices between values."""

    def one(self, values: Sequence[T]) -> T:
        return values[self.randrange(len(values))]

    def perhaps(self, make: Callable[[], T]) -> T | None:
        return make() if self.random() < 0.7 else None

    def several(self, most: int, make: Callable[[], T]) -> tuple[T, ...]:
        return tuple(make() for _ in range(self.randint(0, most)))


Kinds = Mapping[str, Callable[[Dice], AnySample]]
"""How a sample of each collector is made."""

Later = Callable[[Dice, AnySample, int], AnySample]


def recordings(moments: int | None = None) -> st.SearchStrategy[Recording]:
    """Of one to four moments, unless the number is given."""
    return st.integers(0, 2**48).map(lambda seed: recording_of(Dice(seed), moments))


def window_closed_only() -> st.SearchStrategy[tuple[list[SocketGroup], list[StuckSocket]]]:
    """Groups that processes hold, and single sockets, all with a peer that has closed its window."""
    return st.integers(0, 2**48).map(lambda seed: _window_closed_only(Dice(seed)))


def recording_of(d: Dice, moments: int | None) -> Recording:
    kinds: Kinds = {
        "sockets": sockets, "workloads": workloads, "tcp_memory": tcp_memory, "kernel_log": log,
        "conntrack": arbitrary_tables.table, "addresses": arbitrary_tables.addresses,
    }  # fmt: skip
    return changing(d, kinds, _later, (0.0, 1.0, 30.0, 60.0), moments)


def changing(d: Dice, kinds: Kinds, later: Later, steps: Sequence[float], moments: int | None) -> Recording:
    """Any collector may have failed at any moment, not have been asked, or say something else than before.

    later: the sample of a later moment. steps: seconds that may lie between two moments.
    """
    steady = {name: make(d) for name, make in kinds.items()}
    step = d.one(steps)
    snapshots = []
    for i in range(moments or d.randint(1, 4)):
        samples: dict[str, AnySample] = {}
        for name, make in kinds.items():
            chance = d.randrange(12)
            if chance == 0:
                samples[name] = Failure(code=d.one(get_args(FailureCode)), reason=d.one(TEXTS))
            elif chance == 1:
                samples[name] = make(d)
            elif chance > 2:
                samples[name] = later(d, steady[name], i)
        snapshots.append(Snapshot(at=moment(i * step), samples=samples))
    node = Node(hostname=d.one(TEXTS), kernel=d.one(TEXTS), boot_id=d.one(TEXTS))
    return Recording(node=node, snapshots=tuple(snapshots))


def sockets(d: Dice) -> Sockets:
    paired = [end for _ in range(d.randint(0, 3)) for end in _pairs(d)]
    stuck = tuple(paired) if d.random() < 0.7 else d.several(4, lambda: single(d))
    return Sockets(
        method=d.one(("bpf", "sock_diag")),
        groups=d.several(6, lambda: known(d) if d.random() < 0.6 else wild(d)),
        stuck=stuck,
        stuck_total=d.one((len(stuck), 10 * len(stuck), 10**6)),
        accept_queues=d.several(3, lambda: _accept_queue(d)),
        other_sockets=d.one((0, 0, 5)),
        other_memory_bytes=d.one((0, 0, 500_000)),
        netns_unread=d.one((0, 0, 0, 1)),
        fallback_reason=d.perhaps(lambda: d.one(TEXTS)),
        missing_capability=d.one((None, "CAP_BPF")),
    )


def known(d: Dice) -> SocketGroup:
    """Of one of the kinds."""
    n = d.one(COUNTS)
    return group(
        d.one(list(KINDS)), n, pid=d.one(PIDS), age=d.one((None, *AGES)), memory=d.one(NUMBERS),
        unchanged=d.one((None, 0, n, n)), unsent=d.one((0, 9)), cgroup_id=d.one((None, 77)),
    )  # fmt: skip


def wild(d: Dice) -> SocketGroup:
    """Of any combination."""
    n = d.one(COUNTS)
    return SocketGroup(
        owner_pid=d.perhaps(lambda: d.one(PIDS)),
        netns=d.perhaps(lambda: d.one(NAMESPACES)),
        protocol="tcp" if d.random() < 0.8 else d.one(get_args(Protocol)),
        family=d.one((0, 4, 6)),
        state=d.one(STATES),
        role=d.one(get_args(Role)),
        holding=d.one((*get_args(Holding), "descriptor", "descriptor")),
        symptom=d.one(get_args(Symptom)),
        endpoint=d.perhaps(
            lambda: Endpoint(d.perhaps(lambda: d.one(ADDRESSES)), d.perhaps(lambda: d.one(PORTS)))
        ),
        cgroup_id=d.one((None, 1, 77)),
        sockets=n,
        memory_bytes=d.one(NUMBERS),
        unread_bytes=d.one(NUMBERS),
        unsent_bytes=d.one(NUMBERS),
        unchanged=d.one((None, 0, n // 2, n)),
        shared=d.randint(0, n),
        ages=ages(n, d.one(AGES)) if d.random() < 0.7 else (),
    )  # fmt: skip


def single(d: Dice) -> StuckSocket:
    return StuckSocket(
        owner_pid=d.perhaps(lambda: d.one(PIDS)),
        netns=d.one(NAMESPACES),
        symptom=d.one(("unread", "window-closed")),
        holding=d.one(get_args(Holding)),
        role=d.one(get_args(Role)),
        local=Endpoint(d.one(ADDRESSES), d.one(PORTS)),
        remote=Endpoint(d.one(ADDRESSES), d.one(PORTS)),
        memory_bytes=d.one(NUMBERS),
        unread_bytes=d.one(NUMBERS),
        unsent_bytes=d.one(NUMBERS),
        unchanged=d.one((None, False, True)),
    )


def workloads(d: Dice) -> Workloads:
    return Workloads(
        by_pid={pid: workload(d) for pid in PIDS if d.random() < 0.8},
        by_netns={netns: workload(d) for netns in NAMESPACES if d.random() < 0.5},
        by_cgroup_id={77: workload(d)} if d.random() < 0.5 else {},
        unknown_pids=d.one((0, 3)),
    )


def workload(d: Dice) -> Workload:
    return Workload(
        process=d.perhaps(lambda: _process(d)),
        container=d.perhaps(lambda: _container(d)),
        pod=d.perhaps(lambda: _pod(d)),
        unit=d.one((None, "web.service", "session-1.scope", "-.service")),
        netns=d.perhaps(lambda: d.one(NAMESPACES)),
    )


def log(d: Dice) -> KernelLog:
    lines = d.several(2, lambda: LogLine("tcp-out-of-memory", d.perhaps(lambda: d.uniform(0, 1e5)), d.one(TEXTS)))
    counts = {kind: d.one(COUNTS) for kind in ("tcp-out-of-memory", "other") if d.random() < 0.5}
    found = (*lines, *arbitrary_tables.lines(d))
    return KernelLog(source="journal", reaches_back_seconds=d.one((None, 5.0)), lines=found, counts=counts)


def tcp_memory(d: Dice) -> TcpMemory:
    pages = (1, 100, 7_500, 10_000, 15_000, 9_000_000, 2**40)
    counters = {netns: {"RcvPruned": d.one(NUMBERS)} for netns in NAMESPACES if d.random() < 0.7}
    return TcpMemory(
        page_size_bytes=d.one((4_096, 65_536)), cpus=d.one((1, 96)), low_pages=d.perhaps(lambda: d.one(pages)),
        pressure_pages=d.one((None, *pages, *pages)), max_pages=d.one((None, *pages, *pages)),
        used_pages=d.one((0, *pages)), under_pressure=d.one((None, False, True)), orphans=d.one(COUNTS),
        alloc_sockets=d.one((0, *COUNTS)), inuse_sockets=d.one(COUNTS), time_wait_sockets=d.one(COUNTS),
        max_orphans=d.one((None, 0, 400, 100_000)), memory_total_bytes=d.one((None, *NUMBERS)), counters=counters,
    )  # fmt: skip


def _later(d: Dice, sample: AnySample, moment: int) -> AnySample:
    """The same, or of sockets and tracked connections more than at the first moment."""
    if isinstance(sample, Conntrack):
        return arbitrary_tables.later(d, sample, moment)
    if not isinstance(sample, Sockets) or d.random() < 0.5:
        return sample
    return replace(
        sample, groups=tuple(replace(g, sockets=g.sockets + moment * 20, ages=g.ages) for g in sample.groups)
    )


def _window_closed_only(d: Dice) -> tuple[list[SocketGroup], list[StuckSocket]]:
    groups = [replace(wild(d), holding="descriptor", symptom="window-closed") for _ in range(d.randint(0, 5))]
    return groups, [replace(single(d), symptom="window-closed") for _ in range(d.randint(0, 60))]


def _pairs(d: Dice) -> list[StuckSocket]:
    return pairs(
        d.one((*PIDS, None)), d.one(PIDS), d.one((1, 60)), first=d.one((0, 500, 1_000)), memory=d.one(NUMBERS),
        holding=d.one(("descriptor", "orphan")),
    )  # fmt: skip


def _accept_queue(d: Dice) -> AcceptQueue:
    return AcceptQueue(
        owner_pid=d.perhaps(lambda: d.one(PIDS)), netns=d.one(NAMESPACES),
        local=Endpoint(d.one(ADDRESSES), d.one((80, 8_080))), waiting=d.one(COUNTS), limit=d.one(COUNTS),
    )  # fmt: skip


def _started(d: Dice) -> Any:
    return d.one((None, BEGIN, BEGIN - timedelta(hours=1), BEGIN - timedelta(days=9), BEGIN + timedelta(days=1)))


def _process(d: Dice) -> Process:
    return Process(
        pid=d.one(PIDS), comm=d.one(TEXTS), exe=d.perhaps(lambda: d.one(TEXTS)), started=_started(d),
        state=d.one((None, "running", "sleeping", "stopped", "frozen", "gone")),
        descriptor_limit=d.one((None, 0, 1_024)),
    )  # fmt: skip


def _container(d: Dice) -> Container:
    return Container(
        id=d.one(("c1", "c2")), name=d.perhaps(lambda: d.one(TEXTS)), cgroup=d.one(TEXTS),
        image=d.perhaps(lambda: d.one(TEXTS)), started=_started(d),
    )  # fmt: skip


def _pod(d: Dice) -> Pod:
    return Pod(
        namespace=d.perhaps(lambda: d.one(TEXTS)), name=d.perhaps(lambda: d.one(TEXTS)), uid=d.one((None, "u1")),
        static=d.random() < 0.2,
    )  # fmt: skip
