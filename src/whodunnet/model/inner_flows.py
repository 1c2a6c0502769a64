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
        self._all: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
        for netns, groups in conntrack.inner.items():
            for group in groups:
                left_as = group.source_as or group.source
                to = group.answered_by or group.destination
                self._exact[netns, left_as, group.protocol, to][group.source] += group.entries
                self._all[netns, left_as][group.source] += group.entries

    def senders(self, netns: int, group: FlowGroup) -> dict[str, int]:
        """Entries of a group by their address before the namespace translated it; {} if it was not seen to."""
        exact = self._exact.get((netns, group.source, group.protocol, group.destination))
        counts = exact or self._all.get((netns, group.source), Counter())
        if set(counts) <= {group.source} or not counts.total():
            return {}
        left, found = group.entries, {}
        for address, n in sorted(counts.items()):
            found[address] = group.entries * n // counts.total()
            left -= found[address]
        found[max(found, key=lambda address: found[address])] += left
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
