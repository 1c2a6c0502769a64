"""What the counters of each network namespace rose by within a recording."""

from __future__ import annotations

from itertools import pairwise

import msgspec

from whodunnet.model.counters import GAUGES, Counters
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording


class CounterWindow(msgspec.Struct, frozen=True, kw_only=True):
    """From the first sample to the newest.

    rises: of namespaces that are in both and still the same; counters that did not rise are left out, see `rise`.
    begin, end: of the samples. missing: namespaces of the newest sample that have no rise, as they are new or were made
    anew. unread: namespaces whose counters could not be read in the newest.
    """

    begin: Moment
    end: Moment
    first: Counters
    last: Counters
    rises: dict[int, dict[str, int]]
    missing: int
    unread: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end.boot_seconds - self.begin.boot_seconds

    @property
    def hidden(self) -> int:
        """Namespaces that could not be read at its beginning either: one that ends meanwhile is unread only once."""
        return min(self.first.netns_unread, self.unread)

    def rise(self, *names: str) -> dict[int, int]:
        """By namespace how much these counters rose together, 0 included; empty if this kernel has none of them."""
        if not any(name in self.last.known for name in names):
            return {}
        return {netns: sum(rises.get(name, 0) for name in names) for netns, rises in self.rises.items()}

    def now(self, name: str) -> dict[int, int]:
        """By namespace the newest value of a counter or gauge."""
        values = {netns: self.last.value(netns, name) for netns in self.last.by_netns}
        return {netns: value for netns, value in values.items() if value is not None}


def counter_window(recording: Recording) -> CounterWindow | None:
    """None without two samples of counters: one reading cannot show a rise."""
    series = recording.series(Counters)
    if len(series) < 2:
        return None
    (begin, first), (end, last) = series[0], series[-1]
    samples = [sample for _, sample in series]
    rises = {}
    for netns in last.by_netns.keys() & first.by_netns.keys():
        found = _rises([s.by_netns[netns] for s in samples if netns in s.by_netns])
        if found is not None:
            rises[netns] = found
    return CounterWindow(
        begin=begin,
        end=end,
        first=first,
        last=last,
        rises=dict(sorted(rises.items())),
        missing=len(last.by_netns) - len(rises),
        unread=last.netns_unread,
    )


def _rises(readings: list[dict[str, int]]) -> dict[str, int] | None:
    """The rise of each counter; None if one of them fell: then another namespace has that number by now."""
    for before, then in pairwise(readings):
        if any(value > then.get(name, 0) for name, value in before.items() if name not in GAUGES):
            return None
    first, last = readings[0], readings[-1]
    risen = {name: value - first.get(name, 0) for name, value in last.items() if name not in GAUGES}
    return {name: value for name, value in risen.items() if value}
