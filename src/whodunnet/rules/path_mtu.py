"""A path that swallows packets of full size without a word: large transfers hang, small messages pass."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from whodunnet.model.addresses import Addresses
from whodunnet.model.connection_places import Places
from whodunnet.model.connection_window import ConnectionWindow, connection_window
from whodunnet.model.counter_window import CounterWindow, counter_window
from whodunnet.model.finding import Answer, Cleared, NotApplicable, NotChecked
from whodunnet.model.repeat_window import RepeatWindow, repeat_window
from whodunnet.model.retransmissions import Destination, Retransmissions
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.path_mtu_findings import RULE, Hole, compose
from whodunnet.rules.repeat_parties import reading

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
    stuck = [those for those in _by_address(window).values() if _is_stuck(those, entry)]
    holes = [hole for those in stuck if (hole := _hole(those, recording, entry)) is not None]
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
    return [_cleared(window, stuck, recording, entry)]


def _by_address(window: RepeatWindow) -> dict[tuple[int, str], list[Destination]]:
    """A path has no ports."""
    found: dict[tuple[int, str], list[Destination]] = {}
    for d in window.destinations:
        found.setdefault((d.netns, d.remote), []).append(d)
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


def _hole(those: Sequence[Destination], recording: Recording, entry: Entry) -> Hole | None:
    """None where nothing shows that small segments pass: then nothing may pass at all."""
    heard = sum(min(d.heard, d.again_full) for d in those)
    sacked = sum(d.sacked for d in those)
    opened = _opened(those, recording)
    if not (heard or sacked or opened):
        return None
    stuck = sum(d.stuck for d in those)
    signs = (sacked > 0) + (heard > 0 or opened > 0) + (stuck >= entry.limit("several"))
    # Whoever on the way has forgotten several connections lets new ones pass as well.
    sure = signs >= 2 and sacked + heard > 0
    return Hole(tuple(those), "likely" if sure else "possible", heard, sacked, opened)


def _opened(those: Sequence[Destination], recording: Recording) -> int:
    """Connects to it that were answered, three small segments each, after its segments had been seen to be stuck.

    Those before tell nothing: a peer that went away meanwhile answered them.
    """
    since, first = _since_stuck(those, recording), those[0]
    return sum(
        g.connections
        for g in (since.total.groups if since is not None else ())
        if g.ending == "opened" and g.netns == first.netns and g.server.address == first.remote
    )


def _since_stuck(those: Sequence[Destination], recording: Recording) -> ConnectionWindow | None:
    """How connects went from the first reading on that shows it; None where no other one followed."""
    stuck = [n for n, snapshot in enumerate(recording.snapshots) if _is_seen_stuck(those, snapshot)]
    since = connection_window(replace(recording, snapshots=recording.snapshots[stuck[0] :])) if stuck else None
    return since if since is not None and since.parts else None


def _is_seen_stuck(those: Sequence[Destination], snapshot: Snapshot) -> bool:
    sample, keys = snapshot.samples.get("retransmissions"), {d.key for d in those}
    return isinstance(sample, Retransmissions) and any(d.again_full for d in sample.destinations if d.key in keys)


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


def _cleared(
    window: RepeatWindow, stuck: Sequence[Sequence[Destination]], recording: Recording, entry: Entry
) -> Cleared:
    reach = (
        f"{entry.limit('min_again'):.0f} or more repeats of full-size segments to one address after the third time-out "
        f"or a later one, which takes about 1.4 s of this window of {window.seconds:.1f} s, while none gets through"
    )
    unseen = sum(_since_stuck(those, recording) is None for those in stuck)
    if gone := len(stuck) - unseen:
        reach += f"; to {gone:,} addresses nothing else gets through either, so that they may not be there at all"
    if unseen:
        reach += (
            f"; to {unseen:,} addresses nothing else was seen to get through, and no reading followed that would show "
            "whether connects there are answered"
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
