"""How much a live view prints, and how much CPU it takes, in one second."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

Clock = Callable[[], float]


class LineLimit:
    """Room for so many lines a second; what finds none is counted by kind."""

    def __init__(self, lines: int, clock: Clock = time.monotonic) -> None:
        self._lines, self._clock = lines, clock
        self._second, self._used = clock(), 0
        self._hidden: Counter[str] = Counter()

    def has_room(self, kind: str) -> bool:
        """Whether a line may be shown now."""
        if self._is_over():
            self._second, self._used = self._clock(), 0
        self._used += 1
        if self._used <= self._lines:
            return True
        self._hidden[kind] += 1
        return False

    def hidden(self, *, at_end: bool = False) -> Counter[str] | None:
        """What had no room, once its second is over, and only once."""
        if not self._hidden or not (at_end or self._is_over()):
            return None
        hidden, self._hidden = self._hidden, Counter()
        return hidden

    def _is_over(self) -> bool:
        return self._clock() - self._second >= 1


class Rest:
    """Keeps this process below a share of one CPU."""

    def __init__(self, share: float, clock: Clock = time.monotonic, cpu: Clock = time.process_time) -> None:
        self._share, self._clock, self._cpu = share, clock, cpu
        self._begin, self._used = clock(), cpu()

    def seconds(self) -> float:
        """How long to do nothing now: until the second is over, if its share is used up."""
        now = self._clock()
        if now - self._begin >= 1:
            self._begin, self._used = now, self._cpu()
        if self._cpu() - self._used < self._share:
            return 0.0
        return max(0.0, self._begin + 1 - now)
