"""The table of sockets by owner, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from whodunnet.report.json import encode
from whodunnet.report.owner import By
from whodunnet.report.owners import OwnerRow, OwnerTable, Totals
from whodunnet.report.quantity import count, pages, size

if TYPE_CHECKING:
    from rich.console import Console

    from whodunnet.report.layout import Sheet

_GAP = 2
_OWNER_ROOM = 30


def render_owner_json(table: OwnerTable) -> str:
    """One document: the rows with their full identities, the rest, and the totals."""
    return encode(table)


def render_owner_table(table: OwnerTable, console: Console) -> None:
    """Numbers at the left, the owner with its states behind them, what is unexplained at the end."""
    from whodunnet.report.layout import Sheet

    sheet = Sheet(console)
    rows = [*table.rows, *([table.rest] if table.rest else [])]
    lines = _aligned(rows)
    if sheet.width - len(lines[0]) < _OWNER_ROOM:
        lines = _aligned(rows, without="memory")
    hang = len(lines[0]) + _GAP
    sheet.write((table.by, "bold"), lead=(lines[0], "bold"), hang=hang)
    for row, line in zip(rows, lines[1:], strict=True):
        sheet.write(row.label, lead=line, hang=hang)
        counts = _counts(row, table.by)
        if counts:
            sheet.indented(hang).write((counts, "dim"))
    _write_totals(sheet, table)


def _aligned(rows: list[OwnerRow], without: str = "") -> list[str]:
    """The head and the numbers of every row, each column as wide as its widest cell."""
    columns = {
        "pages": [f"{row.pages:,}" for row in rows],
        "memory": [size(row.memory_bytes) for row in rows],
        "sockets": [f"{row.sockets:,}" for row in rows],
        "unread": [size(row.unread_bytes) for row in rows],
        "unsent": [size(row.unsent_bytes) for row in rows],
    }
    if any(row.growth_pages is not None for row in rows):
        columns["growth"] = [f"{row.growth_pages:+,}" if row.growth_pages else "0" for row in rows]
    columns.pop(without, None)
    filled = ([head, *cells] for head, cells in columns.items())
    padded = ([cell.rjust(max(map(len, column))) for cell in column] for column in filled)
    return [(" " * _GAP).join(line) for line in zip(*padded, strict=True)]


def _counts(row: OwnerRow, by: By) -> str:
    """ "4,790 established, 7 close-wait; 3 udp; +90 sockets"."""
    parts = [_joined(row.states) if by != "state" else "", _joined(row.others)]
    if row.growth_sockets:
        parts.append(f"{row.growth_sockets:+,} sockets")
    return "; ".join(filter(None, parts))


def _joined(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def _write_totals(sheet: Sheet, table: OwnerTable) -> None:
    totals, hang = table.totals, 13
    sheet.blank()
    found = f"{pages(totals.found_pages, table.page_size_bytes)}, {count(totals.found_sockets, 'TCP socket')}"
    apart = f"; beside them {totals.time_wait:,} in time-wait and {totals.request_sockets:,} requests, without memory"
    sheet.write(found + apart, lead=("Found", "bold"), hang=hang)
    if totals.lost:
        sheet.write(f"{totals.lost:,} could not be read", lead=("Lost", "bold yellow"), hang=hang)
    for blind_spot in totals.not_seen:
        sheet.write(blind_spot, lead=("Not seen", "bold"), hang=hang)
    sheet.write(_unexplained(totals), lead=("Unexplained", "bold"), hang=hang)


def _unexplained(totals: Totals) -> str:
    if totals.kernel_pages is None or totals.unexplained_pages is None or totals.drift_pages is None:
        return "unknown: the kernel's own totals were not read"
    within = "within" if abs(totals.unexplained_pages) <= totals.drift_pages else "more than"
    return (
        f"{totals.unexplained_pages:,} of the kernel's {totals.kernel_pages:,} pages "
        f"({within} the error of ±{totals.drift_pages:,} pages in the kernel's own count), "
        f"{totals.unexplained_sockets:,} of its {totals.kernel_sockets:,} sockets"
    )
