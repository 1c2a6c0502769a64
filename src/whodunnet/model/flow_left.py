"""How many entries that outlived their sockets the connects of a window account for: by age, else by pace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec

from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint

LONGEST_SECONDS = 120
"""The kernel's own longest timeout of a closed connection, where that in force was not read."""
ACCOUNTED_LEAST = 0.5
"""Of these entries: whose connects account for fewer did not leave them behind, whoever did."""

TRIED_LEAST = 10
"""Fewer SYNs than this that were sent again, and dropped, are no habit."""


class Connects(msgspec.Struct, frozen=True):
    """Of one owner from one address to one destination, within so many seconds.

    opened: or refused: each leaves an entry.
    again: SYNs sent again, at most as many as packets were dropped meanwhile: in a table that is full most connects are
    only tried. Where there is room, these tell of the server.
    """

    opened: int
    again: int
    seconds: float

    @property
    def pace(self) -> float:
        """Entries a second that they left."""
        return self.opened / self.seconds

    @property
    def tried(self) -> float:
        """Entries a second that they would have left in a table with room."""
        return (self.opened + self.again) / self.seconds


class Left(msgspec.Struct):
    """Entries of TCP of one source and destination whose sockets are gone.

    ages: as FlowGroup.ages. ageless: of unknown age. longest: seconds for which any of them stays. needed, for_ageless:
    how many a second it takes to keep as many, of all and of the ageless.
    """

    ages: list[int] = msgspec.field(default_factory=lambda: [0] * (len(AGE_BOUNDS_SECONDS) + 1))
    ageless: int = 0
    longest: int = 1
    needed: float = 0.0
    for_ageless: float = 0.0

    def add(self, g: FlowGroup, timeout: int) -> None:
        """One more group. timeout: seconds for which such entries stay."""
        for i, n in enumerate(g.ages):
            self.ages[i] += n
        self.ageless += _ageless(g)
        self.longest = max(self.longest, timeout)
        self.needed += g.entries / max(timeout, 1)
        self.for_ageless += _ageless(g) / max(timeout, 1)

    def of(self, g: FlowGroup, made: Connects) -> int:
        """How many of a group these connects account for: of each age by itself, in a full table of all together."""
        entries, shares = sum(self.ages) + self.ageless, [*self._shares(made)]
        ageless, whole = _share(made.pace, self.for_ageless), _share(made.tried, self.needed) if made.again else 0.0
        found = _weighed(self.ages, shares) + self.ageless * ageless
        if max(found, entries * whole) < ACCOUNTED_LEAST * entries:
            return 0
        if found < entries * whole:
            return round(g.entries * whole)
        return min(round(_weighed(g.ages, shares) + _ageless(g) * ageless), g.entries)

    def may_be_all(self, made: Connects, dropped: int) -> bool:
        """Whether there was no room, and these connects go on, or would have left all if none had been dropped.

        Who waits for an answer tries more seldom than it would.
        """
        if made.again >= TRIED_LEAST:
            return True
        return dropped > 0 and (made.opened + dropped) / made.seconds >= ACCOUNTED_LEAST * self.needed

    def _shares(self, made: Connects) -> Iterator[float]:
        """By age: as many as were opened are of the window; of older ones as many as the same pace left.

        The window may begin within an age: of that only as many were opened as are not of a younger one.
        """
        bounds = [min(bound, self.longest) for bound in (0, *AGE_BOUNDS_SECONDS, self.longest)]
        of_window = sum(n for n, until in zip(self.ages, bounds[1:], strict=True) if until <= made.seconds)
        rest = max(made.opened - of_window, 0)
        for n, (since, until) in zip(self.ages, pairwise(bounds), strict=True):
            if until <= made.seconds:
                yield _share(made.opened, of_window)
            else:
                older = made.pace * (until - max(since, made.seconds))
                yield _share(min(made.pace * (until - since), older + rest), n)


def _ageless(g: FlowGroup) -> int:
    """Recordings come from strangers: ages may be more than entries."""
    return max(g.idle_unknown, 0)


def _weighed(ages: Iterable[int], shares: Iterable[float]) -> float:
    return sum(n * share for n, share in zip(ages, shares, strict=False))


def _share(most: float, of: float) -> float:
    return min(most / of, 1.0) if of else 1.0


def left_in(conntrack: Conntrack, with_socket: frozenset[str]) -> dict[tuple[str, Endpoint], Left]:
    """By source and destination. with_socket: states in which the opener still has the socket."""
    found: dict[tuple[str, Endpoint], Left] = {}
    for g in conntrack.groups:
        if g.protocol == "tcp" and g.state not in with_socket and g.destination is not None:
            timeout = conntrack.timeouts.get(f"tcp_timeout_{g.state.replace('-', '_')}", LONGEST_SECONDS)
            found.setdefault((g.source, g.destination), Left()).add(g, timeout)
    return found
