"""What stands above the table of tracked connections: how full, whether it grows, what was lost, how it was read."""

from __future__ import annotations

from collections.abc import Iterator

from whodunnet.report.flow_gaps import reason_of
from whodunnet.report.flows import Elsewhere, Fill, FlowTable, How
from whodunnet.report.quantity import count, duration, number, percent

_LOSSES = {
    "drop": "dropped",
    "early_drop": "thrown out early",
    "insert_failed": "not inserted",
}
"""What the kernel's counters of lost packets and entries count."""


def head_lines(table: FlowTable) -> Iterator[tuple[str, str]]:
    """Each line with what stands before it."""
    if table.fill is not None:
        yield "Table", _fill(table.fill)
        yield "Trend", _trend(table.fill)
        yield "Lost", _losses(table.fill)
    if table.elsewhere is not None and (table.elsewhere.namespaces or table.elsewhere.unread):
        yield "Elsewhere", _elsewhere(table.elsewhere)
    if table.how is not None:
        yield "Read by", _how(table.how)


def _fill(fill: Fill) -> str:
    entries = "unknown how many" if fill.entries is None else f"{fill.entries:,}"
    if fill.max_entries is None:
        limit = "entries; the maximum is not known"
    elif fill.max_entries <= 0:
        limit = "entries, without limit"
    else:
        share = f" ({percent(fill.entries, fill.max_entries)})" if fill.entries is not None else ""
        limit = f"of {fill.max_entries:,} entries{share}"
    buckets = f", {count(fill.buckets, 'bucket')}" if fill.buckets is not None else ""
    return f"{entries} {limit}{buckets}"


def _trend(fill: Fill) -> str:
    if fill.growth is None or not fill.seconds:
        return "unknown from one reading; --for 10s shows it"
    if not fill.growth:
        return f"as many as {duration(fill.seconds)} before"
    return f"{fill.growth:+,} in {duration(fill.seconds)} ({_rate(fill.growth, fill.seconds)})"


def _rate(value: int, seconds: float) -> str:
    rate = value / seconds
    return f"{'+' if rate > 0 else ''}{number(round(rate, 1))} a second"


def _losses(fill: Fill) -> str:
    known = {name: value for name, value in fill.statistics.items() if name in _LOSSES}
    if not known:
        return "unknown: the kernel's counters were not read"
    since = ", ".join(f"{known[name]:,} {word} ({name})" for name, word in _LOSSES.items() if known.get(name))
    whole = f"{since or 'nothing'} since the table was made"
    if fill.statistics_growth is None or not fill.seconds or not since:
        return whole
    grown = fill.statistics_growth
    now = ", ".join(f"{grown[name]:,} {word}" for name, word in _LOSSES.items() if grown.get(name))
    return f"{now or 'nothing'} in {duration(fill.seconds)}; {whole}"


def _elsewhere(elsewhere: Elsewhere) -> str:
    if not elsewhere.namespaces:
        return f"unknown: {count(elsewhere.unread, 'other network namespace')} could not be read"
    where = count(elsewhere.namespaces, "other network namespace")
    most = ""
    if elsewhere.largest is not None and elsewhere.namespaces > 1:
        most = f", most of them {elsewhere.largest_entries:,} in {elsewhere.largest}"
    unread = f"; {elsewhere.unread:,} more could not be read" if elsewhere.unread else ""
    hint = "; --by netns lists them" if elsewhere.entries else ""
    return f"{entries_text(elsewhere.entries)} in {where}{most}{unread}{hint}"


def _how(how: How) -> str:
    if how.dump_failure is not None:
        return f"nothing: the entries could not be read, only counted: {reason_of(how.dump_failure)}"
    if how.method is None:
        return "the counter alone: there was nothing to read"
    parts = [f"{how.method}, {entries_text(how.entries)} in {duration(round(how.seconds, 3))}"]
    parts[0] += _beside_count(how)
    parts += [f"{how.merged:,} of them merged without port or destination"] if how.merged else []
    parts += [f"{how.other:,} left out for lack of room"] if how.other else []
    parts += [f"{how.malformed:,} malformed"] if how.malformed else []
    parts += (
        [f"begun again {count(how.overruns, 'time')}, for the kernel lost a part or was slow"] if how.overruns else []
    )
    if how.interrupted:
        parts.append(f"the table changed meanwhile ({count(how.interrupted, 'answer')}): some may be missing or twice")
    return "; ".join(parts)


def _beside_count(how: How) -> str:
    """The table lives while it is read, so the dump has not what the counter said before it."""
    if how.counted is None or how.counted == how.entries:
        return ""
    if how.entries < how.counted:
        return f", {how.counted - how.entries:,} fewer than counted: they expired or ended meanwhile"
    return f", {how.entries - how.counted:,} more than counted: they came meanwhile"


def entries_text(number_of: int) -> str:
    """ "1 entry", "2,112 entries"."""
    return f"{number_of:,} {'entry' if number_of == 1 else 'entries'}"
