"""A full table of neighbours as a finding: whose entries fill it, the readings, what to do."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from whodunnet.model.finding import Confidence, Evidence, Finding, Party, Remedy, Severity
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import clean, shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import party, short_name
from whodunnet.rules.neighbour_window import Asker, Crowd, Table, askers
from whodunnet.rules.queue_evidence import tenant

RULE = "neighbour-table"
FULLS_SOURCE: Final = "/proc/net/stat table_fulls"
NAMES: Final = {4: ("arp_cache", "IPv4"), 6: ("ndisc_cache", "IPv6")}
REASONS: Final = {"unanswered": "NeighbourTableFlooded", "many": "NeighbourTableSmall", "spread": "NeighbourTableFull"}


def compose(table: Table, recording: Recording, entry: Entry, *, full: bool) -> Finding:
    """full: it overflowed within the window; else it is only near its limit."""
    crowd = table.largest
    name = "spread" if crowd is None else "unanswered" if 2 * crowd.unanswered >= crowd.entries else "many"
    shape = entry.shapes[name]
    asker = _asker(recording, crowd) if crowd is not None and name == "unanswered" else None
    words = {
        "family": NAMES[table.family][1], "where": _where(recording, crowd), "state": _state(table, full),
        "entries": f"{crowd.entries if crowd else 0:,}", "unanswered": f"{crowd.unanswered if crowd else 0:,}",
    }  # fmt: skip
    title = shape.title.format(**words)
    severity, confidence = _weight(table, full)
    return Finding(
        id=f"{RULE}:{recording.node.boot_id} {table.family}",
        rule=RULE,
        reason=REASONS[name],
        severity=severity,
        claim=entry.claim if asker is not None and full and confidence == "proven" else "holds",
        confidence=confidence,
        shape=name,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=table.at.wall,
        parties=tuple(_parties(recording, table, crowd, asker, full=full)),
        evidence=tuple(_evidence(table, crowd, entry)),
        would_explain=entry.would_explain if full else (),
        remedies=(remedies.CAPTURE, *_remedies(table, name), remedies.fix(shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation),
    )


def _weight(table: Table, full: bool) -> tuple[Severity, Confidence]:
    if table.readings < 2:
        return "info", "possible"
    return ("critical", "proven") if full else ("warning", "likely")


def _state(table: Table, full: bool) -> str:
    """How full, in words."""
    if full and table.fulls:
        return f"was full {table.fulls:,} times in {table.seconds:.1f} s"
    if full:
        return "was full, says the kernel's log"
    return f"has {table.used:,} of {table.now.max_entries or 0:,} entries"


def _where(recording: Recording, crowd: Crowd | None) -> str:
    if crowd is None:
        return "no network namespace has half of its entries"
    inside = tenant(recording, crowd.netns)
    return short_name(inside) if inside is not None else f"network namespace {crowd.netns}"


def _asker(recording: Recording, crowd: Crowd) -> Asker | None:
    """Whoever alone tries at least half of the addresses without an answer that were kept."""
    found = [asker for asker in askers(recording, crowd) if 2 * asker.addresses >= len(crowd.asked)]
    return found[0] if len(found) == 1 and found[0].workload is not None else None


def _parties(
    recording: Recording, table: Table, crowd: Crowd | None, asker: Asker | None, *, full: bool
) -> list[Party]:
    found = []
    if asker is not None:
        kept = len(crowd.asked) if crowd is not None else 0
        effect = f"asks for them: it has tried {asker.addresses:,} of {kept:,} such addresses that were looked at"
        found.append(party("culprit" if full and table.readings > 1 else "holder", asker.workload, effect=effect))
    elif crowd is not None:
        effect = f"has {crowd.entries:,} of the entries"
        inside = tenant(recording, crowd.netns)
        found.append(
            party("holder", inside, effect=effect) if inside is not None
            else Party(role="holder", netns=crowd.netns, device=clean(crowd.device, 32), effect=effect)
        )  # fmt: skip
    if full:
        effect = "whoever is new in a network of this node is not reached, from any of its network namespaces"
        found.append(Party(role="victim", node=recording.node.hostname, effect=effect))
    return found or [Party(role="victim", node=recording.node.hostname, effect="has room for few more neighbours")]


def _evidence(table: Table, crowd: Crowd | None, entry: Entry) -> list[Evidence]:
    counted = fulls(table)
    found = [counted] if table.fulls else []
    found.append(replace(fill(table), comparison=">=" if (table.share or 0) >= entry.limit("near_share") else "of"))
    if table.lines:
        text = "Lines in the kernel's log that it overflowed, in this window; most are held back"
        found.append(replace(counted, statement=text, value=table.lines, unit="lines", source="kernel log",
                             repeat="dmesg | grep 'table overflow'"))  # fmt: skip
    for number, text in (
        (table.forced, "Times that room was sought while a packet waited"),
        (table.discards, "Packets dropped because nobody answered for their address"),
    ):
        if number:
            found.append(
                replace(counted, statement=f"{text}, within {table.seconds:.1f} s", value=number, source=_file(table))
            )
    if table.exempt:
        text = "Further entries that do not count against the limit: permanent, or learned from outside"
        found.append(replace(counted, statement=text, value=table.exempt, unit="entries", source="RTM_GETNEIGH"))
    if crowd is not None:
        repeat = f"ip -{table.family} neighbour show nud all | wc -l  # in network namespace {crowd.netns}"
        text = f"Entries of network namespace {crowd.netns}, which has most"
        most = replace(
            counted, statement=text, value=crowd.entries, unit="entries", source="RTM_GETNEIGH", repeat=repeat
        )
        found.append(most)
        text = "Of these, addresses for which nobody answered"
        found.append(replace(most, statement=text, value=crowd.unanswered, limit=crowd.entries, comparison="of"))
    return found


def _file(table: Table) -> str:
    return f"/proc/net/stat/{NAMES[table.family][0]}"


def fill(table: Table) -> Evidence:
    """How full it is."""
    name, family = NAMES[table.family]
    return Evidence(
        statement=f"Entries in the table of {family} neighbours, of all network namespaces", value=table.used,
        unit="entries", limit=table.now.max_entries, comparison="of" if table.now.max_entries else None,
        source=_file(table), at=table.at.wall, boot_seconds=table.at.boot_seconds,
        repeat=f"head -2 /proc/net/stat/{name}; sysctl net.ipv{table.family}.neigh.default.gc_thresh3",
    )  # fmt: skip


def fulls(table: Table) -> Evidence:
    """What found no room."""
    name, family = NAMES[table.family]
    return Evidence(
        statement=f"New {family} neighbours for whom there was no room, within {table.seconds:.1f} s",
        value=table.fulls or 0, unit="packets", source=FULLS_SOURCE, at=table.at.wall,
        boot_seconds=table.at.boot_seconds, repeat=f"cat /proc/net/stat/{name}  # table_fulls, hexadecimal, twice",
    )  # fmt: skip


def _remedies(table: Table, name: str) -> list[Remedy]:
    limit = table.now.max_entries or 1024
    prefix = f"net.ipv{table.family}.neigh.default.gc_thresh"
    return [
        Remedy(
            action="tune", do="Let the table hold four times as many",
            command=f"sysctl -w {prefix}3={4 * limit} {prefix}2={2 * limit} {prefix}1={limit}",
            effect="new neighbours find room at once",
            risk="each takes about 0.5 KiB of memory"
            + ("; who asks for addresses that nobody has fills it again" if name == "unanswered" else ""),
        )
    ]  # fmt: skip
