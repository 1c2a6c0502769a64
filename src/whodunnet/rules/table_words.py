"""Plain words for a finding about the table: why it shows as it does, and what could not be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from whodunnet.rules.catalogue import Entry
from whodunnet.rules.flood_cases import Flood
from whodunnet.rules.flood_openers import Opener, Openers
from whodunnet.rules.flood_texts import exact_label, half_open, label, reuse, shared, translated
from whodunnet.rules.identity import short_name
from whodunnet.rules.table_pods import Meeting
from whodunnet.rules.table_state import State
from whodunnet.rules.table_window import TableWindow


def explanation_of(
    window: TableWindow,
    now: Openers | None,
    flood: Flood | None,
    meeting: Meeting | None,
    state: State,
    shape: str | None,
    entry: Entry,
) -> tuple[str, ...]:
    """What a full table does; the kind; what is special here; what is not known."""
    lines = list(entry.explanation[state.severity])
    if shape is not None:
        lines += entry.shapes[shape].explanation
    if flood is not None:
        for opener in flood.openers:
            lines += _of_opener(opener)
        lines += [flood.unseen] if flood.unseen is not None else []
    if meeting is not None and now is not None:
        lines.append(_meeting(meeting))
    if shape == "spread" and now is not None:
        lines += _half_open(now)
    return (*lines, *_gaps(window, now))


def _of_opener(opener: Opener) -> Iterator[str]:
    unsure = shared(opener)
    if unsure is not None:
        yield unsure
        return
    by_translation = translated(opener)
    if by_translation is not None:
        yield by_translation
    few = reuse(opener)
    if few is not None:
        yield few
    if opener.owner.kind == "remote":
        yield (
            f"{label(opener.owner)} is the sender as seen from here: behind a router, a proxy, a name server or "
            "another node's address translation there may be many."
        )
        if 2 * opener.unproven > opener.wasteful:
            yield "A sender that completes no handshake can invent its address."
    if opener.doubt is not None:
        yield (
            f"Only network namespace {opener.owner.netns} has the address {label(opener.owner)}, so these entries were "
            f"opened in it or behind it, whoever did it: {opener.doubt}."
        )
    if 2 * opener.inferred > opener.wasteful:
        yield (
            f"That these entries are of {exact_label(opener.owner)} is inferred: their sockets are gone, and it is the "
            "only one that was seen with sockets to that destination, or that made nearly all connects to it."
        )


def _meeting(meeting: Meeting) -> str:
    names = ", ".join(short_name(workload) for workload, _ in meeting.pods)
    return (
        f"{len(meeting.pods)} of the top {meeting.ranked} pods by entries on this node are of one workload ({names}); "
        f"together they take part in {meeting.entries:,} entries. On nodes of their own each has only its part."
    )


def _half_open(now: Openers) -> Iterator[str]:
    states: Counter[str] = Counter()
    for g in now.reading.table.groups:
        states[g.state] += g.entries
    told = half_open(states)
    if told is not None:
        yield told


def _gaps(window: TableWindow, now: Openers | None) -> Iterator[str]:
    """Why nobody, or less, is known."""
    failures = [r.table.dump_failure for r in window.readings if r.table.dump_failure is not None]
    if now is None and failures:
        yield f"Entries could not be read, so nobody can be named: {failures[-1].reason}."
    elif now is None:
        yield "Entries were read only when there were clearly fewer of them, so nobody can be named."
    elif now.reading.addresses is None:
        yield "Addresses were not read, so nobody can be named."
    elif now.reading.stale:
        yield "Addresses were last read long before or after these entries: somebody else may have had them then."
    elif now.reading.addresses.netns_unread:
        yield (
            f"The addresses of {now.reading.addresses.netns_unread} network namespaces could not be read: who looks "
            "remote may be in one of them."
        )
