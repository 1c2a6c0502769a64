"""A table that is full or filling as a finding: who opens the entries, who only takes them, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from whodunnet.model.finding import Confidence, Evidence, Finding, Remedy
from whodunnet.model.text import shorten_bytes
from whodunnet.model.workload import Workload
from whodunnet.rules import remedies, table_evidence, table_remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.flood_cases import Flood, flood_of
from whodunnet.rules.flood_openers import Openers, openers_of
from whodunnet.rules.flood_relays import charge_senders, excuse
from whodunnet.rules.flood_texts import label_all, peer_text, verbs
from whodunnet.rules.flood_unseen import doubted
from whodunnet.rules.identity import party, short_name
from whodunnet.rules.table_parties import parties_of, victim
from whodunnet.rules.table_pods import Meeting, meeting_of
from whodunnet.rules.table_state import State
from whodunnet.rules.table_window import TableReading, TableWindow
from whodunnet.rules.table_words import explanation_of

RULE = "conntrack-table"
COMPARABLE = 0.9
"""Openers are named from a reading that has at least this share of the entries of the fullest."""
NAMESPACES_LISTED = 8
EXPLAINED_IN_A_NAMESPACE = ("connect-timeout",)
"""What is known to begin or end there."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of who fills the table. now: None where no reading of when it was full has entries."""

    now: Openers | None = None
    flood: Flood | None = None
    meeting: Meeting | None = None
    relays: dict[str, Counter[str]] = {}


def of_table(window: TableWindow, state: State, entry: Entry) -> Finding:
    """The finding about the node's own table."""
    judged = _judged(window, state, entry)
    flood = judged.flood
    named = flood is not None and bool(flood.culprits)
    shape = _shape(judged, state, entry)
    title = _title(judged, shape, state, entry)
    fix = entry.shapes[shape or "spread"].fix
    return Finding(
        id=f"{RULE}:{window.boot_id}",
        rule=RULE,
        reason=state.reason,
        severity=state.severity,
        claim=entry.claim if named else "holds",
        confidence=flood.confidence if flood is not None and named else _measured(window),
        shape=shape,
        summary=_summary(judged, state, window),
        title=title,
        last_seen=window.last.at.wall,
        parties=tuple(parties_of(window, judged.now, flood, judged.meeting, state, entry)),
        evidence=tuple(_evidence(window, judged, entry)),
        would_explain=entry.would_explain if state.dropped else (),
        remedies=tuple(
            table_remedies.steps(flood, fix, judged.meeting, window.highest, entry.limit("calm_fill"))
        ),
        explanation=explanation_of(window, judged.now, flood, judged.meeting, state, shape, entry),
    )  # fmt: skip


def _judged(window: TableWindow, state: State, entry: Entry) -> Judged:
    read = [r for r in window.readings if r.table.groups]
    fullest = max(reversed(read), key=lambda r: r.count, default=None)
    if state.growing and read:
        fullest = read[-1]
    if fullest is None or fullest.limit is None or fullest.count < COMPARABLE * window.highest.count:
        return Judged()
    if not state.growing and window.highest.fill < entry.limit("warn_fill"):
        return Judged()  # it was full between two readings: who filled it may be gone
    other = next((r for r in (read[0], read[-1]) if r is not fullest), None)
    now, relays = _read(fullest, window, entry)
    before = _read(other, window, entry)[0] if other is not None else None
    flood = flood_of(now, before, state.growing, entry.limit("calm_fill") * fullest.limit, entry)
    if flood is not None and state.dropped:
        flood = doubted(flood, now, window, entry.limit("unseen_drops"))
    return Judged(now=now, flood=flood, meeting=meeting_of(now), relays=relays)


def _read(reading: TableReading, window: TableWindow, entry: Entry) -> tuple[Openers, dict[str, Counter[str]]]:
    openers = openers_of(reading, window, int(entry.limit("idle_age")))
    relays = charge_senders(openers, entry.limit("relay_share"))
    excuse(openers, entry.limit("relay_share"))
    return openers, relays


def _shape(judged: Judged, state: State, entry: Entry) -> str | None:
    """ "spread" only where the openers are known and none of them makes up the excess."""
    if judged.flood is not None:
        return judged.flood.shape
    known = judged.now is not None and judged.now.attributed >= entry.limit("proven_attributed")
    return "spread" if known and not state.growing else None


def _title(judged: Judged, shape: str | None, state: State, entry: Entry) -> str:
    if judged.flood is None:
        who = ", and nobody in particular fills it" if shape == "spread" else ""
        return f"The connection tracking table is {state.words}{who}"
    flood = judged.flood
    words = {
        "who": _who(flood),
        "entries": round(sum(opener.kinds[flood.shape] for opener in flood.culprits or flood.openers)),
        "peer": peer_text(flood.culprits or flood.openers),
        **verbs(flood.culprits),
    }
    return f"{entry.shapes[flood.shape].title.format(**words)}; the table is {state.words}"


def _who(flood: Flood) -> str:
    """The culprits, or where somebody is who cannot be told."""
    if flood.culprits:
        return label_all(flood.culprits, flood.of_one_workload)
    return f"Somebody behind {label_all(flood.openers, flood.of_one_workload)}"


def _summary(judged: Judged, state: State, window: TableWindow) -> str:
    if judged.flood is not None and judged.flood.culprits:
        fills = verbs(judged.flood.culprits)["fills"]
        return shorten_bytes(f"{_who(judged.flood)} {fills} the conntrack table, {state.words}", 80)
    highest = window.highest
    return shorten_bytes(f"conntrack table {state.words}: {highest.count} of {highest.limit} entries", 80)


def _measured(window: TableWindow) -> Confidence:
    """Confidence where nobody is accused: the kernel's own number, read once or more."""
    return "proven" if len(window.readings) > 1 else "possible"


def _evidence(window: TableWindow, judged: Judged, entry: Entry) -> Iterator[Evidence]:
    yield table_evidence.fill(window)
    yield from table_evidence.counters(window)
    yield from table_evidence.log_lines(window)
    if judged.now is None:
        return
    if judged.flood is not None:
        limit = judged.now.reading.limit or 0
        yield from table_evidence.culprits(judged.flood, judged.now, entry.limit("calm_fill") * limit, entry)
        return
    yield from table_evidence.states(judged.now)
    yield table_evidence.attribution(judged.now, entry)


def of_chains(window: TableWindow, entry: Entry) -> Finding:
    """Packets dropped because their bucket had too many entries, whatever the fill."""
    shape = entry.shapes["chains"]
    return Finding(
        id=f"{RULE}:chains {window.boot_id}",
        rule=RULE,
        reason="ConntrackChainsTooLong",
        severity="warning",
        claim="holds",
        confidence=_measured(window),
        shape="chains",
        summary="conntrack drops packets: its hash table has too few buckets",
        title=shape.title,
        last_seen=window.last.at.wall,
        parties=(victim(window, "some new connections are dropped"),),
        evidence=(*table_evidence.counters(window), table_evidence.chains(window)),
        remedies=(
            remedies.CAPTURE, table_remedies.enlarge_buckets(window.highest), remedies.fix(shape.fix)
        ),
        explanation=shape.explanation,
    )  # fmt: skip


def of_namespaces(window: TableWindow, entry: Entry) -> list[Finding]:
    """Other namespaces whose own number is near the limit. Their entries are not judged, so nobody is accused."""
    fullest: dict[int, tuple[TableReading, int]] = {}
    for reading in window.readings:
        for netns, count in reading.table.counts.items():
            if netns != reading.table.netns and reading.limit is not None:
                known = fullest.get(netns)
                if known is None or count / reading.limit >= known[1] / (known[0].limit or 1):
                    fullest[netns] = reading, count
    named = window.named_full()
    for netns in named:  # its number is not known, or was lower whenever it was read
        fullest.setdefault(netns, (window.last, 0))
    near = [
        (netns, reading, count)
        for netns, (reading, count) in fullest.items()
        if reading.limit is not None and (netns in named or count >= entry.limit("warn_fill") * reading.limit)
    ]
    near.sort(key=lambda found: (found[0] not in named, -found[2]))
    return [_of_namespace(netns, reading, count, window, entry) for netns, reading, count in near[:NAMESPACES_LISTED]]


def _of_namespace(netns: int, reading: TableReading, count: int, window: TableWindow, entry: Entry) -> Finding:
    tenant = reading.workloads.by_netns.get(netns) or reading.workloads.sole_by_netns.get(netns)
    shape = entry.shapes["other-namespace"]
    lines = list(table_evidence.log_lines(window, netns))
    critical = netns in window.others_without_room()
    who = short_name(tenant) if tenant is not None else f"Network namespace {netns}"
    state = "full" if critical else f"{100 * count // (reading.limit or 1)} % full"
    title = shape.title.format(who=who, entries=count, state=state)
    if count < entry.limit("warn_fill") * (reading.limit or 0):
        title = f"{who}: its own connection tracking table was full within this window, and packets were dropped"
    holder = party("holder", tenant or Workload(netns=netns), entries=count or None)
    return Finding(
        id=f"{RULE}:{netns}",
        rule=RULE,
        reason="NamespaceConntrackTableFull" if critical else "NamespaceConntrackTableNearlyFull",
        severity="critical" if critical else "warning",
        claim="holds",
        confidence=_measured(window),
        shape="other-namespace",
        summary=shorten_bytes(f"{who}: its own conntrack table is {state}", 80),
        title=title,
        last_seen=window.last.at.wall,
        parties=(holder,),
        evidence=(*([table_evidence.child(reading, netns, count)] if count else ()), *lines),
        would_explain=EXPLAINED_IN_A_NAMESPACE if critical else (),
        remedies=tuple(_namespace_steps(netns, shape.fix, _sized(reading, count), entry)),
        explanation=shape.explanation,
    )  # fmt: skip


def of_unknown_namespace(window: TableWindow, entry: Entry) -> Finding:
    """A table was full, by the word of the kernel, and by no number it was the node's own."""
    shape = entry.shapes["other-namespace"]
    whose = "another network namespace" if window.counted else "this node or of another network namespace"
    return Finding(
        id=f"{RULE}:unknown {window.boot_id}",
        rule=RULE,
        reason="NamespaceConntrackTableFull",
        severity="warning",
        claim="holds",
        confidence="likely" if len(window.readings) > 1 else "possible",
        shape="other-namespace",
        summary="a conntrack table was full: which one the kernel does not say",
        title=f"The connection tracking table of {whose} was full; the kernel does not say which",
        last_seen=window.last.at.wall,
        parties=(),
        evidence=(table_evidence.fill(window), *table_evidence.counters(window), *table_evidence.log_lines(window)),
        remedies=(remedies.CAPTURE, remedies.fix(shape.fix)),
        explanation=shape.explanation,
    )


def _namespace_steps(netns: int, fix: str, reading: TableReading, entry: Entry) -> Iterator[Remedy]:
    """The usual steps, and whom to ask behind the first."""
    first, *others = table_remedies.steps(None, fix, None, reading, entry.limit("calm_fill"))
    yield first
    look = table_remedies.look_inside(netns, reading.workloads)
    if look is not None:
        yield look
    yield from others


def _sized(reading: TableReading, count: int) -> TableReading:
    """A reading as if the number were the node's own."""
    return msgspec.structs.replace(reading, table=msgspec.structs.replace(reading.table, count=count))
