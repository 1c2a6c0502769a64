"""What a watch of the conntrack table prints: a line for each change, what was left out, and a summary at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from whodunnet.model.bounds import Count, Instant, Seconds
from whodunnet.model.flow_event import FlowEvent, Kind
from whodunnet.model.text import clean
from whodunnet.model.workload import Pod, Workload
from whodunnet.report.flow_subject import Subject, subject_label
from whodunnet.report.identity import endpoint_name, pod_name
from whodunnet.report.json import encode
from whodunnet.report.owner import workload_label
from whodunnet.report.protocols import NAMES
from whodunnet.report.quantity import count, duration, size, utc

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "whodunnet/conntrack-event/v1"
KINDS: tuple[Kind, ...] = ("new", "changed", "gone")
OPENERS_KEPT = 4096
OPENERS_SHOWN = 20

_COLUMNS = "{:<12}  {:<7}  {:<7}  {:<11}  {:>8}  {:>9}  {:<40}  {}"
_HEAD = _COLUMNS.format("time (UTC)", "what", "proto", "state", "idle", "bytes", "opener", "asked by -> for -> answers")
_SHORT = {"node": "node", "remote": "not on this node", "ambiguous": "several namespaces", "unread": "not looked up"}


class FlowLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="event"):
    """One change. at: when we read it.

    opener: who opened the entry. answerer: the pod, container or program on this node that answers. answerer_pods: by
    --pods, whoever has the address that answers. idle_seconds: since data went either way, as a socket of this node
    tells it when one end has closed; None where no socket does.
    """

    schema: str = SCHEMA
    at: Instant
    event: FlowEvent
    opener: Subject
    answerer: Workload | None = None
    answerer_pods: tuple[Pod, ...] = ()
    idle_seconds: Seconds | None = None


class NotShown(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="not-shown"):
    """Changes that match and have no line, because there were too many in one second."""

    schema: str = SCHEMA
    at: Instant
    events: dict[str, Count]


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="lost"):
    """What the kernel had no room to keep for us, since the watch began. messages: None where it does not tell."""

    schema: str = SCHEMA
    at: Instant
    overruns: Count
    messages: Count | None = None


class OpenerCount(msgspec.Struct, frozen=True, kw_only=True):
    """Changes of one opener's entries."""

    opener: Subject
    events: dict[str, Count]


class WatchSummary(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="summary"):
    """All of a watch. events: those that match, by kind. filtered_out: those that do not.

    openers: most changes first; other_events: of openers beyond those that are kept. not_shown: matched, no line.
    unasked: idle times not asked for, because there were too many at once. names_failure: why openers have no names.
    not_read: which addresses of this node are not known, so that whoever has one is not found here.
    """

    schema: str = SCHEMA
    at: Instant
    seconds: Seconds
    events: dict[str, Count]
    filtered_out: Count = 0
    not_shown: Count = 0
    overruns: Count = 0
    lost: Count | None = None
    malformed: Count = 0
    unasked: Count = 0
    names_failure: str | None = None
    not_read: tuple[str, ...] = ()
    openers: tuple[OpenerCount, ...] = ()
    other_events: Count = 0


Line = FlowLine | NotShown | Lost | WatchSummary


class OpenerCounts:
    """Changes by opener and kind, of at most so many openers."""

    def __init__(self) -> None:
        self.other_events = 0
        self._subjects: dict[str, Subject] = {}
        self._counts: dict[str, Counter[str]] = {}

    def add(self, key: str, opener: Subject, kind: Kind, formerly: str | None = None) -> None:
        """key: the same for the same opener. formerly: the key it had before anybody looked who it is."""
        earlier = self._counts.pop(formerly, None) if formerly not in (None, key) else None
        if key not in self._counts:
            if len(self._counts) >= OPENERS_KEPT:
                self.other_events += 1 + (earlier.total() if earlier else 0)
                return
            self._counts[key] = Counter()
        self._subjects[key] = opener
        self._counts[key][kind] += 1
        self._counts[key].update(earlier or {})

    def rows(self) -> tuple[OpenerCount, ...]:
        """Most changes first."""
        order = sorted(self._counts, key=lambda key: (-self._counts[key].total(), key))
        return tuple(OpenerCount(opener=self._subjects[key], events=by_kind(self._counts[key])) for key in order)


def by_kind(counts: Counter[str]) -> dict[str, int]:
    """All kinds in their order, those that were not there as 0."""
    return {kind: counts[kind] for kind in KINDS}


def render_json_line(line: Line) -> str:
    """One JSON document in one line."""
    return msgspec.json.format(encode(line), indent=-1)


def render_head() -> str:
    """The names of the columns."""
    return _HEAD


def render_line(line: FlowLine | NotShown | Lost) -> str:
    """One line of text, cleaned; the columns before the opener never move."""
    match line:
        case NotShown():
            what = ", ".join(f"{number:,} {kind}" for kind, number in line.events.items() if number)
            return f"{_time(line.at)}  … {sum(line.events.values()):,} more ({what})"
        case Lost():
            return f"{_time(line.at)}  lost so far: {_lost(line.overruns, line.messages)}"
    event = line.event
    idle = "unknown" if line.idle_seconds is None else duration(round(line.idle_seconds, 1))
    moved = "-" if event.bytes is None else size(event.bytes)
    cells = (
        event.kind,
        NAMES.get(event.protocol, event.protocol),
        _state(event),
        idle,
        moved,
        opener_label(line.opener),
        _flow(line),
    )
    return _COLUMNS.format(_time(line.at), *(clean(cell) for cell in cells)).rstrip()


def opener_label(opener: Subject) -> str:
    """The opener in a few words; its address stands in another column."""
    if opener.workload is not None:
        return workload_label(opener.workload)
    if opener.pods:
        return " or ".join(map(pod_name, opener.pods))
    if opener.perhaps_here:
        return "not found here"
    return _SHORT.get(opener.kind or "", f"netns {opener.netns}")


def render_summary(summary: WatchSummary, console: Console, filters: Iterable[str] = ()) -> None:
    """What there was, what is missing, and who had how many changes."""
    from whodunnet.report.layout import Sheet

    sheet = Sheet(console)
    sheet.blank()
    for lead, text in _facts(summary, tuple(filters)):
        sheet.write(text, lead=(lead, "bold"), hang=13)
    if not summary.openers:
        return
    sheet.blank()
    sheet.write(("opener", "bold"), lead=(_numbers(*KINDS), "bold"), hang=30)
    for row in summary.openers[:OPENERS_SHOWN]:
        sheet.write(subject_label(row.opener), lead=_numbers(*(f"{n:,}" for n in row.events.values())), hang=30)
    rest = summary.openers[OPENERS_SHOWN:]
    others = sum(sum(row.events.values()) for row in rest) + summary.other_events
    if others:
        more = " or more" if summary.other_events else ""
        sheet.write(f"of {count(len(rest), 'other opener')}{more}", lead=f"{others:>28,}", hang=30)


def _facts(summary: WatchSummary, filters: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    total = sum(summary.events.values())
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in summary.events.items())
    yield "Watched", f"{duration(round(summary.seconds, 1))}, {count(total, 'change')}: {kinds}"
    if filters:
        yield "Filtered", f"{summary.filtered_out:,} more did not match {' '.join(filters)}"
    if summary.not_shown:
        yield "Not shown", f"{count(summary.not_shown, 'change')}, to keep the output readable; filters help"
    if summary.overruns or summary.lost:
        yield "Lost", f"{_lost(summary.overruns, summary.lost)}; the sums are too low by as many"
    if summary.malformed:
        yield "Malformed", f"{count(summary.malformed, 'message')} of the kernel could not be decoded"
    if summary.unasked:
        yield "Idle", f"{count(summary.unasked, 'connection')} closed too close together to ask all their sockets"
    if summary.names_failure:
        yield "Names", f"not known: {summary.names_failure}"
    for gap in summary.not_read:
        yield "Not seen", f"{gap}; whoever has those appears as not found here"


def _lost(overruns: int, messages: int | None) -> str:
    lost = "an unknown number of messages" if messages is None else count(messages, "message")
    return f"{lost} in {count(overruns, 'overrun')}"


def _numbers(*cells: str) -> str:
    return "  ".join(f"{cell:>8}" for cell in cells)


def _time(at: datetime) -> str:
    return utc(at).isoformat(timespec="milliseconds")[11:23]


def _state(event: FlowEvent) -> str:
    """The state; of protocols without one whether there was a reply; of offloaded entries nobody is told."""
    if event.offloaded:
        return "offloaded"
    if event.state == "none":
        return "replied" if event.replied else "unreplied"
    return event.state or "unknown"


def _flow(line: FlowLine) -> str:
    """Who asked, for what, and who answers, if that is another one."""
    event = line.event
    parts = [endpoint_name(event.source), endpoint_name(event.destination)]
    if event.translated:
        parts.append(endpoint_name(event.answered_by))
    text = " -> ".join(parts)
    answerer = _answerer(line)
    text = f"{text} ({answerer})" if answerer else text
    return f"{text}, zone {event.zone}" if event.zone else text


def _answerer(line: FlowLine) -> str:
    if line.answerer is not None:
        return workload_label(line.answerer)
    return " or ".join(map(pod_name, line.answerer_pods))
