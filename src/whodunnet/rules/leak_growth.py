"""When within the window the number of sockets grew: what goes on, and what came of late or at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from whodunnet.model.connection_places import SAME_START_SECONDS
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.tally import Candidate
from whodunnet.rules.window import Window

EVEN_SHARE = 0.5
"""Growth goes on if each part of the time has this share of what all would have alike, or more."""
OLD_SHARE = 0.5
"""Growth is of who was there before the window if this share of it is."""
THIRDS = 3
"""What comes at once may fall into two parts, but not into three."""


def goes_on(c: Candidate) -> bool:
    """It grew in both halves of the window."""
    halves = _growth(c, 2)
    return halves is not None and _is_even(halves)


def least_third(c: Candidate) -> tuple[int, bool] | None:
    """The growth in the third of the window with least, and whether that is enough to go on: else it came in bursts, or
    is over. None where readings are too few for thirds.
    """
    thirds = _growth(c, THIRDS)
    return (min(thirds), _is_even(thirds)) if thirds is not None else None


def late_growth(c: Candidate) -> int:
    """By how much it grew in the second half, if it grew in that one only; else 0."""
    halves = _growth(c, 2)
    if halves is None or _is_even(halves) or min(halves) == halves[1]:
        return 0
    return max(halves[1], 0)


def goes_on_of_late(c: Candidate, entry: Entry, window: Window) -> bool:
    """It grew in the second half only, but all the time, and all whose it is were there before the window.

    A client that was started anew opens all that it wants, and one that has more to do opens more at once.
    """
    middle = borders(_times(c), 2)
    if not late_growth(c) or middle is None or window.seconds < entry.limit("held_open_window"):
        return False
    thirds, were_there = _growth(c, THIRDS, since=middle[1]), [_is_old(c, window, pid) for pid in c.last.pids]
    return thirds is not None and _is_even(thirds) and bool(were_there) and all(were_there)


def growth_of_old(c: Candidate, window: Window) -> int:
    """By how much it grew in processes known to have begun before: who just did still opens all that it wants.

    Who is gone since was there before: what it had may have another owner now, which is no growth.
    """
    first, last = c.series[0][1].pids, c.last.pids
    of_old = sum(n - first[pid] for pid, n in last.items() if _is_old(c, window, pid))
    return max(of_old - sum(n for pid, n in first.items() if pid not in last), 0)


def _is_old(c: Candidate, window: Window, pid: int) -> bool:
    """Whether it is known that a process began before the window."""
    began = window.began_by_pid.get(pid)
    return began is not None and began <= c.series[0][0].boot_seconds - SAME_START_SECONDS


def borders(times: Sequence[float], parts: int) -> list[int] | None:
    """Snapshots where parts of equal time begin and end; None where one has none within half of its length.

    times: of the snapshots, in seconds.
    """
    length = (times[-1] - times[0]) / parts
    found = [0]
    for n in range(1, parts):
        at = times[0] + n * length
        nearest = min(range(len(times)), key=lambda i: (abs(times[i] - at), -i))
        if abs(times[nearest] - at) > length / 2 or nearest in (found[-1], len(times) - 1):
            return None
        found.append(nearest)
    return [*found, len(times) - 1]


def _growth(c: Candidate, parts: int, since: int = 0) -> list[int] | None:
    """In each of so many parts of the time from a snapshot on."""
    found = borders(_times(c)[since:], parts)
    if found is None:
        return None
    return [c.counts[since + end] - c.counts[since + begin] for begin, end in pairwise(found)]


def _is_even(parts: Sequence[int]) -> bool:
    return min(parts) >= EVEN_SHARE * sum(parts) / len(parts)


def _times(c: Candidate) -> list[float]:
    return [at.boot_seconds for at, _ in c.series]
