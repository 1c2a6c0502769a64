"""Readings about a name server, for the rule dns."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from whodunnet.model.finding import Confidence, Evidence, Severity
from whodunnet.model.text import shell_quote
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.dns_reading import Reading, Server

RULE: Final = "dns"
TRACKING: Final = "conntrack collector"
WAITING: Final = "ss -uanp 'dport = 53'  # in its network namespace, twice: sockets that stay wait for an answer"
UNREPLIED: Final = "conntrack -L -p udp --orig-port-dst 53 -u UNREPLIED"


class Case(NamedTuple):
    """One name server and what is wrong with it. closed: datagrams to ports where nobody listens, where it is."""

    server: Server
    shape: str
    confidence: Confidence
    severity: Severity
    closed: int = 0


def reading_of(
    reading: Reading, statement: str, value: float, unit: str, *, limit: float | None = None,
    source: str = "sockets and conntrack collectors", repeat: str = WAITING,
) -> Evidence:  # fmt: skip
    """One reading of the newest moment."""
    return Evidence(
        statement=statement,
        value=value,
        unit=unit,
        limit=limit,
        comparison=None if limit is None else ">=" if value >= limit else "<",
        source=source,
        at=reading.at.wall,
        boot_seconds=reading.at.boot_seconds,
        repeat=repeat,
    )


def evidence_of(case: Case, reading: Reading, entry: Entry) -> list[Evidence]:
    """What speaks for it, the largest count first."""
    server, least, wait = case.server, entry.limit("min_questions"), entry.limit("wait")
    found = []
    if case.closed:
        text = f"Datagrams to ports of its namespace where nobody listens, within {reading.recording.seconds:.1f} s"
        found.append(
            reading_of(reading, text, case.closed, "datagrams", limit=least, source="/proc/net/snmp Udp NoPorts",
                       repeat="nstat -asz UdpNoPorts; ss -lun 'sport = 53'  # in its network namespace")
        )  # fmt: skip
    if server.unanswered:
        text = f"Questions to it without an answer for {wait:g} s, tracked of late"
        found.append(
            reading_of(
                reading, text, server.unanswered, "questions", limit=least, source=TRACKING, repeat=UNREPLIED
            )
        )  # fmt: skip
    if server.waits:
        ways = {
            "until given up, while nothing came" if one.given_up else f"for {wait:g} s or more" for one in server.waits
        }
        text = f"Sockets that were connected to it {' or '.join(sorted(ways))}"
        found.append(reading_of(reading, text, len(server.waits), "sockets", limit=least, source="sockets collector"))
    found.sort(key=lambda one: -float(one.value) if isinstance(one.value, int | float) else 0.0)
    if server.tracked:
        text = "Questions to it with an answer, tracked of late"
        found.append(reading_of(reading, text, server.answered, "questions", source=TRACKING,
                                repeat="conntrack -L -p udp --orig-port-dst 53"))  # fmt: skip
    for netns in sorted(server.askers)[: int(entry.limit("listed_askers"))]:
        came = reading.rise(netns, "InDatagrams")
        if came is not None:
            text = f"Datagrams of any kind that programs of network namespace {netns} read meanwhile"
            found.append(reading_of(reading, text, came, "datagrams", source="/proc/net/snmp Udp InDatagrams",
                                    repeat="nstat -asz UdpInDatagrams Udp6InDatagrams  # there, twice"))  # fmt: skip
    return [*found, *_own(server, reading)] or [_told_by(server, reading)]


def _own(server: Server, reading: Reading) -> list[Evidence]:
    """What our own queries got (--active)."""
    found: list[Evidence] = []
    for outcome, n in sorted(Counter(x.outcome for x in server.lookups if x.sent).items()):
        codes = sorted({x.rcode for x in server.lookups_that(outcome) if x.rcode is not None})
        code = f" (code {', '.join(map(str, codes))})" if codes else ""
        text = (
            f"Own queries to it that were {outcome}{code}" if outcome != "waiting" else "Own queries to it unanswered"
        )
        found.append(
            reading_of(reading, text, n, "queries", source="resolvers collector (--active)",
                       repeat=f"dig +tries=2 +time=1 @{shell_quote(server.address)} . NS")
        )  # fmt: skip
    return found


def _told_by(server: Server, reading: Reading) -> Evidence:
    return reading_of(
        reading, "Files that name it", len(server.files), "files", source="resolvers collector",
        repeat="cat /etc/resolv.conf",
    )  # fmt: skip
