"""Who is behind a network namespace that opens connections for others by its own address (masquerading).

A table shows the sender as the namespace before it let it out. In the table of that namespace the same entry has the
address that was there before the translation. Each entry there speaks for one of ours, as each socket does (vouching).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack, FlowGroup, flows_in_order
from whodunnet.model.sockets import Endpoint

IDLE_SECONDS = 60
"""As idle_age of conntrack-table; one of AGE_BOUNDS_SECONDS."""
MISPLACED = 0.05
"""Of entries, which may be given to one who has fewer idle ones: a culprit has a fifth of a quarter of the table."""


class InnerFlows:
    """What the tables of other namespaces tell of the entries of one Conntrack sample."""

    def __init__(self, conntrack: Conntrack, addresses: Addresses | None) -> None:
        self._conntrack = conntrack
        self._devices = addresses.by_netns if addresses is not None else {}
        self._entries: Counter[str] = Counter()
        for group in conntrack.groups:
            self._entries[group.source] += group.entries
        self._behind: dict[tuple[int, str], set[str]] = defaultdict(set)
        for netns, groups in conntrack.inner.items():
            for group in groups:
                if group.source_as not in (None, group.source):
                    self._behind[netns, group.source_as or ""].add(group.source)
        self._found = self._matched()

    def _matched(self) -> dict[int, Mapping[FlowGroup, Counter[str]]]:
        """By namespace. In one order, so that a recording tells the same as the machine."""
        if not self._behind:
            return {}
        addresses = {address for _, address in self._behind}
        ours = tuple(group for group in self._conntrack.groups if group.source in addresses)
        ordered = flows_in_order(msgspec.structs.replace(self._conntrack, groups=ours))
        return {
            netns: _Matching((group for group in ordered.groups if (netns, group.source) in self._behind), theirs).found
            for netns, theirs in ordered.inner.items()
        }

    def leaving_as(self, netns: int, address: str) -> frozenset[str]:
        """Addresses that a namespace was seen to translate to another one."""
        return frozenset(self._behind.get((netns, address), ()))

    def senders(self, netns: int, group: FlowGroup) -> Mapping[str, int]:
        """Entries of a group of this sample by their address before the namespace let them out; not always of all.

        The rest is nobody's: its table has no such entries any more, or of several senders, none of whom has them all.
        """
        return self._found.get(netns, {}).get(group, {})

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


class _Look(NamedTuple):
    """What entries look like outside of the namespace that let them out.

    what: address, family and protocol. destination: None where it was not kept. use: state and flags, all that makes up
    a kind of use but the age: who is busy has no part in what another one floods; None in whatever state.
    """

    what: tuple[str, int, str]
    destination: Endpoint | None
    use: tuple[str, bool, bool, bool] | None

    @property
    def anyhow(self) -> _Look:
        return _Look(self.what, self.destination, None)

    @property
    def anywhere(self) -> _Look:
        return _Look(self.what, None, self.use)


def _look(g: FlowGroup, source: str, to: Endpoint | None) -> _Look:
    use = g.state, g.replied, g.assured, g.offloaded
    return _Look((source, g.family, g.protocol), None if g.merged else to, use)


Place = Callable[[_Look], _Look | None]
"""Where entries are put beside those of the other table, None where they are not."""


class _Matching:
    """Which entries of ours are in one namespace's own table. found: by group of ours, whose they are."""

    def __init__(self, ours: Iterable[FlowGroup], theirs: Iterable[FlowGroup]) -> None:
        self.found: dict[FlowGroup, Counter[str]] = defaultdict(Counter)
        self._room = {group: group.entries for group in ours}
        self._ours: dict[_Look, list[FlowGroup]] = defaultdict(list)
        for group in self._room:
            self._ours[_look(group, group.source, group.destination)].append(group)
        self._left: dict[_Look, Counter[str]] = defaultdict(Counter)
        self._idle: Counter[tuple[_Look, str]] = Counter()
        for group in theirs:
            to = group.destination and (group.answered_by or group.destination)
            look = _look(group, group.source_as or group.source, to)
            self._left[look][group.source] += group.entries
            self._idle[look, group.source] += _idle(group)
        self._had = {look: Counter(senders) for look, senders in self._left.items()}
        self._match()

    def _match(self) -> None:
        """What surely belongs together comes first."""
        known = {look.anyhow for look in self._left if look.destination is not None}
        self._give(_there, _there)
        self._give(_there_anyhow, _there_anyhow, to_one=True)
        self._give(lambda look: look.anywhere if _there(look) and look.anyhow not in known else None, _merged)
        self._give(_merged, lambda look: look.anywhere)

    def _give(self, mine: Place, his: Place, *, to_one: bool = False) -> None:
        """Entries of ours to those beside them. to_one: only if all can be those of one sender."""
        theirs = _by_place(self._left, his)
        for place, looks in _by_place(self._ours, mine).items():
            if (beside := theirs.get(place)) is None:
                continue
            wanted = {group: n for look in looks for group in self._ours[look] if (n := self._room[group])}
            senders = sum((self._left[look] for look in beside), Counter[str]())
            if to_one and (len(senders) > 1 or senders.total() < sum(wanted.values())):
                continue
            if wanted and senders and self._as_idle(wanted, senders, beside):
                for group, address, n in _shares(wanted, senders):
                    self._take(group, address, n, beside)

    def _as_idle(self, wanted: Mapping[FlowGroup, int], senders: Counter[str], beside: Iterable[_Look]) -> bool:
        """Whether nobody is given many more idle entries than it has: one group of ours has those of all together."""
        idle: dict[str, float] = defaultdict(float)
        for look in beside:
            for address, n in self._left[look].items():
                idle[address] += self._idle[look, address] * n / max(self._had[look][address], 1)
        ours, whole = sum(wanted.values()), max(sum(wanted.values()), senders.total())
        ours_idle = sum(_idle(group) * n / group.entries for group, n in wanted.items())
        more = sum(max(0.0, n * ours_idle - idle[address] * ours) for address, n in senders.items())
        return more <= MISPLACED * ours * whole

    def _take(self, group: FlowGroup, address: str, n: int, beside: Iterable[_Look]) -> None:
        self.found[group][address] += n
        self._room[group] -= n
        for look in beside:
            part = min(n, self._left[look][address])
            self._left[look][address] -= part
            n -= part


def _there(look: _Look) -> _Look | None:
    return look if look.destination is not None else None


def _there_anyhow(look: _Look) -> _Look | None:
    return look.anyhow if look.destination is not None else None


def _merged(look: _Look) -> _Look | None:
    return look if look.destination is None else None


def _by_place(looks: Iterable[_Look], place: Place) -> dict[_Look, list[_Look]]:
    found: dict[_Look, list[_Look]] = defaultdict(list)
    for look in looks:
        if (beside := place(look)) is not None:
            found[beside].append(look)
    return found


def _idle(group: FlowGroup) -> int:
    """Entries that may be called idle; of other states their number is said whatever their age."""
    return min(group.idle_for(IDLE_SECONDS), group.entries) if group.state == "established" else 0


def _shares(wanted: Mapping[FlowGroup, int], senders: Counter[str]) -> Iterator[tuple[FlowGroup, str, int]]:
    """Entries of ours by sender, in equal shares of each group. What cannot be divided is nobody's, nor any excess."""
    ours = sum(wanted.values())
    whole = max(ours, senders.total())
    quota = {address: ours * n // whole for address, n in sorted(senders.items())}
    room = dict(wanted)
    for only_equal in (True, False):
        for group, entries in wanted.items():
            for address in quota:
                n = min(quota[address], room[group])
                if only_equal:
                    n = min(n, entries * senders[address] // whole)
                quota[address] -= n
                room[group] -= n
                if n:
                    yield group, address, n
