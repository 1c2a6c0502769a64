"""The sentences below a chart: what it cannot show, and what the reader must know to trust it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from whodunnet.report.chart_axis import named_quantity, quantity
from whodunnet.report.chart_clock import Clock, moment
from whodunnet.report.chart_columns import What
from whodunnet.report.quantity import clock as clock_time
from whodunnet.report.quantity import count, duration

LimitFacts = tuple[str, Sequence[int | None], bool]
"""Name, value at each column, and whether it is drawn."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """found, kernel: the sums at the last column; None where not read."""

    what: What
    limits: Sequence[LimitFacts]
    times: Sequence[float]
    snapshots: int
    unread: int
    unread_reason: str
    clock: Clock
    found: int | None
    kernel: int | None
    reboots: int
    gaps: int


def notes(facts: Facts) -> Iterator[str]:
    """The ones that matter most first."""
    yield from _limit_notes(facts)
    yield from _remainder(facts)
    yield "Who holds it need not have caused it: whodunnet replay follows it to its origin."
    if facts.unread:
        of = f"in {facts.unread:,} of {count(facts.snapshots, 'snapshot')}"
        yield f"Owners were not read {of}: {facts.unread_reason.rstrip('.')}."
    if facts.reboots:
        times = "once" if facts.reboots == 1 else f"{facts.reboots:,} times"
        yield f"The node was rebooted {times}; growth counts from the last boot."
    if facts.gaps:
        yield f"{count(facts.gaps, 'gap')}, where nothing was recorded."
    yield from _clock_steps(facts)
    if facts.snapshots > len(facts.times):
        yield (
            f"{facts.snapshots:,} snapshots in {len(facts.times):,} columns; a column shows its snapshot with the "
            "largest total."
        )


def _limit_notes(facts: Facts) -> Iterator[str]:
    if facts.what == "sockets":
        return
    if not facts.limits:
        yield "The limits (tcp_mem) could not be read."
    far = [f"{name} is at {_last(values, facts.what)}" for name, values, drawn in facts.limits if not drawn]
    if far:
        yield f"tcp_mem: {' and '.join(', '.join(far).rsplit(', ', 1))}, above this chart."
    for name, values, _ in facts.limits:
        yield from _changes(name, values, facts)


def _changes(name: str, values: Sequence[int | None], facts: Facts) -> Iterator[str]:
    """The newest change of one limit."""
    known = [(seconds, value) for seconds, value in zip(facts.times, values, strict=True) if value is not None]
    for (_, before), (seconds, after) in reversed(list(pairwise(known))):
        if before != after:
            when = clock_time(moment(seconds))
            change = f"from {quantity(before, facts.what)} to {quantity(after, facts.what)}"
            yield f"tcp_mem {name} was changed {change} before {when}."
            return


def _last(values: Sequence[int | None], what: What) -> str:
    return quantity(next(value for value in reversed(values) if value is not None), what)


def _remainder(facts: Facts) -> Iterator[str]:
    if facts.kernel is None:
        yield "The kernel's own total was not read at the end."
    elif facts.found is not None:
        missing = facts.kernel - facts.found
        amount = quantity(abs(missing), facts.what)
        than = f"{amount} {'more' if missing > 0 else 'less'} than was found with owners" if missing else "all found"
        yield f"At the end the kernel counts {named_quantity(facts.kernel, facts.what)}, {than}."


def _clock_steps(facts: Facts) -> Iterator[str]:
    steps = facts.clock.steps
    if steps:
        size = f"{'forward' if facts.clock.largest_step > 0 else 'back'} by {duration(abs(facts.clock.largest_step))}"
        times = "once" if steps == 1 else f"{steps:,} times, most"
        yield f"The wall clock was set {times} {size}; times before that are as if it had been right already."
