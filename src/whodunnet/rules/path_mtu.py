"""A path that swallows packets of full size without a word: large transfers hang, small messages pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from whodunnet.model.addresses import Addresses
from whodunnet.model.connection_places import Places
from whodunnet.model.connection_window import connection_window
from whodunnet.model.connections import Connections
from whodunnet.model.counter_window import CounterWindow, counter_window
from whodunnet.model.finding import Answer, Cleared, NotApplicable, NotChecked
from whodunnet.model.repeat_window import RepeatWindow, repeat_window
from whodunnet.model.retransmissions import Destination, Retransmissions
from whodunnet.model.snapshot import Recording
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.path_mtu_findings import RULE, Hole, compose
from whodunnet.rules.repeat_parties import reading

Place = tuple[int, str]
"""Network namespace and remote address."""
NO_ROOM = "TcpExt.TCPRcvQDrop"
"""Received segments for which there was no memory."""


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each address of each namespace to which nothing of full size gets through."""
    window, counters = repeat_window(recording), counter_window(recording)
    if window is None:
        reason = "one reading cannot show a segment that is repeated again and again: look for longer"
        return [NotChecked(rule=RULE, code="not-collected", reason=reason)]
    if not window.destinations and counters is not None and not sum(counters.rise("Tcp.OutSegs").values()):
        return [NotApplicable(rule=RULE, reason="no TCP segment was sent in this window")]
    stuck = {place: those for place, those in _by_address(window).items() if _is_stuck(those, entry)}
    opened = _opened(stuck, recording)
    holes = [hole for place in stuck if (hole := _hole(stuck[place], opened[place] or 0, entry)) is not None]
    innocent = [hole for hole in holes if not _lacks_memory(hole, recording, counters)]
    if innocent:
        innocent.sort(key=lambda hole: (hole.confidence == "possible", -hole.again, hole.first.key))
        most = int(entry.limit("listed_destinations"))
        return [compose(hole, window, counters, recording, entry) for hole in innocent[:most]]
    if holes:
        reason = (
            "full-size segments are repeated again and again to an address of this node, where TCP memory is short: "
            "that drops the same segments as a path that is too narrow, and hides one"
        )
        return [NotChecked(rule=RULE, code="unreadable", reason=reason)]
    if window.seconds < entry.limit("min_seconds") and not _any_again(window):
        reason = f"it shows after the third time-out of a segment, and this window has {window.seconds:.1f} s"
        return [NotChecked(rule=RULE, code="not-collected", reason=f"{reason}: look for longer")]
    return [_cleared(window, opened, entry)]


def _by_address(window: RepeatWindow) -> dict[Place, list[Destination]]:
    found: dict[Place, list[Destination]] = {}
    for d in window.destinations:
        found.setdefault(_place(d), []).append(d)
    return found


def _is_stuck(those: Sequence[Destination], entry: Entry) -> bool:
    """Full-size segments again and again, none of which got through or was refused; small ones not."""
    full, small = sum(d.again_full for d in those), sum(d.again_small for d in those)
    refused = sum(d.refused for d in those)
    return (
        2 * refused < full + small
        and full >= entry.limit("min_again")
        and not any(d.passed for d in those)
        and small <= entry.limit("small_share") * full
    )


def _hole(those: Sequence[Destination], opened: int, entry: Entry) -> Hole | None:
    """None where nothing shows that small segments pass: then nothing may pass at all."""
    heard = sum(min(d.heard, d.again_full) for d in those)
    sacked = sum(d.sacked for d in those)
    if not (heard or sacked or opened):
        return None
    stuck = sum(d.stuck for d in those)
    signs = (sacked > 0) + (heard > 0 or opened > 0) + (stuck >= entry.limit("several"))
    # Whoever on the way has forgotten several connections lets new ones pass as well.
    sure = signs >= 2 and sacked + heard > 0
    return Hole(tuple(those), "likely" if sure else "possible", heard, sacked, opened)


def _opened(stuck: Iterable[Place], recording: Recording) -> dict[Place, int | None]:
    """Connects to each that were answered, three small segments each, after its segments had been seen to be stuck.

    Those before tell nothing: a peer that went away meanwhile answered them. None: no reading followed to show any.
    """
    first: dict[Place, int] = {}
    for n, snapshot in enumerate(recording.snapshots):
        sample = snapshot.samples.get("retransmissions")
        for d in sample.destinations if isinstance(sample, Retransmissions) else ():
            if d.again_full:
                first.setdefault(_place(d), n)
    begins = {place: first.get(place) for place in stuck}
    since = {n: _opened_since(n, recording) for n in set(begins.values()) if n is not None}
    found: dict[Place, int | None] = {}
    for place, begin in begins.items():
        counted = since[begin] if begin is not None else None
        found[place] = None if counted is None else counted[place]
    return found


def _opened_since(first: int, recording: Recording) -> Counter[Place] | None:
    """Connects that were answered, by where they went, from this snapshot on; None where no other one followed."""
    read = [s for s in recording.snapshots[first:] if isinstance(s.samples.get("connections"), Connections)]
    if len(read) < 2:
        return None
    window = connection_window(replace(recording, snapshots=(read[0], read[-1])))
    counted: Counter[Place] = Counter()
    for g in window.total.groups if window is not None else ():
        if g.ending == "opened" and g.server.address is not None:
            counted[g.netns, g.server.address] += g.connections
    return counted


def _place(destination: Destination) -> Place:
    """A path has no ports."""
    return destination.netns, destination.remote


def _lacks_memory(hole: Hole, recording: Recording, counters: CounterWindow | None) -> bool:
    """The far end is, or may be, on this node, and this node is short of TCP memory."""
    places = Places([sample for _, sample in recording.series(Addresses)])
    if not places.is_local(hole.first.remote):
        return False
    m = recording.last(TcpMemory)
    short = m is not None and (
        m.under_pressure is True or (m.pressure_pages is not None and m.used_pages >= m.pressure_pages)
    )
    dropped = counters is not None and any(counters.rise(NO_ROOM).values())
    return short or dropped


def _any_again(window: RepeatWindow) -> bool:
    return any(d.again_full or d.again_small for d in window.destinations)


def _cleared(window: RepeatWindow, opened: Mapping[Place, int | None], entry: Entry) -> Cleared:
    """opened: of each address that is stuck."""
    reach = (
        f"{entry.limit('min_again'):.0f} or more repeats of full-size segments to one address after the third time-out "
        f"or a later one, which takes about 1.4 s of this window of {window.seconds:.1f} s, while none gets through"
    )
    unseen = sum(connects is None for connects in opened.values())
    if gone := len(opened) - unseen:
        reach += f"; addresses to which nothing else was seen to get through, which may not be there at all: {gone:,}"
    if unseen:
        reach += (
            "; addresses to which nothing else was seen to get through, with no reading after that to show whether "
            f"connects there are answered: {unseen:,}"
        )
    full = sum(d.full for d in window.destinations)
    again, passed = sum(d.again_full for d in window.destinations), sum(d.passed for d in window.destinations)
    return Cleared(
        rule=RULE,
        sensitivity=reach,
        evidence=(
            reading(window, "Full-size segments that were repeated", full, "segments"),
            reading(window, "Of those after the third time-out or a later one", again, "segments"),
            reading(window, "Full-size segments that got through after a repeat, and were seen to", passed, "segments"),
        ),
    )
