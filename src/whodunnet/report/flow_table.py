"""The table of tracked connections, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from whodunnet.report.flow_gaps import Attribution
from whodunnet.report.flow_head import entries_text, head_lines
from whodunnet.report.flow_rows import FlowAnswer, FlowDestination, FlowRow
from whodunnet.report.flow_subject import NOT_KEPT, FlowView, destination_name
from whodunnet.report.flows import FlowTable
from whodunnet.report.json import encode
from whodunnet.report.owner import workload_label
from whodunnet.report.protocols import protocol_name
from whodunnet.report.quantity import percent

if TYPE_CHECKING:
    from rich.console import Console

    from whodunnet.report.layout import Sheet

NOT_LOADED = "This kernel tracks no connections: nf_conntrack is not loaded, so no table can be full here."
HANG = 13
_GAP = 2
_OWNER_ROOM = 30
_COMMANDS_SHOWN = 3
_SMALL_SHARE = 0.05


def render_flow_json(table: FlowTable) -> str:
    """One document: the rows with their full identities, the rest, and what has no owner."""
    return encode(table)


def render_flow_table(table: FlowTable, console: Console) -> None:
    """How full it is; numbers at the left, the owner with its destinations behind them; what has no owner."""
    from whodunnet.report.layout import Sheet

    sheet = Sheet(console)
    if not table.loaded:
        sheet.write(NOT_LOADED)
        return
    for lead, text in head_lines(table):
        sheet.write(text, lead=(lead, "bold"), hang=HANG)
    if table.rows:
        sheet.blank()
        _write_rows(sheet, table)
    if table.attribution is not None and table.answers and table.attribution.entries:
        sheet.blank()
        _write_attribution(sheet, table.attribution)


def _write_rows(sheet: Sheet, table: FlowTable) -> None:
    rows = [*table.rows, *([table.rest] if table.rest else [])]
    lines = _aligned(rows)
    if sheet.width - len(lines[0]) < _OWNER_ROOM:
        lines = _aligned(rows, without="ratio")
    hang, commands = len(lines[0]) + _GAP, _COMMANDS_SHOWN
    inner = sheet.indented(lines[0].index("entries") + len("entries") + _GAP)
    sheet.write((table.by, "bold"), lead=(lines[0], "bold"), hang=hang)
    for row, line in zip(rows, lines[1:], strict=True):
        sheet.write(row.label, lead=line, hang=hang)
        for detail in _counts(row, table.by):
            inner.write((detail, "dim"))
        for detail in _ends(row):
            inner.write((detail, "dim"), lead=("-", "dim"), hang=2)
        if row.find_command is not None and commands > 0:
            commands -= 1
            inner.command(row.find_command)


def _aligned(rows: Sequence[FlowRow], without: str = "") -> list[str]:
    """The head and the numbers of every row, each column as wide as its widest cell; empty columns are left out."""
    columns = {
        "entries": [f"{row.entries:,}" for row in rows],
        "unreplied": [_cell(row.unreplied) for row in rows],
        "open": [_cell(row.open_sockets) for row in rows],
        "ratio": [_ratio(row.entries_per_socket) for row in rows],
        "growth": ["" if row.growth is None else f"{row.growth:+,}" if row.growth else "0" for row in rows],
    }
    columns.pop(without, None)
    filled = ([head, *cells] for head, cells in columns.items() if head == "entries" or any(cells))
    padded = ([cell.rjust(max(map(len, column))) for cell in column] for column in filled)
    return [(" " * _GAP).join(line) for line in zip(*padded, strict=True)]


def _cell(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _counts(row: FlowRow, by: FlowView) -> Iterator[str]:
    """ "29,850 time-wait, 150 established; 30 udp"."""
    parts = (
        [_joined(row.states), _joined({protocol_name(p): n for p, n in row.others.items()})]
        if by not in ("state", "protocol")
        else []
    )
    if row.inferred:
        parts.append(f"{row.inferred:,} of them inferred")
    if row.destinations_total > len(_shown(row)):
        parts.append(f"{row.destinations_total:,} destinations")
    counts = "; ".join(filter(None, parts))
    if counts:
        yield counts


def _ends(row: FlowRow) -> Iterator[str]:
    """Its largest destinations; of a destination who answers there, and who asks."""
    yield from map(_destination, _shown(row))
    if row.answers_total:
        yield _answers(row.answers, row.answers_total, row.entries)
    if row.openers:
        names = [f"{name} ({entries:,})" for name, entries in row.openers.items()]
        yield f"opened by {', '.join(names)}{_more(row.openers_total - len(names))}"


def _shown(row: FlowRow) -> tuple[FlowDestination, ...]:
    """The largest, and what is not small beside it."""
    return tuple(to for n, to in enumerate(row.destinations) if n == 0 or to.entries >= row.entries * _SMALL_SHARE)


def _destination(to: FlowDestination) -> str:
    protocol, name = protocol_name(to.protocol), destination_name(to.endpoint)
    named = f" ({workload_label(to.workload)})" if to.workload is not None else ""
    facts = [f"{to.unreplied:,} unreplied"] if to.unreplied and to.unreplied != to.entries else []
    facts += ["all unreplied"] if to.unreplied == to.entries else []
    facts += [f"{to.open_sockets:,} open"] if to.open_sockets is not None else []
    facts += [_answers(to.answers, to.answers_total, to.entries)] if to.answers_total else []
    what = f"{protocol} to {name}" if to.endpoint == NOT_KEPT else f"to {name} {protocol}"
    return ", ".join([f"{to.entries:,} {what}{named}", *facts])


def _answers(answers: Sequence[FlowAnswer], total: int, entries: int) -> str:
    """entries: of the destination; where one endpoint has them all, their number need not be said again."""
    heard = ", ".join(_answer(answer, entries) for answer in answers if answer.replied)
    silent = ", ".join(_answer(answer, entries) for answer in answers if not answer.replied)
    parts = [f"answered by {heard}"] if heard else []
    parts += [f"sent to {silent}, no reply"] if silent else []
    return ", ".join(parts) + _more(total - len(answers))


def _answer(answer: FlowAnswer, entries: int) -> str:
    name = destination_name(answer.endpoint)
    parts = [workload_label(answer.workload)] if answer.workload is not None else []
    if answer.entries != entries:
        parts.append(f"{answer.entries:,}")
    if 0 < answer.replied < answer.entries:
        parts.append(f"{answer.entries - answer.replied:,} without reply")
    return f"{name} ({', '.join(parts)})" if parts else name


def _more(number_of: int) -> str:
    return f" and {number_of:,} more" if number_of > 0 else ""


def _joined(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number_of:,} {name}" for name, number_of in counts.items())


def _write_attribution(sheet: Sheet, attribution: Attribution) -> None:
    named = f"{attribution.named:,} of {entries_text(attribution.entries)} by somebody on this node"
    parts = [f"{named} ({percent(attribution.named, attribution.entries)})"]
    parts += [f"{attribution.inferred:,} of them inferred"] if attribution.inferred else []
    parts += [f"{attribution.by_pods:,} by pods that --pods names"] if attribution.by_pods else []
    sheet.write(", ".join(parts), lead=("Named", "bold"), hang=HANG)
    for sentence in attribution.not_seen:
        sheet.write(sentence, lead=("Not seen", "bold"), hang=HANG)
    if not attribution.unnamed:
        sheet.write("nothing", lead=("Not named", "bold"), hang=HANG)
    for position, part in enumerate(attribution.unnamed):
        sheet.write(f"{part.entries:,} {part.why}", lead=("" if position else "Not named", "bold"), hang=HANG)
