"""How often packets had to wait for those before them: one burst is one time, however many waits it shows as."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from whodunnet.model.stalls import Stall

JOINED_SECONDS: Final = 0.01
"""The next packet is followed at the sample after the one that has left (follow_backlog), and RPS spreads a burst."""
STANDING: Final = 3
"""Of one burst each wait is twice the one before, two of the longest together; with more of them the queue stands."""
MOST: Final = 1_000
"""Times that one queue is counted: recordings come from strangers."""
LASTING_SHARE: Final = 0.3
"""Of the window: waits as long as that fit into it once or twice at most, however often they come."""


def began(stall: Stall) -> float:
    return stall.ended_boot_seconds - stall.wait_seconds


def burst_waits(stalls: Iterable[Stall]) -> list[float]:
    """Seconds of the longest wait of each burst on any CPU; of a queue that stands, once for each time it fits in."""
    found: list[float] = []
    since = until = longest = float("-inf")
    for stall in sorted(stalls, key=began):
        if began(stall) > until + JOINED_SECONDS:
            found += _times(since, until, longest)
            since, until, longest = began(stall), stall.ended_boot_seconds, stall.wait_seconds
        until, longest = max(until, stall.ended_boot_seconds), max(longest, stall.wait_seconds)
    return found + _times(since, until, longest)


def _times(since: float, until: float, longest: float) -> list[float]:
    if longest <= 0:
        return []
    fits = round(min((until - since) / longest, MOST))
    return [longest] * (fits if fits >= STANDING else 1)
