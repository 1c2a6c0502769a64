"""Arbitrary nodes of which descriptors, neighbours and network devices are known."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.descriptors import Descriptors, DescriptorUse, RefusedFiles
from whodunnet.model.kernel_log import KernelLog, LogLine
from whodunnet.model.links import LinkCounters, Links
from whodunnet.model.neighbours import DeviceNeighbours, Family, Neighbours, NeighbourTable
from whodunnet.model.snapshot import AnySample, Recording
from whodunnet.model.sockets import Sockets

from .arbitrary import NAMESPACES, PIDS, TEXTS, Dice, changing, sockets, workloads
from .nodes import FROM_BOOT
from .suspects import address, asking, waiting

FAMILIES: tuple[Family, ...] = (4, 6)
KINDS = (None, "veth", "veth", "bridge", "vxlan")
QUEUES = (None, "mq", "tbf", "fq_codel", "pfifo_fast")
LOGGED = ("file-max", "neighbour-table-full", "neighbour-table-full-ipv6")
RISES = (0, 0, 0, 1, 40, 9_000)


def limit_recordings() -> st.SearchStrategy[Recording]:
    return st.integers(0, 2**48).map(lambda seed: recording_of(Dice(seed)))


def recording_of(d: Dice) -> Recording:
    kinds = {
        "descriptors": descriptors, "neighbours": neighbours, "links": links, "workloads": workloads,
        "sockets": busy, "kernel_log": log,
    }  # fmt: skip
    return changing(d, kinds, _later, (0.0, 0.5, 1.0, 5.0), None)


def descriptors(d: Dice) -> Descriptors:
    return Descriptors(
        fullest=d.several(4, lambda: use(d)), processes=d.one((0, 1, 90)), denied=d.one((0, 0, 9)),
        open_files=d.one((None, 1_000, 95_000, 100_000)), max_files=d.one((None, 100_000)),
        refusals_watched=d.one((False, True)), refused=d.several(4, lambda: refused(d)),
        refused_left_out=d.one((0, 0, 9)),
    )  # fmt: skip


def refused(d: Dice) -> RefusedFiles:
    return RefusedFiles(
        pid=d.one(PIDS), comm=d.one(TEXTS), started_seconds=d.one((0.0, 7.0)), times=d.one((0, 1, 40, 1_234))
    )


def use(d: Dice) -> DescriptorUse:
    looked_at = {kind: d.one((0, 3, 200)) for kind in ("sockets", "files", "other")}
    return DescriptorUse(
        pid=d.one(PIDS), comm=d.one(TEXTS), started_seconds=d.one((0.0, 7.0)), open=d.one((100, 930, 1_024)),
        limit=1_024, **looked_at,
    )  # fmt: skip


def neighbours(d: Dice) -> Neighbours:
    return Neighbours(
        ipv4=d.perhaps(lambda: table(d)), ipv6=d.perhaps(lambda: table(d)),
        places=d.several(5, lambda: place(d)), places_of=d.one(((), (4,), (6,), FAMILIES)), netns_unread=d.one((0, 2)),
    )  # fmt: skip


def table(d: Dice) -> NeighbourTable:
    return NeighbourTable(
        entries=d.one((0, 500, 1_000, 1_024)), max_entries=d.one((None, 0, 1_024)), table_fulls=d.one((None, 0, 7)),
        forced_gcs=d.one((None, 0, 3)),
    )  # fmt: skip


def place(d: Dice) -> DeviceNeighbours:
    return DeviceNeighbours(
        netns=d.one(NAMESPACES), device=d.one(TEXTS), family=d.one(FAMILIES), answered=d.one((0, 5, 40)),
        unanswered=d.one((0, 5, 40)), exempt=d.one((0, 0, 900)), asked=d.one(((), tuple(map(address, range(8))))),
    )  # fmt: skip


def links(d: Dice) -> Links:
    found = {netns: {d.one(TEXTS): link(d) for _ in range(d.randint(0, 3))} for netns in NAMESPACES}
    return Links.of(found, netns_unread=d.one((0, 0, 1)))


def link(d: Dice) -> LinkCounters:
    return LinkCounters(
        number=d.one((1, 2, 9)), kind=d.one(KINDS), peer=d.one((None, 2, 9)), rx_packets=d.one((0, 9_000)),
        tx_packets=d.one((0, 9_000)), queue=d.one(QUEUES), carrier_downs=d.one((None, 1)),
        carrier_changes=d.one((None, 2)), speed_mbps=d.one((None, 100, 10_000)), duplex=d.one((None, "full", "half")),
    )  # fmt: skip


def busy(d: Dice) -> Sockets:
    return d.one((sockets(d), asking(d.one((3, 8)), pid=d.one(PIDS)), waiting(d.one((0, 9)), pid=d.one(PIDS))))


def log(d: Dice) -> KernelLog:
    lines = d.several(2, lambda: LogLine(d.one(LOGGED), d.one((None, 1.0, FROM_BOOT + 0.5)), "x"))
    return KernelLog(source="/dev/kmsg", reaches_back_seconds=None, lines=lines)


def _later(d: Dice, sample: AnySample, moment: int) -> AnySample:
    """The same, or with counters that have risen."""
    if isinstance(sample, Links):
        risen = {
            netns: {name: _risen(d, one, moment) for name, one in here.items()}
            for netns, here in sample.by_netns.items()
        }
        return Links.of(risen, netns_unread=sample.netns_unread)
    if isinstance(sample, Neighbours):
        tables = {
            name: None if (one := getattr(sample, name)) is None or one.table_fulls is None
            else replace(one, table_fulls=one.table_fulls + moment * d.one(RISES))
            for name in ("ipv4", "ipv6")
        }  # fmt: skip
        return replace(sample, **{name: one for name, one in tables.items() if one is not None})
    return sample


def _risen(d: Dice, one: LinkCounters, moment: int) -> LinkCounters:
    names = ("rx_packets", "rx_missed", "rx_errors", "rx_dropped", "tx_dropped", "queue_drops")
    risen = {name: getattr(one, name) + moment * d.one(RISES) for name in names}
    return replace(
        one, **risen, rings={"rx1_drops": moment * d.one(RISES)}, speed_mbps=d.one((one.speed_mbps, 100)),
        carrier_downs=None if one.carrier_downs is None else one.carrier_downs + moment * d.one((0, 0, 1, 3)),
    )  # fmt: skip
