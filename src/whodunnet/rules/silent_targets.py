"""Who is asked and does not answer: destinations of unreplied entries, moment by moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile

import msgspec

from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.flow_owners import FlowOwners
from whodunnet.model.sample import Moment
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint, Sockets
from whodunnet.rules.catalogue import Entry

NAMES_PORT = 53
CONNECTING = frozenset({"syn-sent", "syn-sent2"})


class Target(msgspec.Struct, frozen=True):
    """Whom packets are sent to: what was asked for, and by whom it would be answered if that is another (DNAT)."""

    protocol: str
    asked: Endpoint
    answerer: Endpoint

    @property
    def translated(self) -> bool:
        """A Service's address, with the endpoint that it was translated to."""
        return self.asked != self.answerer


class Silence(msgspec.Struct, kw_only=True):
    """What is unreplied towards one target.

    groups: of the newest reading. entries: at each reading. lasts_seconds: from when on there were always enough.
    recent: entries of the newest reading that are younger than that. growing: more than at its begin. old: entries
    without an answer for `min_age`. connecting: sockets of this node that wait to be connected to it now; None: sockets
    not read. waited: whether any did in any reading. Since Linux 5.19 a repeated SYN does not renew its entry: that
    none is young does not say that nobody tries any more.
    """

    target: Target
    groups: list[FlowGroup]
    entries: list[int]
    lasts_seconds: float = 0.0
    readings: int = 1
    recent: int = 0
    growing: bool = False
    old: int = 0
    connecting: int | None = None
    waited: bool = False

    @property
    def now(self) -> int:
        """Entries of the newest reading."""
        return self.entries[-1]


class Silences(msgspec.Struct, frozen=True, kw_only=True):
    """silent: by number of entries, most first. answered: targets that answered, anywhere in the window.

    services: addresses that were seen translated. unreplied: all such entries of the newest reading. scanners: sources
    that try many targets, which are not judged. merged: unreplied entries whose destination is not known. unkept: nor
    is that of some which were answered, so that an answer may be among them.
    """

    silent: tuple[Silence, ...]
    answered: frozenset[Target]
    services: frozenset[str]
    unreplied: int
    scanners: int
    merged: int
    unkept: bool


def find_silences(
    series: Sequence[tuple[Moment, Conntrack]], sockets: Sequence[Sockets], owners: FlowOwners, entry: Entry
) -> Silences:
    """Targets with enough unreplied entries in the newest reading, and no answer in any. series: newest last."""
    scanners = _scanners(series[-1][1].groups, entry)
    moments = [_unreplied(c.groups, scanners) for _, c in series]
    answered = {t for _, c in series for g in c.groups if (t := _target(g)) and _is_answer(g, entry)}
    answering = {(t.protocol, t.answerer) for t in answered}
    ever = {(t.protocol, t.asked) for _, c in series for g in c.groups if g.replied and (t := _target(g))}
    connected = _connected(sockets)
    merged = _answered_without_port(series, entry)
    found = []
    for target, groups in moments[-1].items():
        asked = (target.protocol, target.asked)
        # Sockets that are connected, and not one answer in the table: answers come back by another way.
        elsewhere = asked not in ever and any(_is_among(g, owners, connected.get(asked, set())) for g in groups)
        alive = (target.protocol, target.answerer) in answering or target.asked.address in merged
        if alive or elsewhere or _sum(groups) < entry.limit("min_entries"):
            continue
        counts = [_sum(moment.get(target, ())) for moment in moments]
        found.append(_silence(target, groups, counts, [at for at, _ in series], sockets, entry))
    return Silences(
        silent=tuple(sorted(found, key=lambda s: -s.now)),
        answered=frozenset(answered),
        services=frozenset(_services(series)),
        unreplied=sum(g.entries for g in series[-1][1].groups if _is_open(g)),
        scanners=len(scanners),
        merged=sum(g.entries for g in series[-1][1].groups if g.merged and not g.replied),
        unkept=any(
            c.other_entries or any(g.merged and g.destination is None and g.replied for g in c.groups)
            for _, c in series
        ),
    )


def _silence(
    target: Target, groups: list[FlowGroup], counts: list[int], ats: list[Moment], sockets: Sequence[Sockets],
    entry: Entry,
) -> Silence:  # fmt: skip
    lasting = len(list(takewhile(lambda n: n >= entry.limit("min_entries"), reversed(counts))))
    seconds = ats[-1].boot_seconds - ats[-lasting].boot_seconds
    return Silence(
        target=target,
        groups=groups,
        entries=counts,
        lasts_seconds=seconds,
        readings=lasting,
        recent=sum(_recent(g, seconds) for g in groups),
        growing=counts[-1] > counts[-lasting],
        old=sum(g.idle_for(int(entry.limit("min_age"))) for g in groups),
        connecting=_connecting(sockets[-1], target) if sockets else None,
        waited=any(_connecting(sample, target) for sample in sockets),
    )


def _unreplied(groups: Iterable[FlowGroup], scanners: set[str]) -> dict[Target, list[FlowGroup]]:
    found: dict[Target, list[FlowGroup]] = {}
    for g in groups:
        target = _target(g)
        if target is not None and _is_open(g) and g.source not in scanners:
            found.setdefault(target, []).append(g)
    return found


def _is_open(g: FlowGroup) -> bool:
    """Whether an answer is awaited: connects under way, and names that are asked for; other datagrams may get none."""
    if g.replied or g.offloaded or g.destination is None:
        return False
    return g.state in CONNECTING if g.protocol == "tcp" else g.protocol == "udp" and g.destination.port == NAMES_PORT


def _is_answer(g: FlowGroup, entry: Entry) -> bool:
    """Whether somebody answered of late; a refusal is an answer. Of an old connection the far end may be gone since."""
    if not g.replied:
        return False
    known = sum(g.ages)
    return known == 0 or known > g.idle_for(int(entry.limit("answer_age")))


def _target(g: FlowGroup) -> Target | None:
    """None for merged groups, of which port or destination is not known."""
    if g.merged or g.destination is None:
        return None
    return Target(g.protocol, g.destination, g.answered_by or g.destination)


def _scanners(groups: Iterable[FlowGroup], entry: Entry) -> set[str]:
    """Sources that wait for many targets at once, each tried a few times: who has more connects calls it."""
    targets: dict[str, Counter[Target]] = {}
    for g in groups:
        target = _target(g)
        if target is not None and _is_open(g):
            targets.setdefault(g.source, Counter())[target] += g.entries
    most, few = entry.limit("scan_targets"), entry.limit("scan_tries")
    return {s for s, tried in targets.items() if sum(n < few for n in tried.values()) >= most}


def _services(series: Sequence[tuple[Moment, Conntrack]]) -> set[str]:
    return {
        g.destination.address
        for _, c in series
        for g in c.groups
        if g.answered_by is not None and g.destination is not None and g.destination.address is not None
    }


def _answered_without_port(series: Sequence[tuple[Moment, Conntrack]], entry: Entry) -> set[str | None]:
    """Addresses that answered, of entries whose port was not kept: it may be the very one that is asked."""
    return {
        g.destination.address
        for _, c in series
        for g in c.groups
        if g.merged and g.destination is not None and _is_answer(g, entry)
    }


def _connected(sockets: Sequence[Sockets]) -> dict[tuple[str, Endpoint], set[int | None]]:
    """Namespaces that have connected sockets, by what these lead to."""
    found: dict[tuple[str, Endpoint], set[int | None]] = {}
    for sample in sockets:
        for g in sample.groups:
            if g.role == "initiated" and g.state == "established" and g.endpoint is not None:
                found.setdefault((g.protocol, g.endpoint), set()).add(g.netns)
    return found


def _is_among(g: FlowGroup, owners: FlowOwners, namespaces: set[int | None]) -> bool:
    """Whether entries come from one of these namespaces, as far as is known: others may have the same addresses."""
    places = owners.namespaces_of(g.source)
    return bool(namespaces) if places is None else not namespaces.isdisjoint(places)


def _connecting(sample: Sockets, target: Target) -> int:
    if target.protocol != "tcp":
        return 0
    return sum(g.sockets for g in sample.groups if g.state in CONNECTING and g.endpoint == target.asked)


def _recent(g: FlowGroup, seconds: float) -> int:
    """Entries begun in the last so many seconds, or renewed by a packet, as far as the classes of age tell."""
    bounds = [bound for bound in AGE_BOUNDS_SECONDS if bound <= seconds]
    return sum(g.ages) - g.idle_for(bounds[-1]) if bounds and g.ages else 0


def _sum(groups: Iterable[FlowGroup]) -> int:
    return sum(g.entries for g in groups)
