"""The node at two moments: the kernel's totals, limits and settings, and what was counted between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from whodunnet.model.conntrack import Conntrack
from whodunnet.model.snapshot import Node
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.report.identity import workload_names
from whodunnet.report.lasting import Lasting, Side

_TOTALS = {
    "used_pages": "pages",
    "used_bytes": "bytes",
    "alloc_sockets": "sockets",
    "inuse_sockets": "sockets",
    "orphans": "sockets",
    "time_wait_sockets": "sockets",
}
_LIMITS = {
    "tcp_mem.low": ("low_pages", "pages"),
    "tcp_mem.pressure": ("pressure_pages", "pages"),
    "tcp_mem.max": ("max_pages", "pages"),
    "tcp_max_orphans": ("max_orphans", "sockets"),
    "tcp_max_tw_buckets": ("max_time_wait", "sockets"),
    "cpus": ("cpus", ""),
    "memory": ("memory_total_bytes", "bytes"),
    "page size": ("page_size_bytes", "bytes"),
    "under memory pressure": ("under_pressure", ""),
}


_TABLE_LIMITS = {"nf_conntrack_max": ("max_entries", "entries"), "nf_conntrack_buckets": ("buckets", "")}


class TotalChange(msgspec.Struct, frozen=True, kw_only=True):
    """One of the kernel's own totals; limit_before, limit_after: None where it has none, or it is not known.

    difference is None where the two do not compare: pages of different sizes.
    """

    name: str
    unit: str
    before: int
    after: int
    difference: int | None
    limit_before: int | None
    limit_after: int | None


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A limit or property of the node that differs; None where it is not known."""

    name: str
    unit: str
    before: int | str | bool | None
    after: int | str | bool | None


class CounterChange(msgspec.Struct, frozen=True, kw_only=True):
    """By how much a counter of TcpExt grew in one network namespace; place: who lives there, as far as known."""

    counter: str
    netns: int
    place: str | None
    before: int
    after: int
    difference: int
    per_second: float


class CounterChanges(msgspec.Struct, frozen=True, kw_only=True):
    """rows: what grew, the most first. compared: namespaces read at both moments; apart: at one of them only."""

    rows: tuple[CounterChange, ...]
    compared: int
    apart: int


def compare_totals(before: TcpMemory, after: TcpMemory) -> tuple[TotalChange, ...]:
    """How full the kernel is."""
    return tuple(_total(name, unit, before, after) for name, unit in _TOTALS.items())


def compare_tracked(before: Conntrack | None, after: Conntrack | None) -> Iterator[TotalChange]:
    """How full the table of tracked connections is, where both snapshots know it."""
    if before is None or after is None or before.count is None or after.count is None:
        return
    yield TotalChange(
        name="tracked_connections",
        unit="entries",
        before=before.count,
        after=after.count,
        difference=after.count - before.count,
        limit_before=before.max_entries or None,
        limit_after=after.max_entries or None,
    )


def compare_table_settings(before: Conntrack | None, after: Conntrack | None) -> Iterator[Setting]:
    """Limits and timeouts of the table that differ, where both snapshots know them."""
    if before is None or after is None:
        return
    pairs = {
        name: (getattr(before, field), getattr(after, field), unit) for name, (field, unit) in _TABLE_LIMITS.items()
    }
    for name in sorted(before.timeouts.keys() & after.timeouts.keys()):
        pairs[f"nf_conntrack_{name}"] = before.timeouts[name], after.timeouts[name], "seconds"
    for name, (then, now, unit) in pairs.items():
        if then != now and None not in (then, now):
            yield Setting(name=name, unit=unit, before=then, after=now)


def _total(name: str, unit: str, before: TcpMemory, after: TcpMemory) -> TotalChange:
    then, now = _value(name, before), _value(name, after)
    comparable = unit != "pages" or before.page_size_bytes == after.page_size_bytes
    return TotalChange(
        name=name,
        unit=unit,
        before=then,
        after=now,
        difference=now - then if comparable else None,
        limit_before=_limit(name, before),
        limit_after=_limit(name, after),
    )


def _value(name: str, memory: TcpMemory) -> int:
    value: int = memory.used_pages * memory.page_size_bytes if name == "used_bytes" else getattr(memory, name)
    return value


def _limit(name: str, memory: TcpMemory) -> int | None:
    match name:
        case "used_pages":
            return memory.max_pages
        case "used_bytes":
            return None if memory.max_pages is None else memory.max_pages * memory.page_size_bytes
        case "orphans":
            return memory.max_orphans
        case "time_wait_sockets":
            return memory.max_time_wait
        case _:
            return None


def compare_settings(
    nodes: tuple[Node, Node], memories: tuple[TcpMemory | None, TcpMemory | None]
) -> Iterator[Setting]:
    """What differs of the node and its limits; of limits only where both were read."""
    for name in ("hostname", "kernel", "virtual_machine"):
        values = [getattr(node, name) for node in nodes]
        if values[0] != values[1]:
            yield Setting(name=name.replace("_", " "), unit="", before=values[0], after=values[1])
    before, after = memories
    for name, (field, unit) in _LIMITS.items() if before and after else ():
        then, now = getattr(before, field), getattr(after, field)
        if then != now:
            yield Setting(name=name, unit=unit, before=then, after=now)


def compare_counters(
    before: tuple[Side, TcpMemory], after: tuple[Side, TcpMemory], lasting: Lasting, seconds: float
) -> CounterChanges:
    """Of one boot only. A namespace whose counters went back was made anew, and is not compared."""
    rows: list[CounterChange] = []
    compared = 0
    then, now = before[1].counters, after[1].counters
    for inode in then.keys() & now.keys():
        same = lasting.netns(inode, before[0].workloads) == lasting.netns(inode, after[0].workloads)
        if not same or not _grew(then[inode], now[inode]):
            continue
        compared += 1
        place = _place(inode, after[0]) or _place(inode, before[0])
        rows += _rows(inode, place, then[inode], now[inode], seconds)
    rows.sort(key=lambda row: (-row.difference, row.counter, row.netns))
    return CounterChanges(rows=tuple(rows), compared=compared, apart=len(then.keys() | now.keys()) - compared)


def _grew(then: Mapping[str, int], now: Mapping[str, int]) -> bool:
    return all(now[name] >= value for name, value in then.items() if name in now)


def _place(inode: int, side: Side) -> str | None:
    workload = side.workloads.by_netns.get(inode) or side.workloads.sole_by_netns.get(inode)
    return ", ".join(workload_names(workload)) if workload else None


def _rows(
    inode: int, place: str | None, then: Mapping[str, int], now: Mapping[str, int], seconds: float
) -> Iterator[CounterChange]:
    for counter, value in now.items():
        more = value - then.get(counter, value)
        if more:
            yield CounterChange(
                counter=counter,
                netns=inode,
                place=place,
                before=then[counter],
                after=value,
                difference=more,
                per_second=more / seconds if seconds > 0 else 0.0,
            )
