"""Arbitrary nodes of which name servers, CPUs and the clock are known."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec.structs import replace

from whodunnet.model.clock import Clock
from whodunnet.model.counters import NAMES, Counters
from whodunnet.model.cpu_pressure import Consumer, CpuPressure
from whodunnet.model.kernel_log import KernelLog, RepeatedLine
from whodunnet.model.resolvers import Lookup, ResolvConf, Resolvers
from whodunnet.model.snapshot import AnySample, Recording
from whodunnet.model.sockets import Endpoint, NameSocket, Sockets

from .arbitrary import NAMESPACES, PIDS, TEXTS, Dice, changing, sockets, workloads
from .arbitrary_tables import addresses, table
from .nodes import ages
from .tracking import flow

SERVERS = ("10.0.0.1", "10.0.0.2", "203.0.113.9", "127.0.0.53", "127.0.0.11", "2001:db8::5")
KNOWN = tuple(f"{section}.{name}" for section, names in NAMES.items() for name in names)
ASKED = ("Udp.NoPorts", "Udp.InDatagrams", "Udp.OutDatagrams", "Udp6.InDatagrams")
RISES = (0, 0, 1, 3, 20, 500)
INODES = (1, 2, 3, 4, 5, 6)


def suspect_recordings() -> st.SearchStrategy[Recording]:
    return st.integers(0, 2**48).map(lambda seed: recording_of(Dice(seed)))


def recording_of(d: Dice) -> Recording:
    kinds = {
        "resolvers": resolvers, "sockets": names, "workloads": workloads, "counters": counters, "conntrack": questions,
        "addresses": addresses, "cpu_pressure": cpus, "kernel_log": log, "clock": clock,
    }  # fmt: skip
    return changing(d, kinds, _later, (0.0, 0.5, 1.0, 5.0), None)


def resolvers(d: Dice) -> Resolvers:
    return Resolvers(
        files=d.several(3, lambda: file(d)),
        netns_unread=d.one((0, 0, 2)),
        asked=d.one((False, True)),
        lookups=d.several(3, lambda: lookup(d)),
    )


def file(d: Dice) -> ResolvConf:
    return ResolvConf(
        netns=d.one(NAMESPACES), pid=d.one(PIDS), servers=d.several(3, lambda: d.one(SERVERS)),
        search=d.several(5, lambda: d.one(TEXTS)), ndots=d.one((0, 1, 5)),
    )  # fmt: skip


def lookup(d: Dice) -> Lookup:
    outcome = d.one(("waiting", "answered", "refused", "not-sent"))
    return Lookup(
        netns=d.one(NAMESPACES), server=d.one(SERVERS), sent=d.one((0, 1, 2)), seconds=d.one((0.0, 1.0, 5.0)),
        outcome=outcome, rcode=d.one((0, 2, 3)) if outcome == "answered" else None, inode=d.one(INODES),
    )  # fmt: skip


def names(d: Dice) -> Sockets:
    found = None if d.random() < 0.1 else d.several(9, lambda: name_socket(d))
    return replace(sockets(d), names=found, names_cut=d.one((False, False, True)))


def name_socket(d: Dice) -> NameSocket:
    serves = d.random() < 0.2
    return NameSocket(
        owner_pid=d.perhaps(lambda: d.one(PIDS)),
        netns=d.one(NAMESPACES),
        inode=d.one(INODES),
        local=Endpoint(d.one((*SERVERS, "0.0.0.0")), 53 if serves else 40_000),
        remote=None if serves else Endpoint(d.one(SERVERS), 53),
    )


def counters(d: Dice) -> Counters:
    by_netns = {netns: {name: d.one(RISES) for name in ASKED} for netns in NAMESPACES if d.random() < 0.9}
    return Counters(known=KNOWN, by_netns=by_netns, netns_read=len(by_netns))


def questions(d: Dice) -> AnySample:
    """A table with questions among other things."""
    asked = d.several(
        4,
        lambda: flow(
            Endpoint(d.one(SERVERS), 53), n := d.one((1, 3, 50)), protocol="udp", state="none",
            replied=d.one((False, False, True)), ages=d.one(((), ages(n, 3), ages(n, 60))),
        ),
    )  # fmt: skip
    found = table(d)
    return replace(found, groups=(*found.groups, *asked)) if hasattr(found, "groups") else found


def cpus(d: Dice) -> CpuPressure:
    consumers = d.several(4, lambda: consumer(d))
    measured = d.one((None, 0.5, 1.0)) if consumers else None
    return CpuPressure(
        cpus=d.one((1, 2, 64)), some_us=d.one((None, 0, 10**6)), some_avg10=d.one((None, 0.0, 50.0)),
        runnable=d.one((None, 0, 9)), load=d.one((None, 1.0)), total_ms=d.one((0, 2_000)), idle_ms=d.one((0, 100)),
        steal_ms=d.one((0, 0, 500)), softirq_ms=d.one((0, 100)), delay_ms=d.one((None, 0, 700)),
        measured_seconds=measured, consumers=consumers if measured else (), processes=d.one((0, 9)),
        used_ms=d.one((0, 100, 3_000)), waited_ms=d.one((0, 900)),
    )  # fmt: skip


def consumer(d: Dice) -> Consumer:
    return Consumer(
        pid=d.one(PIDS), parent=d.one((0, 1, 50)), comm=d.one(TEXTS), log_daemon=d.one((False, True)),
        kernel_thread=d.one((False, False, True)),
        cpu_ms=d.one((0, 10, 900)), kernel_ms=d.one((0, 10)), wait_ms=d.one((None, 0, 400, 900)),
        on_cpu=d.one((None, 0, 0, 1)), realtime=d.one((0, 0, 50)), nice=d.one((-5, 0, 19)),
    )  # fmt: skip


def log(d: Dice) -> KernelLog:
    repeated = d.several(2, lambda: RepeatedLine(d.one(TEXTS), d.one((2, 9_000))))
    return KernelLog(
        source="/dev/kmsg", reaches_back_seconds=None, written=d.one((0, 9_000)), repeated=repeated,
        lost=d.one((0, 0, 500)),
    )  # fmt: skip


def clock(d: Dice) -> Clock:
    return Clock(
        wall_minus_boot=d.one((1.7e9, 1.7e9, 1.7e9 + 5)), read_within=1e-6, synchronised=d.one((None, False, True)),
        max_error_us=d.one((None, 16_000_000)), hardware_ahead=d.one((None, 0.0, 100.0, -3_600.0)),
    )  # fmt: skip


def _later(d: Dice, sample: AnySample, i: int) -> AnySample:
    """Most counters go on."""
    if isinstance(sample, Counters):
        by_netns = {
            netns: {name: value + i * d.one(RISES) for name, value in values.items()}
            for netns, values in sample.by_netns.items()
        }
        return replace(sample, by_netns=by_netns)
    if isinstance(sample, CpuPressure):
        some = None if sample.some_us is None else sample.some_us + i * d.one((0, 10**6))
        return replace(
            sample, some_us=some, total_ms=sample.total_ms + i * 2_000, idle_ms=sample.idle_ms + i * d.one((0, 900))
        )
    if isinstance(sample, KernelLog):
        return replace(sample, written=sample.written + i * d.one((0, 5_000)))
    return sample
