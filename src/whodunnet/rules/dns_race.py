"""Packets of new connections that race for one entry: the lost one is dropped, and a name takes seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import (
    ASKED_NAMES,
    Answer,
    Cleared,
    Confidence,
    Evidence,
    Finding,
    NotApplicable,
    NotChecked,
    Party,
)
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import endpoint_text
from whodunnet.rules.openers import endpoint_party, opener_party, openers, owners_of
from whodunnet.rules.race_reading import Reading, read
from whodunnet.rules.race_remedies import race_remedies

RULE = "dns-race"
SOURCE = "/proc/net/stat/nf_conntrack"
REPEAT = "conntrack -S  # twice: insert_failed and drop of all CPUs together"
REASONS = {"packet-lost": "DnsRace", "solved-by-kernel": "DnsRaceSolved", "not-dns": "InsertRace"}


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Warning where packets are lost and DNS is translated here, info where the kernel solves it."""
    last = recording.last(Conntrack)
    assert last is not None  # the collector is required
    if not last.loaded:
        return [NotApplicable(rule=RULE, reason="connection tracking is not loaded")]
    series = [(at, c) for at, c in recording.series(Conntrack) if c.netns == last.netns and c.statistics]
    if not last.statistics or not series:
        return [_not_checked("unreadable", "the counters of connection tracking could not be read")]
    reading = read(series, RULE)
    if len(series) < 2:
        return [_one_reading(reading)]
    floor = entry.limit("min_packets")
    if reading.rises.lost >= floor:
        return [_lost(recording, reading, entry)]
    if reading.rises.solved >= floor and reading.names:
        return [_finding("solved-by-kernel", recording, reading, entry)]
    return [_cleared(reading, f"{entry.limit('min_packets'):.0f} or more such packets within {reading.seconds:.1f} s")]


def _lost(recording: Recording, reading: Reading, entry: Entry) -> Answer:
    """Packets are lost: the table is full, or it is DNS, or it is not."""
    if reading.fill >= entry.limit("low_fill"):
        percent = round(100 * reading.fill)
        reason = f"the table is {percent} % full: that comes first, see conntrack-table; packets lost are no race then"
        return _not_checked("unreadable", reason)
    if not reading.names and reading.blind is not None:
        return reading.blind
    # Where the kernel solves races of datagrams and has solved none meanwhile, there was none.
    dns = reading.names and (not reading.solves or reading.rises.solved >= entry.limit("min_packets"))
    return _finding("packet-lost" if dns else "not-dns", recording, reading, entry)


def _one_reading(reading: Reading) -> Answer:
    """No rise can be seen; nothing ever is an answer all the same."""
    rises = reading.rises
    if rises.lost == rises.solved == 0:
        return _cleared(reading, "any such packet since this network namespace was made")
    reason = (
        f"one reading cannot show a rise ({rises.lost:,} packets lost and {rises.solved:,} races solved since this "
        f"network namespace was made): look for longer"
    )
    return _not_checked("not-collected", reason)


def _not_checked(code: str, reason: str) -> NotChecked:
    return NotChecked(rule=RULE, code=code, reason=reason)


def _finding(shape_name: str, recording: Recording, reading: Reading, entry: Entry) -> Finding:
    shape, rises = entry.shapes[shape_name], reading.rises
    peers = Counter[Endpoint]()
    for g in reading.names:
        assert g.destination is not None
        peers[g.destination] += g.entries
    peer = endpoint_text(peers.most_common(1)[0][0]) if peers else ""
    packets = rises.solved if shape_name == "solved-by-kernel" else rises.lost
    title = shape.title.format(packets=packets, peer=peer)
    certain: Confidence = "possible" if shape_name == "packet-lost" and reading.solves else "likely"
    return Finding(
        id=f"{RULE}:{recording.node.boot_id}",
        rule=RULE,
        reason=REASONS[shape_name],
        severity="warning" if shape_name == "packet-lost" else "info",
        claim=entry.claim,
        confidence=certain,
        shape=shape_name,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=reading.at.wall,
        parties=() if shape_name == "not-dns" else tuple(_parties(recording, reading, peers, entry)),
        evidence=tuple(_evidence(reading, entry)),
        remedies=(remedies.CAPTURE, *race_remedies(shape_name, reading.solves, shape.fix)),
        explanation=shape.explanation,
    )


def _parties(recording: Recording, reading: Reading, peers: Counter[Endpoint], entry: Entry) -> list[Party]:
    """Who asks, and whom. Nobody is the culprit: both packets are right."""
    most = int(entry.limit("listed_openers"))
    found = openers(owners_of(recording), reading.names)[:most]
    victims = [
        opener_party("victim", owner, recording.node.hostname, f"asks for names through it ({n:,} entries)")
        for owner, n in found
    ]
    return [
        *victims,
        *(endpoint_party("peer", peer, None, ASKED_NAMES) for peer, _ in peers.most_common(most)),
    ]


def _evidence(reading: Reading, entry: Entry) -> list[Evidence]:
    rises, table = reading.rises, reading.highest
    window = f"within {reading.seconds:.1f} s" if reading.readings > 1 else "since this network namespace was made"
    found = [
        _counted(reading, f"Packets dropped because their entry could not be inserted, {window}", rises.lost, entry),
        _counted(reading, f"Such races that the kernel solved without loss, {window}", rises.solved, entry),
    ]
    if table.max_entries is not None and table.max_entries > 0 and table.count is not None:
        limit = entry.limit("low_fill") * table.max_entries
        found.append(
            Evidence(
                statement="Tracked connections, most in this window: the table is not full",
                value=table.count, unit="entries", limit=round(limit), comparison="<",
                source="/proc/sys/net/netfilter/nf_conntrack_count", at=reading.at.wall,
                boot_seconds=reading.at.boot_seconds, repeat="sysctl net.netfilter.nf_conntrack_count",
            )
        )  # fmt: skip
    found.append(
        Evidence(
            statement="Tracked connections to port 53 over UDP that are translated on the way",
            value=sum(g.entries for g in reading.names), unit="entries", source="conntrack collector",
            at=reading.at.wall, boot_seconds=reading.at.boot_seconds,
            repeat="conntrack -L -p udp --orig-port-dst 53 --dst-nat | wc -l",
        )
    )  # fmt: skip
    return found


def _counted(reading: Reading, statement: str, value: int, entry: Entry | None) -> Evidence:
    floor = None if entry is None else int(entry.limit("min_packets"))
    return Evidence(
        statement=statement,
        value=value,
        unit="packets",
        limit=floor,
        comparison=None if floor is None else ">=" if value >= floor else "<",
        source=SOURCE,
        at=reading.at.wall,
        boot_seconds=reading.at.boot_seconds,
        repeat=REPEAT,
    )


def _cleared(reading: Reading, reach: str) -> Cleared:
    rises = reading.rises
    also = f"; {rises.solved:,} races were solved by the kernel, none of them of DNS as far as seen" * (
        rises.solved > 0 and not reading.names
    )
    window = f"within {reading.seconds:.1f} s" if reading.readings > 1 else "since this network namespace was made"
    return Cleared(
        rule=RULE,
        sensitivity=f"{reach}{also}",
        evidence=(
            _counted(reading, f"Packets dropped because their entry could not be inserted, {window}", rises.lost, None),
            _counted(reading, f"Such races that the kernel solved without loss, {window}", rises.solved, None),
        ),
    )
