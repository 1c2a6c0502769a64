"""Whether something goes on through a window: what ended in each part of it, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from whodunnet.model.connection_pairs import Pair
from whodunnet.model.connection_window import ConnectionWindow, identity
from whodunnet.rules.catalogue import Entry


class Parts:
    """The groups of each part of a window."""

    def __init__(self, window: ConnectionWindow) -> None:
        self._parts = [{identity(g): g for g in part.groups} for part in window.parts]

    def of(self, pair: Pair) -> list[Pair]:
        """The same pair, for each part with what the end that is seen had in it alone."""
        keys = [identity(g) for g in pair.seen]
        found = []
        for part in self._parts:
            groups = tuple(part[key] for key in keys if key in part)
            found.append(replace(pair, here=groups, there=()) if pair.here else replace(pair, there=groups))
        return found


def lasts(failed: Sequence[int], made: Sequence[int], entry: Entry) -> bool:
    """Whether every part of the window has failures, and in the last one about the share of all: it still goes on."""
    if not failed or not all(failed):
        return False
    return failed[-1] * sum(made) >= entry.limit("lasting_ratio") * sum(failed) * made[-1]


def added(rows: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Part by part, over all pairs."""
    return tuple(map(sum, zip(*rows, strict=True)))
