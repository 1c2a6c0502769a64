"""Arbitrary tables of tracked connections, and addresses: often full, of few openers, so that rules have to name."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from msgspec.structs import replace

from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.kernel_log import LogLine
from whodunnet.model.sample import Failure
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint
from whodunnet.rules.table_window import LOG_KINDS

from .flows import FULL_LINE, TIMEOUTS

NAMESPACES = (4_026_531_840, 4_026_532_100)
SOURCES = ("10.0.0.1", "10.0.0.2", "127.0.0.1", "203.0.113.9", "198.51.100.7", "192.0.2.1")
PORTS = (None, 53, 80, 443, 4_789, 40_000)
ENTRIES = (0, 1, 7, 90, 900, 1_000, 4_000, 4_000, 40_000, 2**40)
STATES = ("established", "time-wait", "syn-sent", "syn-recv", "close-wait", "fin-wait", "none")
COLUMNS = ("drop", "early_drop", "insert_failed", "chainlength")


def table(d: Random) -> Conntrack:
    """Of one namespace; its size is often about what it has."""
    groups = tuple(flow(d) for _ in range(d.randint(0, 6)))
    entries = sum(g.entries for g in groups)
    count = _one(d, (entries, entries, entries, entries + 500, 0, None))
    sizes = (count or 1, (count or 1) * 10 // 9, 10_000, 0, None, -1)
    return Conntrack(
        loaded=d.random() < 0.95,
        netns=_one(d, (NAMESPACES[0], NAMESPACES[0], None)),
        count=count,
        max_entries=_one(d, sizes),
        buckets=_one(d, (None, 0, 16, 65_536)),
        statistics={column: _one(d, (0, 3)) for column in COLUMNS if d.random() < 0.8},
        timeouts=TIMEOUTS if d.random() < 0.8 else {},
        counts={netns: _one(d, (0, 5_000, count or 0)) for netns in NAMESPACES if d.random() < 0.5},
        method=_one(d, (None, "ctnetlink", "procfs")),
        dump_failure=Failure(code="unreadable", reason="it does not work") if d.random() < 0.1 else None,
        groups=groups,
        inner={NAMESPACES[1]: tuple(flow(d) for _ in range(d.randint(0, 4)))} if d.random() < 0.3 else {},
        other_entries=_one(d, (0, 0, 300)),
    )


def later(d: Random, found: Conntrack, moment: int) -> Conntrack:
    """The same table, or one that has grown and dropped something."""
    if d.random() < 0.5:
        return found
    groups = tuple(replace(g, entries=g.entries + moment * 500) for g in found.groups)
    count = found.count + moment * 500 * len(groups) if found.count is not None else None
    return replace(found, groups=groups, count=count, statistics={k: n + moment for k, n in found.statistics.items()})


def flow(d: Random) -> FlowGroup:
    n = _one(d, ENTRIES)
    protocol = _one(d, ("tcp", "tcp", "tcp", "udp", "icmp", "gre", "99"))
    return FlowGroup(
        family=4,
        protocol=protocol,
        source=_one(d, SOURCES),
        destination=_end(d) if d.random() < 0.9 else None,
        answered_by=_one(d, (None, None, Endpoint(None, None), _end(d))),
        source_as=_one(d, (None, None, "192.0.2.1")),
        state=_one(d, STATES) if protocol == "tcp" else "none",
        replied=d.random() < 0.7,
        assured=d.random() < 0.5,
        offloaded=d.random() < 0.1,
        merged=d.random() < 0.1,
        entries=n,
        ages=_ages(d, n) if d.random() < 0.9 else (),
    )


def addresses(d: Random) -> Addresses:
    by_netns = {
        netns: tuple(
            DeviceAddress(address=address, prefix_length=24, device="eth0", kind=_one(d, (None, "veth", "dummy")))
            for address in SOURCES
            if not address.startswith("127.") and d.random() < 0.3
        )
        for netns in NAMESPACES
    }
    return Addresses(by_netns=by_netns, netns_unread=_one(d, (0, 0, 0, 1)), left_out=_one(d, (0, 0, 0, 1)))


def lines(d: Random) -> tuple[LogLine, ...]:
    """Table-full lines, of any time."""
    where = ("full", f"full in netns {NAMESPACES[1]}")
    return tuple(
        LogLine(LOG_KINDS[n], _one(d, (None, 4_000.0, 5_000.0, 5_020.0)), FULL_LINE.replace("full", where[n]))
        for n in (d.randrange(2) for _ in range(d.randint(0, 2)))
    )


def _end(d: Random) -> Endpoint:
    return Endpoint(_one(d, (*SOURCES, "10.96.0.1")), _one(d, PORTS))


def _ages(d: Random, n: int) -> tuple[int, ...]:
    places = [0] * (len(AGE_BOUNDS_SECONDS) + 1)
    half = n // 2
    places[d.randrange(len(places))] += half
    places[d.randrange(len(places))] += n - half
    return tuple(places)


def _one(d: Random, values: Sequence[Any]) -> Any:
    return values[d.randrange(len(values))]
