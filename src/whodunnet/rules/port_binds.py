"""Ports that are bound before a connect, which takes each of them for all endpoints: a range that is used up so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from whodunnet.model.connection_pairs import Pair
from whodunnet.model.finding import Confidence, Evidence, Finding, Party, Remedy
from whodunnet.model.flow_owners import is_loopback
from whodunnet.model.ports import Ports, SourcePorts
from whodunnet.model.sample import Moment
from whodunnet.model.settings import NamespaceSettings, Settings
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import shell_quote, shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import party, short_name
from whodunnet.rules.openers import endpoint_party
from whodunnet.rules.port_findings import (
    REASONS,
    RULE,
    Holder,
    closers_of,
    closing,
    extra,
    failing_clients,
    holders_of,
    place_of,
    port_reading,
    range_reading,
    wider,
)
from whodunnet.rules.queue_evidence import digest, tenant

SHAPE = "bound-first"
PORTS = "all ports from that address"
PEER = "is what they connect to; it has no part in it"

Key = tuple[int, str]
"""Namespace and own address."""


class Bound(NamedTuple):
    """An own address whose ports run out, whatever the endpoints.

    failed: connects of its namespace without a port. alone: whether no other like it, loopback or not, is used there.
    """

    netns: int
    use: SourcePorts
    available: int
    bound: int
    settings: NamespaceSettings
    confidence: Confidence
    failed: int
    alone: bool

    @property
    def key(self) -> Key:
        return self.netns, self.use.source

    def leads_to(self, server: Endpoint | None) -> bool:
        """Whether connections from there do: those of loopback addresses stay on loopback."""
        address = server.address if server is not None else None
        return is_loopback(address or "") == is_loopback(self.use.source)


def bound_first(
    series: Sequence[tuple[Moment, Ports]], settings: Settings, pairs: Sequence[Pair], entry: Entry
) -> list[Bound]:
    """Addresses whose ports fill the range and are each of one connection, in the last reading.

    A connect that was not bound takes a port that others have towards other endpoints, and every second port only when
    all the rest are taken towards its own endpoint (__inet_hash_connect). So the range is full of ports with one
    connection each only if one endpoint has them all, or if they were bound first (inet_csk_find_open_port). A port
    that was bound to any address it takes for none, whatever its own: so all connects that fail there count.
    """
    seen = Counter(key for _, sample in series for key in _full(sample, settings, entry))
    failed = Counter[int]()
    for pair in pairs:
        if pair.here and pair.client.netns is not None:
            failed[pair.client.netns] += pair.count("not-sent")
    found = []
    for (netns, source), use in _full(series[-1][1], settings, entry).items():
        known, n = settings.by_netns[netns], failed[netns]
        certain: Confidence = "proven" if n >= entry.limit("min_failed") else "likely"
        confidence = certain if seen[netns, source] > 1 else "possible"
        ports = series[-1][1].by_netns[netns]
        others = [o for o in ports.sources if o.source != source and is_loopback(o.source) == is_loopback(source)]
        found.append(Bound(netns, use, known.ports or 0, ports.bound, known, confidence, n, alone=not others))
    return sorted(found, key=lambda one: (-one.failed, -one.use.ports, one.key))


def _full(sample: Ports, settings: Settings, entry: Entry) -> dict[Key, SourcePorts]:
    found = {}
    for netns, ports in sample.by_netns.items():
        known = settings.by_netns.get(netns)
        least = entry.limit("min_share") * (known.ports or 0) if known is not None else 0
        alone = {use.source for use in ports.uses or () if use.ports >= least}
        for use in ports.sources if least else ():
            if use.source not in alone and use.ports >= least and use.shared <= entry.limit("max_shared") * use.ports:
                found[netns, use.source] = use
    return found


def compose_bound(case: Bound, pairs: Sequence[Pair], recording: Recording, entry: Entry) -> Finding:
    """The finding about one own address."""
    at, shape = recording.snapshots[-1].at, entry.shapes[SHAPE]
    here = [pair for pair in pairs if pair.here and pair.client.netns == case.netns]
    inside = tenant(recording, case.netns)
    fails = f"{case.failed:,} connects failed in {recording.seconds:.1f} s"
    words = {
        "place": short_name(inside) if inside is not None else f"Network namespace {case.netns}",
        "ports": f"{case.use.ports:,} of {case.available:,}",
        "source": case.use.source,
        "failed": fails if case.failed else "a bind that fails is not seen",
    }
    title = shape.title.format(**words)
    return Finding(
        id=f"{RULE}:{digest(case.netns, case.use.source)}",
        rule=RULE,
        reason=REASONS[SHAPE],
        severity="info" if case.confidence == "possible" else "warning",
        claim=entry.claim,
        confidence=case.confidence,
        shape=SHAPE,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=at.wall,
        parties=tuple(_parties(case, here, recording, entry)),
        evidence=tuple(_evidence(case, at, recording, entry)),
        would_explain=entry.would_explain if case.failed else (),
        remedies=(remedies.CAPTURE, *_remedies(case), remedies.fix(shape.fix)),
        explanation=(*(line.format(**words) for line in shape.explanation), *extra(case.settings, case.bound)),
    )


def _parties(case: Bound, here: Sequence[Pair], recording: Recording, entry: Entry) -> list[Party]:
    """Whoever has a good part of the ports, whose connects fail, and what these were for.

    Of sockets and of connects only the far end is kept: with a second own address nobody knows whose ports these are.
    """
    most, share = int(entry.limit("listed_holders")), entry.limit("min_part")
    holders = holders_of(recording, case.netns, case.leads_to) if case.alone else []
    closed = [pair for pair in here if case.leads_to(pair.server)]
    closers = closers_of(closed) if case.alone and 2 * case.use.time_wait > case.use.ports else []
    found = [_holding(case, one) for one in holders[:most] if one.sockets >= share * case.use.ports]
    found += [closing(end, n, of) for end, n, of in closers[:most] if n >= share * of]
    found += failing_clients(here, most)
    if not found:
        found.append(place_of(case.netns, bool(holders or closers), recording))
    failing = sorted({pair.server for pair in here if pair.count("not-sent")})
    return [*found, *(endpoint_party("peer", server, None, PEER) for server in failing[:most])]


def _holding(case: Bound, holder: Holder) -> Party:
    effect = f"has {holder.sockets:,} of the connections, each with a port that nobody else may have meanwhile"
    share = min(holder.sockets / case.use.ports, 1.0)
    return party("holder", holder.owner, share=share, share_of=PORTS, sockets=holder.sockets, effect=effect)


def _evidence(case: Bound, at: Moment, recording: Recording, entry: Entry) -> list[Evidence]:
    found = []
    if case.failed:
        found.append(
            port_reading(
                at, f"Connects from that namespace that found no free port within {recording.seconds:.1f} s",
                case.failed, "connects", limit=entry.limit("min_failed"), comparison=">=",
                source="connections collector", repeat="whodunnet connections --for 10s --by pair --failed",
            )
        )  # fmt: skip
    closed = f"ss -Htan state time-wait src {_quoted(case.use)} | awk '{{print $3}}'"
    waiting = port_reading(
        at, "Of those in use, in TIME_WAIT, where no bind takes them", case.use.time_wait, "ports",
        limit=case.use.ports, comparison="of", repeat=f"{closed} | sort -u | wc -l",
    )  # fmt: skip
    return [*found, *_readings(at, case.use, case.available), waiting, range_reading(at, case.settings, case.available)]


def _readings(at: Moment, use: SourcePorts, available: int) -> list[Evidence]:
    ports = f"ss -Htan src {_quoted(use)} | awk '{{print $4}}' | sort"
    return [
        port_reading(
            at, f"Ports in use from {use.source}, whatever the endpoints", use.ports, "ports", limit=available,
            comparison="of", repeat=f"{ports} -u | wc -l",
        ),
        port_reading(
            at, "Of those in use towards several endpoints at a time", use.shared, "ports", limit=use.ports,
            comparison="of", repeat=f"{ports} | uniq -d | wc -l",
        ),
    ]  # fmt: skip


def _quoted(use: SourcePorts) -> str:
    return shell_quote(f"[{use.source}]" if ":" in use.source else use.source)


def fullest_source(at: Moment, newest: Ports, settings: Settings) -> list[Evidence]:
    """The address with most ports for its range, as evidence of a clearing; nothing where ports were not read."""
    filled = [
        (use, known.ports)
        for netns, ports in newest.by_netns.items()
        if (known := settings.by_netns.get(netns)) is not None and known.ports
        for use in ports.sources
    ]
    most = max(filled, key=lambda one: one[0].ports / one[1], default=None)
    return [] if most is None else _readings(at, *most)


def _remedies(case: Bound) -> list[Remedy]:
    look = Remedy(
        action="capture", do="See who has them, and that hardly one is used twice, in that network namespace",
        command=f"ss -Htanp src {_quoted(case.use)} | awk '{{print $1, $6}}' | sort | uniq -c | sort -n | tail",
        effect="tells who binds before it connects", risk="none",
    )  # fmt: skip
    return [look, *wider(case.available, "about 49,000 connections to all endpoints together")]
