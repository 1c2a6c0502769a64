"""Whether connections were watched so that a rule can judge them; else why not, with what counters say."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from whodunnet.model.connection_pairs import Pairs, pairs_of
from whodunnet.model.connections import Connections, Ending
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import Entry

TOO_FEW = "too-few-readings"
"""Code of "not checked" of a rule that has found something, and cannot tell whether it lasts."""


def watched(recording: Recording, rule: str, counters: Sequence[str]) -> Pairs | NotChecked:
    """counters: the kernel's own that rise with what the rule is about."""
    last = recording.last(Connections)
    assert last is not None  # the collector is required
    if last.method != "bpf":
        return _without_bpf(recording, last, rule, counters)
    pairs = pairs_of(recording)
    assert pairs is not None
    if not pairs.window.parts or pairs.window.seconds <= 0:
        reason = "one reading cannot show how connections end: look for longer"
        return NotChecked(rule=rule, code="not-collected", reason=reason)
    return pairs


def too_few(rule: str) -> NotChecked:
    """Beside a finding that readings make a mere possibility: it would be a warning if it lasted."""
    reason = (
        "connections were read fewer than four times, or at too uneven times, to tell what lasts from what came at "
        "once: look for longer"
    )
    return NotChecked(rule=rule, code=TOO_FEW, reason=reason)


def _without_bpf(recording: Recording, last: Connections, rule: str, counters: Sequence[str]) -> NotChecked:
    risen = _rises(recording, counters)
    why = last.fallback_reason or "the program could not be loaded"
    told = ", ".join(f"{name} by {n:,}" for name, n in risen.items()) or "none of the kernel's counters of it"
    span = "of this node rose meanwhile" if risen else "rose meanwhile"
    return NotChecked(
        rule=rule,
        code="unsupported" if last.missing_capability is None else "missing-capability",
        missing_capability=last.missing_capability,
        reason=f"who connects to whom, and how it ends, is seen by BPF only ({why}); {told} {span}",
    )


def _rises(recording: Recording, names: Sequence[str]) -> dict[str, int]:
    """Of all namespaces that were read at the begin and at the end."""
    series = [sample for _, sample in recording.series(Connections) if sample.counters]
    if len(series) < 2:
        return {}
    first, last = series[0].counters, series[-1].counters
    found = {
        name: sum(
            max(counted.get(name, 0) - first[netns].get(name, 0), 0)
            for netns, counted in last.items()
            if netns in first
        )
        for name in names
    }
    return {name: n for name, n in found.items() if n}


def ungrouped(pairs: Pairs, *endings: Ending) -> int:
    """What ended so (in any way, if none is said) and of which neither client nor time is known.

    It was merged for lack of room, or fitted in no group at all.
    """
    total = pairs.window.total
    merged = [g for g in total.groups if g.client is None and not g.spans]
    lost = [*((g.ending, g.connections) for g in merged), *total.other.items()]
    return sum(n for ending, n in lost if not endings or ending in endings)


def unless_lost(cleared: Cleared, pairs: Pairs, entry: Entry, endings: Sequence[Ending]) -> Cleared | NotChecked:
    """The same with how many of the connects that ended so were only counted; nobody is cleared if they are too many.

    Fewer than `min_failed` would not have made a finding.
    """
    lost, total = ungrouped(pairs, *endings), pairs.window.total
    every = sum(g.connections for g in total.groups if g.ending in endings)
    every += sum(total.other.get(ending, 0) for ending in endings)
    if lost >= entry.limit("min_failed") and lost > entry.limit("lost_share") * every:
        kinds = f"{', '.join(endings[:-1])} or {endings[-1]}" if len(endings) > 1 else endings[0]
        reason = f"{lost:,} of {every:,} connects that were counted as {kinds} found no room with their client and time"
        return NotChecked(rule=cleared.rule, code="unreadable", reason=reason)
    if not lost:
        return cleared
    counted = f"{cleared.sensitivity}; {lost:,} of {every:,} that failed were only counted"
    return replace(cleared, sensitivity=counted)
