"""The table of connections, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from whodunnet.report.connection_counts import Counts
from whodunnet.report.connection_rows import ConnectionRow
from whodunnet.report.connection_subject import side_label
from whodunnet.report.connection_words import brief, idle_text, sentences
from whodunnet.report.connections import WITHOUT_BPF, Blind, ConnectionTable
from whodunnet.report.identity import endpoint_name
from whodunnet.report.json import encode
from whodunnet.report.quantity import count, duration, percent

if TYPE_CHECKING:
    from rich.console import Console

    from whodunnet.report.layout import Sheet

HANG = 13
_GAP = 2
_LABEL_ROOM = 40
_COMMANDS_SHOWN = 3
_COUNTERS = {
    "ActiveOpens": "connects begun",
    "PassiveOpens": "connections accepted",
    "AttemptFails": "connects failed",
    "EstabResets": "connections reset",
    "OutRsts": "resets sent",
    "TCPSynRetrans": "SYNs sent again",
    "TCPAbortOnTimeout": "connections timed out",
    "ListenOverflows": "refused a place in an accept queue",
}
"""What the kernel's counters of most use count."""


def render_connection_json(table: ConnectionTable) -> str:
    """One document: the rows with their full identities, the rest, and what was not seen."""
    return encode(table)


def render_connection_table(table: ConnectionTable, console: Console) -> None:
    """What there was in all; numbers at the left, who with whom behind them, how it ended below; what was not seen."""
    from whodunnet.report.layout import Sheet

    sheet = Sheet(console)
    for lead, text in _head(table):
        sheet.write(text, lead=(lead, "bold"), hang=HANG)
    if table.rows:
        sheet.blank()
        _write_rows(sheet, table)
    if table.not_seen:
        sheet.blank()
    for position, sentence in enumerate(table.not_seen):
        sheet.write(sentence, lead=("" if position else "Not seen", "bold"), hang=HANG)


def _head(table: ConnectionTable) -> Iterator[tuple[str, str]]:
    """Each line with what stands before it."""
    yield "Window", f"{duration(round(table.seconds, 1))}{'' if table.blind else ', by BPF'}"
    if table.blind is not None:
        yield from _blind(table.blind)
    if table.all is not None:
        yield "Connections", _connections(table.all)
        yield "Failed", _failed(table.all)
    if table.failed_only and table.healthy:
        yield "Left out", f"{count(table.healthy, table.by)} of which nothing failed"


def _blind(blind: Blind) -> Iterator[tuple[str, str]]:
    needed = blind.missing_capability
    why = blind.reason if needed is None or needed in blind.reason else f"{blind.reason} (needs {needed})"
    yield "Seen by", f"the kernel's counters alone: {why}"
    yield "Not seen", WITHOUT_BPF
    grown = [f"{blind.growth[name]:,} {what} ({name})" for name, what in _COUNTERS.items() if blind.growth.get(name)]
    where = count(blind.netns, "network namespace")
    unread = f"; {blind.netns_unread:,} more could not be read" if blind.netns_unread else ""
    yield "Counted", f"{', '.join(grown) or 'nothing'}, in {where}{unread}"


def _connections(counts: Counts) -> str:
    parts = [f"{counts.opened or 0:,} opened, {counts.ended:,} ended"]
    if counts.connect_p50_seconds is not None and counts.connect_p99_seconds is not None:
        usual, slowest = idle_text(counts.connect_p50_seconds), idle_text(counts.connect_p99_seconds)
        parts.append(f"connect time {usual} (p50), {slowest} (p99)")
    return "; ".join(parts)


def _failed(counts: Counts) -> str:
    parts = []
    if counts.failed:
        tried = (counts.opened or 0) + counts.failed
        parts.append(f"{counts.failed:,} of {count(tried, 'connect')} ({percent(counts.failed, tried)})")
    if counts.reset:
        parts.append(f"{counts.reset:,} reset")
    lost = sum(one.connections for one in counts.lost)
    if lost:
        parts.append(f"{lost:,} timed out or broken while open")
    if counts.syn_retransmitted:
        parts.append(f"{count(counts.syn_retransmitted, 'SYN')} sent again")
    return ", ".join(parts) or "nothing"


def _write_rows(sheet: Sheet, table: ConnectionTable) -> None:
    rows = [*table.rows, *([table.rest] if table.rest else [])]
    lines = _aligned(rows)
    if sheet.width - len(lines[0]) < _LABEL_ROOM:
        lines = _aligned(rows, without=("ended", "p50"))
    hang, commands = len(lines[0]) + _GAP, _COMMANDS_SHOWN
    inner = sheet.indented(lines[0].index("opened") + len("opened") + _GAP)
    sheet.write((table.by, "bold"), lead=(lines[0], "bold"), hang=hang)
    for row, line in zip(rows, lines[1:], strict=True):
        sheet.write(row.label, lead=line, hang=hang)
        for sentence in sentences(row.counts):
            inner.write((sentence, "dim"))
        for detail in _details(row):
            inner.write((detail, "dim"), lead=("-", "dim"), hang=2)
        if row.find_command is not None and commands > 0:
            commands -= 1
            inner.command(row.find_command)


def _aligned(rows: Sequence[ConnectionRow], without: Sequence[str] = ()) -> list[str]:
    """The head and the numbers of every row, each column as wide as its widest cell; empty columns are left out."""
    counts = [row.counts for row in rows]
    columns = {
        "opened": ["" if c.opened is None else f"{c.opened:,}" for c in counts],
        "ended": [f"{c.ended:,}" for c in counts],
        "failed": [f"{c.failed:,}" for c in counts],
        "reset": [f"{c.reset:,}" for c in counts],
        "p50": [_time(c.connect_p50_seconds) for c in counts],
        "p99": [_time(c.connect_p99_seconds) for c in counts],
    }
    shown = {head: cells for head, cells in columns.items() if head not in without}
    filled = ([head, *cells] for head, cells in shown.items() if head == "opened" or any(cells))
    padded = ([cell.rjust(max(map(len, column))) for cell in column] for column in filled)
    return [(" " * _GAP).join(line) for line in zip(*padded, strict=True)]


def _time(seconds: float | None) -> str:
    return "" if seconds is None else idle_text(seconds)


def _details(row: ConnectionRow) -> Iterator[str]:
    """Where NAT leads to; the largest of the other ends, if there is more to say than the row has."""
    if row.answered_by:
        names = ", ".join(map(endpoint_name, row.answered_by))
        more = _more(row.answered_by_total - len(row.answered_by))
        here = ", ".join(side_label(side) for side in row.servers if side.workload and not side.by_address)
        here = f"; of these on this node: {here}" if here and row.answered_by_total > 1 else ""
        yield f"leads to {names}{more}{here}"
    for other in row.other_ends:
        where = "by" if row.server is not None else "to"
        said = ", ".join(brief(other.counts, of_server=row.server is None)) if row.other_ends_total > 1 else ""
        yield f"{where} {other.label}: {said}" if said else f"{where} {other.label}"
    left = row.other_ends_total - len(row.other_ends)
    if left:
        yield f"{count(left, 'more client' if row.server is not None else 'more endpoint')}"


def _more(number_of: int) -> str:
    return f" and {number_of:,} more" if number_of > 0 else ""
