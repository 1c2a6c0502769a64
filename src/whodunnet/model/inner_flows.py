"""Who is behind a network namespace that opens connections for others by its own address (masquerading).

A table shows the sender as the namespace before it let it out. In the table of that namespace the same entry has the
address that was there before the translation.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack, FlowGroup


class InnerFlows:
    """What the tables of other namespaces tell of the entries of one Conntrack sample."""

    def __init__(self, conntrack: Conntrack, addresses: Addresses | None) -> None:
        self._conntrack = conntrack
        self._devices = addresses.by_netns if addresses is not None else {}
        self._entries: Counter[str] = Counter()
        for group in conntrack.groups:
            self._entries[group.source] += group.entries
        self._exact: dict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
        self._merged: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
        self._all: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
        for netns, groups in conntrack.inner.items():
            for group in groups:
                self._add(netns, group)
        self._missing = self._without_match()

    def _add(self, netns: int, group: FlowGroup) -> None:
        """A group of another namespace's own table."""
        left_as = group.source_as or group.source
        self._all[netns, left_as][group.source] += group.entries
        if group.destination is None:
            self._merged[netns, left_as][group.source] += group.entries
        else:
            to = group.answered_by or group.destination
            self._exact[netns, left_as, group.protocol, to][group.source] += group.entries

    def _without_match(self) -> Counter[tuple[int, str]]:
        """Entries whose destination is not in the other table, where that has some without any."""
        found: Counter[tuple[int, str]] = Counter()
        for netns in {netns for netns, _ in self._merged}:
            for group in self._conntrack.groups:
                place = netns, group.source
                if place in self._merged and group.destination is not None and self._exact_of(netns, group) is None:
                    found[place] += group.entries
        return found

    def _exact_of(self, netns: int, group: FlowGroup) -> Counter[str] | None:
        return self._exact.get((netns, group.source, group.protocol, group.destination))

    def _weights(self, netns: int, group: FlowGroup) -> Counter[str]:
        """Entries of the namespace's own table that may be those of a group, by address.

        A destination that is not in it is one of those merged, unless these are too few: then entries have ended there
        that are still in ours.
        """
        if group.destination is not None:
            exact = self._exact_of(netns, group)
            merged = self._merged.get((netns, group.source), Counter())
            if exact is not None:
                return exact
            if 2 * merged.total() >= self._missing[netns, group.source] and merged.total():
                return merged
        return self._all.get((netns, group.source), Counter())

    def senders(self, netns: int, group: FlowGroup) -> dict[str, int]:
        """Entries of a group by their address before the namespace translated it; {} if it was not seen to."""
        counts = self._weights(netns, group)
        if set(counts) <= {group.source} or not counts.total():
            return {}
        left, found = group.entries, {}
        for address, n in sorted(counts.items()):
            found[address] = group.entries * n // counts.total()
            left -= found[address]
        found[max(found, key=lambda address: counts[address])] += left
        return {address: n for address, n in found.items() if n}

    def is_here(self, address: str) -> bool:
        """Whether entries of this sample have it, so that whoever has it is not behind a translation."""
        return address in self._entries

    def may_translate(self, netns: int, address: str) -> bool:
        """Whether a namespace whose entries were not read may have opened those of an address of it for others.

        Then it has about as many entries itself, and is in another network too.
        """
        if netns in self._conntrack.inner or not self._entries[address]:
            return False
        own = {mine.device for mine in self._devices.get(netns, ()) if mine.address == address}
        between = any(mine.device not in own for mine in self._devices.get(netns, ()))
        return between and 2 * self._conntrack.counts.get(netns, 0) >= self._entries[address]
