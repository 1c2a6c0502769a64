"""The comparison for a person: what it compares, the largest change in a line, the owners, then the node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from whodunnet.model.text import clean
from whodunnet.report.comparison import Comparison, Sight
from whodunnet.report.json import encode
from whodunnet.report.node_changes import CounterChange, CounterChanges, Setting, TotalChange
from whodunnet.report.owner_changes import Held, OwnerChange, OwnerChanges
from whodunnet.report.quantity import amount, clock, count, duration, number, percent, size

if TYPE_CHECKING:
    from rich.console import Console

    from whodunnet.report.layout import Sheet

HANG = 13
_GAP = "  "
_STYLES = {"new": "bold red", "grew": "red", "gone": "green", "shrank": "green", "changed": ""}
_TOTALS = {
    "used_bytes": "TCP memory",
    "alloc_sockets": "TCP sockets",
    "orphans": "orphans",
    "time_wait_sockets": "time-wait",
    "tracked_connections": "tracked",
}
_COUNTERS_SHOWN = 16
WORTH_A_WORD = 0.01
"""A smaller part of a limit is not mentioned."""


def render_comparison_json(comparison: Comparison) -> str:
    """One document, schema whodunnet/comparison/v1."""
    return encode(comparison)


def render_comparison(comparison: Comparison, console: Console) -> None:
    """What is compared, what makes it compare badly, who changed, what of the node changed."""
    from whodunnet.report.layout import Sheet

    sheet = Sheet(console)
    _write_sights(sheet, comparison)
    if comparison.owners:
        _write_most(sheet, comparison.owners, comparison.seconds)
    _write_warnings(sheet, comparison)
    if comparison.owners:
        _write_owners(sheet, comparison.owners, comparison.by)
    if comparison.totals:
        _write_totals(sheet, comparison.totals)
    if comparison.settings:
        _write_settings(sheet, comparison.settings)
    if comparison.counters:
        _write_counters(sheet, comparison.counters)
    _write_gaps(sheet, comparison)


def _write_sights(sheet: Sheet, comparison: Comparison) -> None:
    before, after = comparison.before, comparison.after
    near = before.at if comparison.same_node else None
    sheet.write(f"{clock(before.at)}, {_machine(before)}", lead=("Before", "bold"), hang=HANG)
    apart = f", {duration(comparison.seconds)} later" if comparison.seconds is not None else ""
    machine = "the same boot" if comparison.same_boot else _machine(after)
    sheet.write(f"{clock(after.at, near)}{apart}, {machine}", lead=("After", "bold"), hang=HANG)


def _machine(sight: Sight) -> str:
    return f"{clean(sight.node.hostname)}, kernel {clean(sight.node.kernel)}"


def _write_most(sheet: Sheet, owners: OwnerChanges, seconds: float | None) -> None:
    """The line for whoever reads only one: what grew most, else what shrank most."""
    grown = [row for row in owners.rows if row.change in ("new", "grew")]
    if not owners.rows:
        sheet.write("nothing: every owner holds what it held", lead=("Changed", "bold"), hang=HANG)
        return
    row = (grown or owners.rows)[0]
    within = f" in {duration(seconds)}" if seconds is not None else ""
    sheet.write((f"{row.label}: {_summary(row)}{within}", "bold"), lead=("Most", "bold"), hang=HANG)


def _summary(row: OwnerChange) -> str:
    """ "grew by 31.0 GiB, 4,771 sockets", "new, with 12.0 MiB, 3 sockets"."""
    more = row.difference
    parts = [size(abs(more.memory_bytes))] if more.memory_bytes else []
    parts += [count(abs(more.sockets), "socket")] if more.sockets else []
    if more.memory_bytes * more.sockets < 0:
        parts = [_signed_size(more.memory_bytes), f"{more.sockets:+,} sockets"]
    word = {"new": "new, with", "gone": "gone, with", "grew": "grew by", "shrank": "shrank by"}
    return f"{word[row.change]} {', '.join(parts)}" if parts else row.change


def _write_warnings(sheet: Sheet, comparison: Comparison) -> None:
    for note in comparison.notes:
        sheet.write(note, lead=("Careful", "bold yellow"), hang=HANG)
    for part in comparison.not_compared:
        sheet.write((part.subject, "bold"), f": {part.reason}", lead=("Not compared", "bold yellow"), hang=HANG + 1)


def _write_owners(sheet: Sheet, owners: OwnerChanges, by: str) -> None:
    """Numbers at the left, what happened and who behind them."""
    rows = [*owners.rows, *([owners.rest] if owners.rest else [])]
    sheet.blank()
    if rows:
        lines = _aligned(rows)
        hang = len(lines[0]) + len(_GAP)
        sheet.write((by, "bold"), lead=(lines[0], "bold"), hang=hang)
        for row, line in zip(rows, lines[1:], strict=True):
            sheet.write(row.label, lead=line, hang=hang)
            sheet.indented(hang).write((row.change, _STYLES[row.change]), *_details(row))
    if owners.unchanged:
        sheet.write(f"{owners.unchanged:,} hold what they held", lead=("Unchanged", "bold"), hang=HANG)


def _details(row: OwnerChange) -> Iterator[tuple[str, str]]:
    """ "; +4,764 established, +7 close-wait; unread +13.4 GiB"."""
    more = row.difference
    parts = ["restarted" if row.restarted else "", _signed_counts(more.states), _signed_counts(more.others)]
    parts += [f"unread {_signed_size(more.unread_bytes)}" if more.unread_bytes else ""]
    parts += [f"unsent {_signed_size(more.unsent_bytes)}" if more.unsent_bytes else ""]
    text = "; ".join(filter(None, parts))
    if text:
        yield f"; {text}", "dim"


def _aligned(rows: Sequence[OwnerChange]) -> list[str]:
    """The head and the numbers of every row, each column as wide as its widest cell."""
    table = [["memory", "change", "sockets", "change"], *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [_GAP.join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table]


def _cells(row: OwnerChange) -> list[str]:
    now: Held | None = row.after
    more = row.difference
    return [
        size(now.memory_bytes if now else 0),
        _signed_size(more.memory_bytes),
        f"{now.sockets if now else 0:,}",
        _signed(more.sockets),
    ]


def _write_totals(sheet: Sheet, totals: Sequence[TotalChange]) -> None:
    """Before, after and change in columns; the fill of a limit behind them."""
    shown = [total for total in totals if total.name in _TOTALS]
    table = [["kernel", "before", "after", "change"], *([_TOTALS[t.name], *_readings(t)] for t in shown)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sheet.blank()
    for position, cells in enumerate(table):
        first, *numbers = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        line = _GAP.join([cells[0].ljust(len(first)), *numbers])
        fill = _fill(shown[position - 1]) if position else ""
        sheet.write((fill, "dim"), lead=(line, "" if position else "bold"), hang=len(line) + len(_GAP))


def _readings(total: TotalChange) -> list[str]:
    values = (total.before, total.after)
    if total.unit == "bytes":
        return [*map(size, values), _signed_size(total.difference or 0)]
    return [*(f"{value:,}" for value in values), _signed(total.difference or 0)]


def _fill(total: TotalChange) -> str:
    """ "40 %, then 101 % of its limit"; nothing far below a limit."""
    if not total.limit_before or not total.limit_after:
        return ""
    if max(total.before / total.limit_before, total.after / total.limit_after) < WORTH_A_WORD:
        return ""
    before, after = percent(total.before, total.limit_before), percent(total.after, total.limit_after)
    return f"{after} of its limit" if before == after else f"{before}, then {after} of its limit"


def _write_settings(sheet: Sheet, settings: Sequence[Setting]) -> None:
    sheet.heading("Settings that differ")
    for setting in settings:
        values = f"{_shown(setting.before, setting.unit)} before, {_shown(setting.after, setting.unit)} after"
        sheet.indented(2).write((setting.name, "bold"), f": {values}")


def _shown(value: int | str | bool | None, unit: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and unit in ("", "sockets"):
        return f"{value:,}"
    if isinstance(value, int) and unit == "pages":
        return f"{value:,} pages"
    return amount(clean(value) if isinstance(value, str) else value, unit)


def _write_counters(sheet: Sheet, counters: CounterChanges) -> None:
    """One line for each counter, all its namespaces together, and where most of it was."""
    named: dict[str, list[CounterChange]] = {}
    for row in counters.rows:
        named.setdefault(row.counter, []).append(row)
    sheet.heading(f"Counters that grew, in {count(counters.compared, 'network namespace')}")
    for name, rows in list(named.items())[:_COUNTERS_SHOWN]:
        total, rate = sum(row.difference for row in rows), sum(row.per_second for row in rows)
        most = f"; {rows[0].difference:,} of them in {_place(rows[0])}" if len(rows) > 1 else f" in {_place(rows[0])}"
        sheet.indented(2).write((name, "bold"), f": +{total:,} ({number(rate)} per second){most}")
    if not named:
        sheet.indented(2).write("none")
    if counters.apart:
        apart = f"{count(counters.apart, 'network namespace')} not in both, or made anew: not compared"
        sheet.indented(2).write((apart, "dim"))


def _place(row: CounterChange) -> str:
    return f"netns {row.netns} ({row.place})" if row.place else f"netns {row.netns}"


def _write_gaps(sheet: Sheet, comparison: Comparison) -> None:
    """What failed or was lost in either snapshot."""
    before, after = (dict.fromkeys(_gaps(sight)) for sight in (comparison.before, comparison.after))
    if before or after:
        sheet.heading("Gaps")
    for line in before | after:
        when = "in both" if line in before and line in after else "before" if line in before else "after"
        sheet.indented(2).write((when, "bold"), f": {line}")


def _gaps(sight: Sight) -> Iterator[str]:
    for name, failure in sight.failures.items():
        yield f"{name} failed: {failure.reason}"
    if sight.lost:
        yield f"{sight.lost:,} sockets could not be read"
    for blind_spot in sight.not_seen:
        yield f"not seen: {blind_spot}"


def _signed(value: int) -> str:
    return f"{value:+,}" if value else "0"


def _signed_size(value: int) -> str:
    return f"+{size(value)}" if value > 0 else size(value)


def _signed_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value:+,} {name}" for name, value in counts.items())
