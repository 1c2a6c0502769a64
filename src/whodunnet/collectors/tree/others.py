"""Kernel log, tracked connections, devices, CPUs and the rest of a tree."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

import msgspec

from whodunnet.collectors.collector import failure_of
from whodunnet.collectors.descriptors import NEAR
from whodunnet.collectors.kernel_log import LINES_KEPT, known
from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.collectors.softnet import NET_RX, work_of
from whodunnet.collectors.tree.counted import number
from whodunnet.collectors.tree.place import COMMANDS, OWN, Place
from whodunnet.errors import UnreadableError
from whodunnet.kernel.netlink.conntrack_groups import FlowTable
from whodunnet.kernel.procfs import conntrack as proc_conntrack
from whodunnet.kernel.procfs import neighbours as proc_neighbours
from whodunnet.kernel.procfs.conntrack_entries import parse_entries
from whodunnet.kernel.procfs.cpu_times import CpuTimes, parse_cpu_times
from whodunnet.kernel.procfs.pressure import parse_irq_pressure, parse_some_pressure
from whodunnet.kernel.procfs.run_queue import parse_load, parse_runnable
from whodunnet.kernel.procfs.softirqs import parse_softirqs
from whodunnet.kernel.procfs.softnet_stat import SoftnetLine, parse_softnet_stat
from whodunnet.kernel.resolv_conf import parse_resolv_conf
from whodunnet.kernel.tree.link_text import PrintedLink, PrintedQueue, parse_addresses, parse_links, parse_queues
from whodunnet.kernel.tree.log_text import read_log
from whodunnet.kernel.tree.machine import STAT_LIMIT_BYTES
from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.clock import Clock
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.cpu_pressure import CpuPressure
from whodunnet.model.descriptors import Descriptors
from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.links import LinkCounters, Links
from whodunnet.model.neighbours import Family, Neighbours, NeighbourTable
from whodunnet.model.resolvers import ResolvConf, Resolvers
from whodunnet.model.softnet import Softnet

CONNTRACK: Final = "net.netfilter.nf_conntrack_"
ENTRIES_LIMIT_BYTES: Final = 64 << 20
_TIMEOUT: Final = re.compile(r"\w*timeout\w*")
_NO_ENTRY: Final = "frag6_timeout"
_SYNCHRONISED: Final = re.compile(r"^ *(?:System clock|NTP) synchronized: (yes|no) *$", re.MULTILINE)
_FULL_READ: Final = 1
"""The first process: who reads resolv.conf of the machine is not told."""
_FAMILIES: Final[tuple[Family, ...]] = (4, 6)


def read_kernel_log(place: Place) -> KernelLog:
    """Raises UnreadableError."""
    log = read_log(place.tree, place.machine.at)
    found = list(known(log.lines))
    oldest = next((line.boot_seconds for line in log.lines if line.boot_seconds is not None), None)
    now = place.machine.at.boot_seconds
    return KernelLog(
        source=log.source,
        reaches_back_seconds=max(now - oldest, 0.0) if oldest is not None and now else None,
        lines=tuple(found[-LINES_KEPT:]),
        counts=dict(Counter(line.kind for line in found)),
    )


def read_conntrack(place: Place) -> Conntrack:
    """Raises UnreadableError if the tree does not tell how full the table is."""
    count = number(place.sysctls, f"{CONNTRACK}count")
    if count is None:
        if place.sysctls.known and not place.sysctls.names(CONNTRACK):
            return Conntrack(loaded=False)
        raise UnreadableError("the tree does not tell how many connections were tracked (nf_conntrack_count)")
    sample = Conntrack(
        loaded=True,
        netns=OWN,
        count=max(count, 0),
        max_entries=number(place.sysctls, f"{CONNTRACK}max"),
        buckets=number(place.sysctls, f"{CONNTRACK}buckets"),
        statistics=_statistics(place),
        timeouts=_timeouts(place),
        counts={OWN: max(count, 0)},
        netns_unread=place.unread(1),
    )
    return _with_entries(place, sample) if count > 0 else sample


def read_addresses(place: Place) -> Addresses:
    """Those of the machine's own namespace. Raises UnreadableError."""
    _, data = place.tree.first(f"{COMMANDS}/ip_-o_addr", "ip_addr")
    kinds = {link.name: (link.kind, link.up) for link in _links(place)}
    found, left_out = parse_addresses(data)
    addresses = tuple(
        DeviceAddress(
            address=one.address, prefix_length=one.prefix_length, device=one.device,
            kind=kinds.get(one.device, (None, True))[0], up=kinds.get(one.device, (None, True))[1],
        )
        for one in found
    )  # fmt: skip
    return Addresses(by_netns={OWN: addresses} if addresses else {}, netns_unread=place.unread(1), left_out=left_out)


def read_links(place: Place) -> Links:
    """Devices of the machine's own namespace, with the queues before them. Raises UnreadableError."""
    _, data = place.tree.first(f"{COMMANDS}/ip_-s_-d_link")
    found, left_out = parse_links(data)
    queues = parse_queues(place.tree.first(f"{COMMANDS}/tc_-s_qdisc_show")[1])
    devices = {
        link.name: _counters(link, queues.get(link.name))
        for link in found
        if not link.loopback and (link.up or any(link.counters.values()))
    }
    if not found:
        raise UnreadableError(f"{COMMANDS}/ip_-s_-d_link of the tree shows no device")
    return Links.of({OWN: devices}, netns_unread=place.unread(1), left_out=left_out)


def read_softnet(place: Place) -> Softnet:
    """Raises UnreadableError."""
    path, data = place.tree.first(*place.net("softnet_stat"))
    times = unless_unreadable(lambda: _cpu_times(place)) or {}
    lines = _by_cpu(parse_softnet_stat(data, path), times)
    softirqs = unless_unreadable(lambda: parse_softirqs(place.tree.read("proc/softirqs"), "proc/softirqs", (NET_RX,)))
    rounds = (softirqs or {}).get(NET_RX, {})
    core = {
        name: number(place.sysctls, f"net.core.netdev_{name}") for name in ("max_backlog", "budget", "budget_usecs")
    }
    positive = {name: value if value is not None and value >= 0 else None for name, value in core.items()}
    return Softnet(
        by_cpu={cpu: work_of(line, rounds.get(cpu), times.get(cpu), None) for cpu, line in sorted(lines.items())},
        max_backlog=positive["max_backlog"],
        budget=positive["budget"],
        budget_us=positive["budget_usecs"],
        irq_pressure_us=unless_unreadable(
            lambda: parse_irq_pressure(place.tree.read("proc/pressure/irq"), "proc/pressure/irq")
        ),
    )


def read_cpu_pressure(place: Place) -> CpuPressure:
    """Raises UnreadableError."""
    stat = place.tree.read("proc/stat", STAT_LIMIT_BYTES)
    times = list(parse_cpu_times(stat, "proc/stat").values())
    pressure = unless_unreadable(lambda: parse_some_pressure(place.tree.read("proc/pressure/cpu"), "proc/pressure/cpu"))
    return CpuPressure(
        cpus=len(times),
        some_us=pressure.total_us if pressure else None,
        some_avg10=pressure.avg10 if pressure else None,
        runnable=unless_unreadable(lambda: parse_runnable(stat, "proc/stat")),
        load=unless_unreadable(lambda: parse_load(place.tree.read("proc/loadavg"), "proc/loadavg")),
        total_ms=sum(one.total_ms for one in times),
        idle_ms=sum(one.idle_ms for one in times),
        steal_ms=sum(one.steal_ms for one in times),
        softirq_ms=sum(one.softirq_ms + one.irq_ms for one in times),
    )


def read_neighbours(place: Place) -> Neighbours:
    """How full the tables are; whose entries they have is not read. Raises UnreadableError if neither is there."""
    tables = {family: _neighbour_table(place, family) for family in _FAMILIES}
    if tables[4] is None and tables[6] is None:
        place.tree.first(*place.net("stat/arp_cache"))
        raise UnreadableError("the tables of neighbours are not understood")
    return Neighbours(ipv4=tables[4], ipv6=tables[6])


def read_descriptors(place: Place) -> Descriptors:
    """The machine as a whole, only where it is near its limit. Raises UnreadableError: processes are not known."""
    text = place.sysctls.text("fs.file-nr") or ""
    words = text.split()
    if len(words) != 3 or not all(word.isascii() and word.isdigit() and len(word) < 19 for word in words):
        text = "descriptors of processes are not in the tree, nor how many files the machine had open"
        raise UnreadableError(text, code="not-collected")
    used, limit = int(words[0]), int(words[2])
    if used < NEAR * limit:
        told = f"the machine as a whole had {used:,} of {limit:,} files open"
        raise UnreadableError(f"descriptors of processes are not in the tree; {told}", code="not-collected")
    return Descriptors(open_files=used, max_files=limit)


def read_clock(place: Place) -> Clock:
    """Raises UnreadableError if no time service was asked."""
    _, data = place.tree.first(
        "sos_commands/systemd/timedatectl", "sos_commands/systemd/timedatectl_status", "sos_commands/date/timedatectl"
    )
    match = _SYNCHRONISED.search(data.decode(errors="replace"))
    if match is None:
        raise UnreadableError("timedatectl did not say whether the clock was kept right")
    at = place.machine.at
    return Clock(wall_minus_boot=at.wall.timestamp() - at.boot_seconds, read_within=1.0, synchronised=match[1] == "yes")


def read_resolvers(place: Place) -> Resolvers:
    """The machine's own resolv.conf. Raises UnreadableError."""
    parsed = parse_resolv_conf(place.tree.read("etc/resolv.conf"))
    conf = ResolvConf(netns=OWN, pid=_FULL_READ, **msgspec.structs.asdict(parsed))
    return Resolvers(files=(conf,), netns_unread=place.unread(1))


def _counters(link: PrintedLink, queue: PrintedQueue | None) -> LinkCounters:
    has_queue = queue is not None and queue.kind != "noqueue"
    of_queue = {"queue_drops": queue.drops, "queue_packets": queue.packets} if queue and has_queue else {}
    found = LinkCounters(number=link.number, kind=link.kind, up=link.up, carrier=link.carrier)
    kind = queue.kind if queue and has_queue else None
    return msgspec.structs.replace(found, queue=kind, **(link.counters | of_queue))


def _statistics(place: Place) -> dict[str, int]:
    found = unless_unreadable(lambda: place.tree.first(*place.net("stat/nf_conntrack")))
    statistics = proc_conntrack.parse_statistics(found[1], found[0]) if found else {}
    return {name: value for name, value in statistics.items() if name != "entries"}


def _timeouts(place: Place) -> dict[str, int]:
    names = [name.removeprefix(CONNTRACK) for name in place.sysctls.names(CONNTRACK)]
    wanted = [name for name in names if _TIMEOUT.fullmatch(name) and name != _NO_ENTRY]
    found = {name: number(place.sysctls, CONNTRACK + name) for name in wanted}
    return {name: value for name, value in found.items() if value is not None}


def _with_entries(place: Place, sample: Conntrack) -> Conntrack:
    """With who has what in the table, where it was copied as text."""
    try:
        path, data = place.tree.first(*place.net("nf_conntrack"), limit=ENTRIES_LIMIT_BYTES)
    except UnreadableError as error:
        return msgspec.structs.replace(sample, dump_failure=failure_of(error))
    entries, malformed = parse_entries(data, path)
    table = FlowTable(sample.timeouts)
    for entry in entries:
        table.add(entry)
    return msgspec.structs.replace(
        sample, method="procfs", groups=tuple(table.groups()), other_entries=table.other_entries,
        malformed=malformed + table.malformed,
    )  # fmt: skip


def _links(place: Place) -> list[PrintedLink]:
    found = unless_unreadable(lambda: place.tree.first(f"{COMMANDS}/ip_-s_-d_link"))
    return parse_links(found[1])[0] if found else []


def _cpu_times(place: Place) -> dict[int, CpuTimes]:
    return parse_cpu_times(place.tree.read("proc/stat", STAT_LIMIT_BYTES), "proc/stat")


def _by_cpu(lines: list[SoftnetLine], times: dict[int, CpuTimes]) -> dict[int, SoftnetLine]:
    """Raises UnreadableError if it cannot be told which line is of which CPU."""
    found = {cpu: line for line in lines if (cpu := line.cpu) is not None}
    if len(found) == len(lines):
        return found
    if found or len(lines) != len(times):
        raise UnreadableError("softnet_stat of the tree does not say which line is of which CPU")
    return dict(zip(sorted(times), lines, strict=True))


def _neighbour_table(place: Place, family: Family) -> NeighbourTable | None:
    found = unless_unreadable(lambda: place.tree.first(*place.net(f"stat/{proc_neighbours.FILES[family]}")))
    if found is None:
        return None
    statistics = proc_neighbours.parse_statistics(found[1], found[0])
    limits = [number(place.sysctls, f"net.ipv{family}.neigh.default.{name}") for name in proc_neighbours.THRESHOLDS]
    known_limits = [limit if limit is not None and limit >= 0 else None for limit in limits]
    counters = statistics.counters
    return NeighbourTable(
        entries=statistics.entries, min_entries=known_limits[0], soft_max=known_limits[1], max_entries=known_limits[2],
        table_fulls=counters.get("table_fulls"), forced_gcs=counters.get("forced_gc_runs"),
        unresolved_discards=counters.get("unresolved_discards"), res_failed=counters.get("res_failed"),
    )  # fmt: skip
