"""Segments of TCP that have to be sent again, to one destination far more than to the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from whodunnet.model.counter_window import CounterWindow, counter_window
from whodunnet.model.finding import Answer, Cleared, Evidence, NotApplicable, NotChecked
from whodunnet.model.repeat_window import RepeatWindow, repeat_window
from whodunnet.model.retransmissions import Destination, Retransmissions
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.queue_evidence import counted
from whodunnet.rules.repeat_parties import endpoint_words, reading
from whodunnet.rules.retransmit_findings import RULE, Lossy, compose, compose_everywhere

CHANCE: Final = 5
"""So many repeats would be expected of others at the same share; of fewer there may be none by chance."""


class Others(NamedTuple):
    """Everybody else, on the node's other ways. sent: segments to them all.

    share: repeated of those to most of them: more than half of the segments went where it is no larger. One of many to
    whom much is repeated too says nothing of the rest.
    """

    share: float
    sent: int


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each destination that stands out; one for all where none does and all are bad."""
    window = repeat_window(recording)
    if window is None:
        return [_one_reading(recording)]
    counters = counter_window(recording)
    if not window.destinations and counters is not None and not sum(counters.rise("Tcp.OutSegs").values()):
        return [NotApplicable(rule=RULE, reason="no TCP segment was sent in this window")]
    bad = [d for d in window.destinations if _is_bad(d, window, entry)]
    others = _others(window, bad)
    compared = others.sent >= max(entry.limit("min_others"), _enough(bad))
    worst = sorted(bad, key=lambda d: (-d.repeated, d.key))
    out = [d for d in worst if compared and share_of(d) >= entry.limit("others_ratio") * others.share]
    if not compared and len(worst) == 1:
        out = worst
    if out:
        most = int(entry.limit("listed_destinations"))
        left_out, share = max(len(out) - most, 0), others.share if compared else None
        listed = [Lossy(d, _shape(d), share, others.sent, left_out) for d in out[:most]]
        return [compose(one, window, recording, entry) for one in listed]
    if len(worst) > 1:
        return [compose_everywhere(worst, window, recording, entry)]
    return [_cleared(window, counters, entry)]


def share_of(d: Destination) -> float:
    """Of the segments sent there, those that were sent again."""
    return min(d.repeated / max(d.sent, d.repeated, 1), 1.0)


def _enough(bad: Sequence[Destination]) -> float:
    """Segments to others that chance alone does not spare."""
    return CHANCE / min((share_of(d) for d in bad), default=1.0)


def _is_bad(d: Destination, window: RepeatWindow, entry: Entry) -> bool:
    return (
        d.repeated >= entry.limit("min_repeated")
        and share_of(d) >= entry.limit("min_share")
        and (is_silent(d) or window.lasting(d) >= entry.limit("lasting_ratio"))
    )


def _others(window: RepeatWindow, bad: Sequence[Destination]) -> Others:
    """All but the bad ones. A silent one tells nothing of the way to others, so it is in neither."""
    named = {d.key for d in bad}
    rest = [d for d in window.destinations if d.key not in named and not is_silent(d)]
    parts = sorted([(0.0, window.elsewhere), *((share_of(d), d.sent) for d in rest)])
    sent = sum(n for _, n in parts)
    return Others(next((share for share, below in _summed(parts) if 2 * below > sent), 0.0), sent)


def _summed(parts: Sequence[tuple[float, int]]) -> Iterator[tuple[float, int]]:
    """Each share, and the segments that went where it is no larger."""
    return zip((share for share, _ in parts), accumulate(n for _, n in parts), strict=True)


def is_silent(d: Destination) -> bool:
    """Nothing came back for several time-outs, and nearly nothing was repeated because anybody asked for it."""
    again = d.again_full + d.again_small
    return again > 0 and d.heard == d.refused == d.passed == d.sacked == 0 and 10 * d.fast <= d.repeated


def _shape(d: Destination) -> str:
    if is_silent(d):
        return "silent"
    if 2 * d.duplicates >= d.repeated:
        return "needless"
    return "timeouts" if 2 * d.timeouts >= d.repeated else "lost"


def _one_reading(recording: Recording) -> Answer:
    newest = recording.last(Retransmissions)
    n = sum(d.repeated for d in newest.destinations) if newest else 0
    reason = f"one reading cannot show how many segments are repeated in which time ({n:,} since it began to watch)"
    return NotChecked(rule=RULE, code="not-collected", reason=f"{reason}: look for longer")


def _cleared(window: RepeatWindow, counters: CounterWindow | None, entry: Entry) -> Cleared:
    reach = (
        f"{entry.limit('min_repeated'):.0f} or more segments repeated to one destination, if they are "
        f"{100 * entry.limit('min_share'):g} % of those sent there and come throughout the window of "
        f"{window.seconds:.1f} s; to {len(window.destinations):,} destinations anything was repeated at all"
    )
    if window.other:
        reach += f"; {window.other:,} segments repeated to destinations for which there was no room"
    return Cleared(rule=RULE, sensitivity=reach, evidence=(*_most(window), *_totals(window, counters)))


def _most(window: RepeatWindow) -> list[Evidence]:
    if not window.destinations:
        return []
    d = max(window.destinations, key=lambda d: (d.repeated, d.key))
    text = f"Most segments repeated to one destination, {endpoint_words(d)}, {100 * share_of(d):.3g} % of those sent"
    return [reading(window, text, d.repeated, "segments", d)]


def _totals(window: RepeatWindow, counters: CounterWindow | None) -> list[Evidence]:
    found = [reading(window, "Segments repeated to all destinations, without SYNs", window.repeated, "segments")]
    if counters is not None:
        text = "Segments that the kernel counts as repeated, SYNs included, in all namespaces"
        found += [
            counted(counters, "Tcp.RetransSegs", None, text, unit="segments"),
            counted(counters, "Tcp.OutSegs", None, "Segments that it counts as sent", unit="segments"),
        ]
    return found
