"""Whether something goes on through a window: what ended in each part of it, pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

from msgspec.structs import replace

from whodunnet.model.connection_pairs import Pair
from whodunnet.model.connection_window import PARTS, ConnectionWindow, identity
from whodunnet.model.connections import Connections
from whodunnet.rules.catalogue import Entry

TIME_LEAST = 1 / 6
"""A time at which it came has so many of the failures of the worst."""


class Parts:
    """The groups of each part of a window."""

    def __init__(self, growths: Sequence[Connections]) -> None:
        self._parts = [{identity(g): g for g in part.groups} for part in growths]

    def of(self, pair: Pair) -> list[Pair]:
        """The same pair, for each part with what the end that is seen had in it alone."""
        keys = [identity(g) for g in pair.seen]
        found = []
        for part in self._parts:
            groups = tuple(part[key] for key in keys if key in part)
            found.append(replace(pair, here=groups, there=()) if pair.here else replace(pair, there=groups))
        return found


ByPart = Callable[[Parts], tuple[Sequence[int], Sequence[int]]]
"""In each part what fails, and that of how many."""


class Lasting(NamedTuple):
    """What goes on through every part of a window. sure: whether readings are enough to say that it lasts."""

    parts: tuple[int, ...]
    sure: bool


class Course:
    """What goes on through a window, and what was only for a moment."""

    def __init__(self, window: ConnectionWindow, entry: Entry) -> None:
        self._window, self._entry = window, entry
        self._parts, self._outer = Parts(window.parts), Parts(window.outer)

    @cached_property
    def _steps(self) -> Parts:
        return Parts([step.growth for step in self._window.steps])

    def lasting(self, by_part: ByPart) -> Lasting | None:
        """None where a part has none, or where it is over."""
        failed, made = by_part(self._parts)
        parted = len(failed) >= PARTS
        if lasts(failed, made, self._entry):
            return Lasting(tuple(failed), parted or lasts(*by_part(self._outer), self._entry))
        if parted and all(failed) and comes_again(*by_part(self._steps), self._entry):
            return Lasting(tuple(failed), sure=True)
        return None


def lasts(failed: Sequence[int], made: Sequence[int], entry: Entry) -> bool:
    """Whether every part of the window has failures, and in the last one about the share of all: it still goes on."""
    if not failed or not all(failed):
        return False
    return failed[-1] * sum(made) >= entry.limit("lasting_ratio") * sum(failed) * made[-1]


def comes_again(failed: Sequence[int], made: Sequence[int], entry: Entry) -> bool:
    """Whether steps with the share of all, or more, come before and after one with less than about that.

    What comes and goes may be better in the last part, as its length is no multiple of theirs. A start that is over, or
    one restart, comes once; a few failures of a quiet moment are no second time.
    """
    share, times, worse = sum(failed) / max(sum(made), 1), [0], False
    for n, of in zip(failed, made, strict=True):
        if n and n >= share * of:
            times, worse = times if worse else [*times, 0], True
            times[-1] += n
        elif n < entry.limit("lasting_ratio") * share * of:
            worse = False
    return sum(n >= TIME_LEAST * max(times) for n in times[1:]) > 1


def added(rows: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Part by part, over all pairs."""
    return tuple(map(sum, zip(*rows, strict=True)))
