"""The readings behind a finding about the table, each with the command by which a person can repeat it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from whodunnet.model.finding import Evidence
from whodunnet.model.flow_owners import FlowOwner
from whodunnet.model.sockets import Endpoint
from whodunnet.model.table_drops import CHAINS
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.flood_cases import Flood
from whodunnet.rules.flood_kinds import WASTEFUL, YOUNG_SECONDS, Kind
from whodunnet.rules.flood_openers import Opener, Openers
from whodunnet.rules.flood_texts import exact_label, place
from whodunnet.rules.identity import short_name
from whodunnet.rules.table_window import TableReading, TableWindow

SIZE = "cat /proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/netfilter/nf_conntrack_max"
STATISTICS = "cat /proc/net/stat/nf_conntrack"
DROPS_SOURCE = "/proc/net/stat/nf_conntrack drop"
"""Where the drops of a full table are counted; a link to what follows from it needs them."""
BY_WORKLOAD = "whodunnet conntrack --by workload"
COLUMNS = {
    "early_drop": "early_drop (another entry was thrown out to make room)",
    "insert_failed": "insert_failed (an entry was lost, to a race or to a long chain)",
}


def fill(window: TableWindow, limit: float | None = None) -> Evidence:
    """The highest fill, at its own time. limit: what it is compared with, if that is not the size of the table."""
    reading = window.highest
    compared = reading.limit if limit is None or reading.limit is None else round(limit * reading.limit)
    return Evidence(
        statement="Tracked connections of the node, highest in this window" if window.seconds else TRACKED_NOW,
        value=reading.count,
        unit="entries",
        limit=compared,
        comparison=None if compared is None else ">=" if reading.count >= compared else "<",
        source="nf_conntrack_count, nf_conntrack_max",
        at=reading.at.wall,
        boot_seconds=reading.at.boot_seconds,
        repeat=SIZE,
    )


TRACKED_NOW = "Tracked connections of the node"


def counters(window: TableWindow) -> Iterator[Evidence]:
    """Columns of the kernel's statistics that rose within the window."""
    dropped = window.risen("drop")
    if dropped:
        statement = f"drop (packets that found no room, or no connection) rose within {window.seconds:.1f} s by"
        yield replace(_statistic(window, statement, dropped, "packets"), source=DROPS_SOURCE, limit=0, comparison=">")
    for column, meaning in COLUMNS.items():
        risen = window.risen(column)
        if risen:
            yield _statistic(window, f"{meaning} rose within {window.seconds:.1f} s by", risen, "entries")
    chains = window.risen(*CHAINS)
    if chains:
        yield _statistic(window, f"{' or '.join(CHAINS)} rose within {window.seconds:.1f} s by", chains, "packets")


def _statistic(window: TableWindow, statement: str, value: int, unit: str) -> Evidence:
    return Evidence(
        statement=statement,
        value=value,
        unit=unit,
        source="/proc/net/stat/nf_conntrack",
        at=window.last.at.wall,
        boot_seconds=window.last.at.boot_seconds,
        repeat=f"{STATISTICS}  # twice; one line for each CPU, hexadecimal",
    )


def log_lines(window: TableWindow, netns: int | None = None) -> Iterator[Evidence]:
    """Lines within the window are signs; those from before it are context."""
    assert window.log is not None or not window.log_lines(within=True)
    for within, meaning in ((True, "within this window"), (False, "outside of it (context, not severity)")):
        lines = window.log_lines(within=within, netns=netns)
        if lines and window.log is not None:
            yield Evidence(
                statement=f'Kernel log lines {meaning}, the newest "{lines[-1].text}"',
                value=len(lines),
                unit="lines",
                source=window.log.source,
                at=window.last.at.wall,
                boot_seconds=lines[-1].boot_seconds,
                repeat="dmesg | grep 'nf_conntrack: table full'",
            )


def chains(window: TableWindow) -> Evidence:
    """Entries for each bucket."""
    reading = window.highest
    buckets = max(reading.table.buckets or 0, 1)
    return Evidence(
        statement="Entries for each bucket of the hash table, each entry being in two",
        value=round(2 * reading.count / buckets, 1),
        unit="links",
        source="nf_conntrack_count, nf_conntrack_buckets",
        at=reading.at.wall,
        boot_seconds=reading.at.boot_seconds,
        repeat="cat /proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/netfilter/nf_conntrack_buckets",
    )


def culprits(flood: Flood, now: Openers, calm: float, entry: Entry) -> Iterator[Evidence]:
    """What each of them has, what would remain without, and how much is known at all."""
    for opener in flood.openers:
        yield from _of_opener(opener, now)
    yield from _takers(flood, now)
    yield _counted(now.reading, "What would remain of the table without them", max(round(now.total - flood.charge), 0),
                   limit=round(calm), comparison="<" if now.total - flood.charge < calm else ">=")  # fmt: skip
    yield attribution(now, entry)


def _of_opener(opener: Opener, now: Openers) -> Iterator[Evidence]:
    who, flow = exact_label(opener.owner), opener.main
    where = f" to {place(flow.destination)}" if flow is not None and flow.destination is not None else ""
    number = opener.to(flow.destination) if flow is not None else opener.kinds[opener.kind]
    yield _counted(now.reading, f"{MEANINGS[opener.kind]} that {who} opened{where}", number)
    if opener.kind != "idle-established" and opener.young[opener.kind]:
        statement = f"Of these, less than {YOUNG_SECONDS} s without a packet, each second of that time"
        yield replace(_counted(now.reading, statement, round(opener.rate, 1)), unit="entries/s")
    if number < opener.kinds[opener.kind]:
        yield _counted(now.reading, f"Of that kind, to every destination, that {who} opened", opener.kinds[opener.kind])
    if opener.kinds[opener.kind] < opener.wasteful:
        yield _counted(now.reading, _sum_of(opener, now.total), opener.wasteful)
    passed = round(opener.charge) - opener.wasteful
    if passed > 0:
        yield _counted(now.reading, f"Further entries that others on this node opened on behalf of {who}", passed)
    yield from _sockets(opener, flow.destination if flow is not None else None, now)


def _sum_of(opener: Opener, total: int) -> str:
    """What the number of a party is made of: all kinds of entries of which fewer would do."""
    kinds = sorted((kind for kind in WASTEFUL if opener.kinds[kind]), key=lambda kind: -opener.kinds[kind])
    parts = " + ".join(f"{opener.kinds[kind]:,} {NAMES[kind]}" for kind in kinds)
    share = min(opener.wasteful / total, 1.0)
    return f"In all that {exact_label(opener.owner)} opened ({parts}), {100 * share:.0f} % of all tracked connections"


NAMES: Final[dict[Kind, str]] = {
    "churn": "of short connections",
    "idle-established": "of idle ones",
    "unreplied": "without an answer",
    "dns": "of name queries",
}


def _sockets(opener: Opener, destination: Endpoint | None, now: Openers) -> Iterator[Evidence]:
    """Really open sockets, where they can be counted."""
    opened = now.owners.open_to(opener.owner, destination) if destination is not None else None
    if opened is None:
        opened = now.owners.opened_sockets(opener.owner)
        destination = None
    if opened is not None:
        where = f" to {place(destination)}" if destination is not None else ""
        yield replace(
            _counted(now.reading, f"TCP sockets that {exact_label(opener.owner)} really has open{where}", opened),
            unit="sockets", source="sockets collector", repeat="whodunnet sockets",
        )  # fmt: skip


def _takers(flood: Flood, now: Openers) -> Iterator[Evidence]:
    """Entries that lead to pods of this node by way of this, against the sockets that these really have open."""
    answering = {f.answered_by or f.destination for opener in flood.openers for f in opener.flows}
    places = {e.address for e in answering if e is not None and e.address is not None}
    found = {w.netns: w for address in sorted(places) if (w := now.owners.answerer(address)) is not None}
    for netns, workload in list(found.items())[:TAKERS_LISTED]:
        owner = FlowOwner(key=f"netns {netns}", kind="workload", workload=workload, netns=netns)
        opened = now.owners.open_sockets(owner)
        if opened is not None and netns is not None and netns in now.taken:
            statement = f"TCP sockets that {short_name(workload)} really has open, while so many entries lead to it"
            yield replace(
                _counted(now.reading, statement, opened, limit=now.taken[netns][1], comparison="of"),
                unit="sockets", source="sockets collector", repeat="whodunnet sockets",
            )  # fmt: skip


TAKERS_LISTED = 3
MEANINGS = {
    "churn": "Entries of short connections that are over",
    "idle-established": "Entries of established connections without any packet lately",
    "unreplied": "Entries to which no answer was seen",
    "dns": "Entries of name queries",
}


def attribution(now: Openers, entry: Entry) -> Evidence:
    """Share of the kernel's own number whose opener is known."""
    least = entry.limit("proven_attributed")
    share = round(now.attributed, 3)
    return replace(
        _counted(now.reading, "Share of all entries whose opener is known", share, limit=least,
                 comparison=">=" if share >= least else "<"),
        unit="share", source="conntrack collector against nf_conntrack_count",
    )  # fmt: skip


def states(now: Openers) -> Iterator[Evidence]:
    """The states with most entries."""
    counts: dict[str, int] = {}
    for g in now.reading.table.groups:
        state = g.state if g.state != "none" else g.protocol
        counts[state] = counts.get(state, 0) + g.entries
    for state in sorted(counts, key=lambda s: -counts[s])[:3]:
        yield replace(
            _counted(now.reading, f"Entries in state {state}", counts[state]), repeat="whodunnet conntrack --by state"
        )


def _counted(
    reading: TableReading, statement: str, value: float, *, limit: float | None = None, comparison: str | None = None
) -> Evidence:
    return Evidence(
        statement=statement,
        value=value,
        unit="entries",
        limit=limit,
        comparison=comparison,
        source=f"conntrack collector ({reading.table.method})",
        at=reading.at.wall,
        boot_seconds=reading.at.boot_seconds,
        repeat=BY_WORKLOAD,
    )


def child(reading: TableReading, netns: int, count: int) -> Evidence:
    """Entries of another namespace, against the limit that holds for each by itself."""
    assert reading.limit is not None
    return replace(
        _counted(reading, f"Tracked connections of network namespace {netns}, highest in this window", count,
                 limit=reading.limit, comparison=">=" if count >= reading.limit else "<"),
        source="/proc/<pid>/net/stat/nf_conntrack, nf_conntrack_max", repeat="whodunnet conntrack --by netns",
    )  # fmt: skip
