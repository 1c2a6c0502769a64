"""Connects that this node drops before they are tracked: sockets wait, and there is no entry at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile

import msgspec

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.flow_owners import FlowOwner, FlowOwners, is_loopback
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.hang_findings import DROPPED, Hang
from whodunnet.rules.silent_targets import Silence, Target

NOT_CONNECTED = frozenset({"syn-sent", "close"})
NO_ROOM = ("drop", "early_drop")
"""Statistics of a table that itself drops packets or throws out entries."""

Series = Sequence[tuple[Moment, Conntrack]]


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Connects of one owner to one endpoint. sockets: now. readings, seconds: for how long there have been enough."""

    owner: FlowOwner
    endpoint: Endpoint
    sockets: int
    readings: int
    seconds: float


class Passage:
    """What of one namespace is seen in the table: entries from its addresses, in any reading."""

    def __init__(
        self, netns: int, addresses: Addresses, series: Series, sockets: Sequence[Sockets], owners: FlowOwners
    ) -> None:
        self._here = netns == series[-1][1].netns
        self._addresses = [a for a in addresses.by_netns.get(netns, ()) if not a.of_service]
        self._own = {a.address for a in self._addresses}
        groups = [g for _, c in series for g in c.groups if g.source in self._own]
        self.tracked = len({g.destination for g in groups if any(o.netns == netns for o, _ in owners.split(g))})
        self._tcp = [g for g in groups if g.protocol == "tcp"]
        self._asked = {g.destination for g in self._tcp}
        connected = [_connected(sample, netns) for sample in sockets]
        self._connected = set().union(*connected)
        # What was connected in the newest reading may have no entry yet.
        self._untracked = {e for e in set().union(*connected[:-1]) - self._asked if not self._is_own(e)}

    def leaves_no_trace(self, endpoint: Endpoint) -> bool:
        """Whether packets from here to this endpoint are never seen, although others are."""
        if not self.tracked or self._is_own(endpoint) or endpoint in self._connected | self._asked:
            return False
        merged = (g.destination for g in self._tcp if g.merged)
        return not any(to is None or to.address == endpoint.address for to in merged)

    def has_to_pass(self, endpoint: Endpoint, services: frozenset[str]) -> bool:
        """Whether it would be seen: no other device, no neighbours that are reached by a bridge, nothing untracked."""
        if self._untracked:
            return False
        if self._here or any(to is not None and to.address == endpoint.address for to in self._asked):
            return True
        address = endpoint.address or ""
        alone = all(a.prefix_length == (128 if ":" in a.address else 32) for a in self._addresses if _routed(a.address))
        return len({a.device for a in self._addresses}) == 1 and _routed(address) and (alone or address in services)

    def _is_own(self, endpoint: Endpoint) -> bool:
        return endpoint.address in self._own or is_loopback(endpoint.address or "")


def find_dropped(
    recording: Recording, series: Series, owners: FlowOwners, services: frozenset[str], entry: Entry
) -> list[Hang]:
    """One for each endpoint; none where the table may itself have dropped them, or does not say what is in it."""
    samples, addresses = recording.series(Sockets), recording.last(Addresses)
    waiting = _waiting(samples, owners, entry)
    if not waiting or addresses is None or not _keeps_all(series, entry):
        return []
    places = {w.owner.netns for w in waiting if w.owner.netns is not None}
    sockets = [sample for _, sample in samples]
    passages = {netns: Passage(netns, addresses, series, sockets, owners) for netns in places}
    last = series[-1][1]
    never_full = bool(last.statistics) and not _made_room(last)
    whole = never_full and not addresses.netns_unread and not addresses.left_out
    found: dict[Endpoint, list[tuple[Waiting, Passage, bool]]] = {}
    for w in waiting:
        passage = passages.get(w.owner.netns or 0)
        if passage is not None and passage.leaves_no_trace(w.endpoint):
            sure = whole and w.seconds >= entry.limit("min_age") and passage.has_to_pass(w.endpoint, services)
            found.setdefault(w.endpoint, []).append((w, passage, sure))
    return [_hang(endpoint, those, owners, services) for endpoint, those in found.items()]


def _keeps_all(series: Series, entry: Entry) -> bool:
    """Whether every entry that there was in this window is known."""
    first, last = series[0][1], series[-1][1]
    short = last.timeouts.get("tcp_timeout_syn_sent", entry.limit("syn_gap")) < entry.limit("syn_gap")
    full = _made_room(last) != _made_room(first)
    return len(series) > 1 and not short and not full and not any(c.other_entries for _, c in series)


def _made_room(table: Conntrack) -> int:
    return sum(table.statistics.get(name, 0) for name in NO_ROOM)


def _hang(
    endpoint: Endpoint, those: list[tuple[Waiting, Passage, bool]], owners: FlowOwners, services: frozenset[str]
) -> Hang:
    """those: who waits for this endpoint. The reading is that of who waits longest."""
    longest = max((w for w, _, _ in those), key=lambda w: w.readings)
    silence = Silence(
        target=Target("tcp", endpoint, endpoint),
        groups=[],
        entries=[0],
        lasts_seconds=longest.seconds,
        readings=longest.readings,
        connecting=sum(w.sockets for w, _, _ in those),
    )
    return Hang(
        silence=silence,
        shape=DROPPED,
        confidence="likely" if any(sure for _, _, sure in those) else "possible",
        openers=[(w.owner, w.sockets) for w, _, _ in those],
        peer=owners.answerer(endpoint.address or ""),
        control=max(passage.tracked for _, passage, _ in those),
        services=tuple(sorted(services)),
    )


def _waiting(samples: Sequence[tuple[Moment, Sockets]], owners: FlowOwners, entry: Entry) -> list[Waiting]:
    """Who waits in two readings or more, most first; without those who try many endpoints at once."""
    floor, found = entry.limit("min_entries"), []
    moments = [(at, _connects(sample, owners)) for at, sample in samples]
    newest = moments[-1][1] if moments else Counter()
    tried = Counter(owner.key for owner, _ in newest)
    for (owner, endpoint), n in newest.items():
        history = [(at, connects[owner, endpoint]) for at, connects in reversed(moments)]
        lasting = [at for at, waiting in takewhile(lambda m: m[1] >= floor, history)]
        if len(lasting) >= 2 and tried[owner.key] < entry.limit("scan_targets"):
            seconds = lasting[0].boot_seconds - lasting[-1].boot_seconds
            found.append(Waiting(owner=owner, endpoint=endpoint, sockets=n, readings=len(lasting), seconds=seconds))
    return sorted(found, key=lambda w: (-w.sockets, w.owner.netns or 0))


def _connects(sample: Sockets, owners: FlowOwners) -> Counter[tuple[FlowOwner, Endpoint]]:
    found: Counter[tuple[FlowOwner, Endpoint]] = Counter()
    for g in sample.groups:
        if (
            g.protocol == "tcp"
            and g.role == "initiated"
            and g.state == "syn-sent"
            and g.endpoint
            and g.endpoint.address
        ):
            owner = owners.holder(g)
            if owner is not None:
                found[owner, g.endpoint] += g.sockets
    return found


def _connected(sample: Sockets, netns: int) -> set[Endpoint]:
    return {
        g.endpoint
        for g in sample.groups
        if g.netns == netns and g.protocol == "tcp" and g.role == "initiated" and g.endpoint is not None
        and g.state not in NOT_CONNECTED
    }  # fmt: skip


def _routed(address: str) -> bool:
    """Not one that only neighbours reach."""
    return not address.startswith("fe80:")
