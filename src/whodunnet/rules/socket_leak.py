"""Who leaks sockets: never reads, never closes, never accepts. Full send queues are followed to their reader."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from whodunnet.model.finding import (
    Answer,
    Cleared,
    Confidence,
    Evidence,
    Finding,
    NotChecked,
    Party,
    Remedy,
    Severity,
)
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.backpressure import Backpressure, Held, follow
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import endpoint_text, party, short_name
from whodunnet.rules.leak_evidence import evidence_of
from whodunnet.rules.leak_pace import Pace, duration, pace_of
from whodunnet.rules.leak_shapes import TESTS, Signs
from whodunnet.rules.tally import Candidate, candidates
from whodunnet.rules.window import Window, window_of

RULE = "socket-leak"
ENOUGH_SEEN = 0.8
"""With less of the kernel's sockets or memory in sight than this, finding nothing proves nothing."""


class Case(msgspec.Struct, kw_only=True):
    """One candidate that passed its test, with what it causes in others."""

    candidate: Candidate
    signs: Signs
    caused_bytes: int
    held: dict[str, Held]
    excess_share: float = 0.0
    confidence: Confidence = "possible"


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Findings by what they tie up, largest first; else cleared, or not checked where too little was in sight."""
    window = window_of(recording)
    assert window is not None  # the sockets collector is required
    pressure = follow(window.sockets, window.workloads)
    cases = _cases(candidates(recording), entry, window, pressure)
    found = [compose(case, entry, window) for case in cases]
    found += _remote_readers(pressure, entry, window)
    if found:
        return found
    unseen = _unseen(window)
    if unseen is not None:
        return [unseen]
    return [_cleared(window)]


def _cases(found: list[Candidate], entry: Entry, window: Window, pressure: Backpressure) -> list[Case]:
    cases = []
    for c in found:
        held = _caused(c, pressure)
        if held is None:
            continue
        caused = c.last.memory_bytes + sum(round(h.memory_bytes * pressure.scale) for h in held.values())
        signs = TESTS[c.shape](c, entry, window, caused)
        if signs is not None:
            cases.append(Case(candidate=c, signs=signs, caused_bytes=caused, held=held))
    return _weighed(cases, found, entry, window)


def _caused(c: Candidate, pressure: Backpressure) -> dict[str, Held] | None:
    """Send queues that this reader keeps full, also through relays; None for one that only passes it on."""
    if c.shape == "orphans" and c.key.split(" None")[0] in _paired_orphans(pressure):
        return None
    if c.shape != "response-never-read":
        return {}
    if c.key in pressure.relays and pressure.origins(c.key) != {c.key}:
        return None
    held: dict[str, Held] = dict(pressure.by_reader.get(c.key, {}))
    for relay in pressure.relays:
        if c.key in pressure.origins(relay):
            held |= pressure.by_reader.get(relay, {})
    return held


def _paired_orphans(pressure: Backpressure) -> set[str]:
    """Namespaces whose orphans wait for a reader on this node: that reader is the finding."""
    holders = (held for table in pressure.by_reader.values() for held in table.values())
    return {f"netns {netns}" for held in holders if held.orphans for netns in held.netns}


def _weighed(cases: list[Case], found: list[Candidate], entry: Entry, window: Window) -> list[Case]:
    """Each case's share of the excess: of all memory that is stuck, or of all sockets of the same shape."""
    closed = sum(g.memory_bytes for g in window.sockets.groups if g.symptom == "window-closed")
    unread = sum(g.memory_bytes for g in window.sockets.groups if g.symptom == "unread" and g.protocol == "tcp")
    for case in cases:
        if case.signs.shape in ("response-never-read", "reader-stopped", "orphans"):
            case.excess_share = min(case.caused_bytes / max(closed + unread, 1), 1.0)
        else:
            same = sum(c.last.sockets for c in found if c.shape == case.candidate.shape)
            case.excess_share = case.candidate.last.sockets / max(same, 1)
        case.confidence = _confidence(case, entry, window)
    return sorted(cases, key=lambda k: (k.confidence != "possible", k.caused_bytes, k.signs.affected), reverse=True)


def _confidence(case: Case, entry: Entry, window: Window) -> Confidence:
    """The test of report-contract.md; one snapshot alone is never more than possible."""
    if window.snapshots < 2 or not case.signs.strong:
        return "possible"
    if (
        case.signs.observed
        and case.excess_share >= entry.limit("proven_share")
        and window.attributed >= entry.limit("proven_attributed")
    ):
        return "proven"
    return "likely"


def _severity(case: Case, window: Window) -> Severity:
    ties_most = case.caused_bytes >= 0.5 * window.total_bytes
    if window.exhausted and ties_most and case.signs.shape != "orphans":
        return "critical" if case.confidence != "possible" else "warning"
    if case.signs.shape == "reader-stopped":
        return "warning" if window.strained and ties_most else "info"
    return "info" if case.confidence == "possible" else "warning"


def compose(case: Case, entry: Entry, window: Window) -> Finding:
    """The finding of one case."""
    c, signs = case.candidate, case.signs
    shape = entry.shapes[signs.shape]
    who, peer = short_name(c.workload, _pid(c)), _peer_text(c)
    words = {"who": who, "sockets": signs.affected, "peer": peer, "state": _state(c)}
    pace = pace_of(c, window)
    severity = _severity(case, window)
    return Finding(
        id=f"{RULE}:{_digest(signs.shape, c.key)}",
        rule=RULE,
        reason="".join(word.capitalize() for word in signs.shape.split("-")),
        severity=severity,
        claim="holds" if signs.shape in ("reader-stopped", "orphans") else entry.claim,
        confidence=case.confidence,
        shape=signs.shape,
        summary=shorten_bytes(shape.title.format(**words), 80),
        title=shape.title.format(**words),
        since=window.at.wall - timedelta(seconds=c.last.oldest_seconds()) if any(c.last.ages) else None,
        last_seen=window.at.wall,
        parties=tuple(_parties(case, window)),
        evidence=evidence_of(c, signs, window, case.caused_bytes),
        would_explain=entry.would_explain if case.caused_bytes else (),
        remedies=tuple(_remedies(case, shape.fix, window, pace)),
        explanation=tuple(line.format(**words) for line in shape.explanation) + tuple(_pace_text(pace)),
    )


def _parties(case: Case, window: Window) -> list[Party]:
    c, signs = case.candidate, case.signs
    tied = case.caused_bytes if case.caused_bytes else None
    share = case.caused_bytes / window.total_bytes if case.caused_bytes else None
    parties = []
    if signs.shape == "reader-stopped":
        parties.append(
            party(
                "reader",
                c.workload,
                share=share,
                sockets=signs.affected,
                memory_bytes=tied,
                effect=f"is {_state(c)} and reads nothing",
            )
        )
    elif signs.shape == "orphans":
        parties.append(party("holder", c.workload, share=share, sockets=signs.affected, memory_bytes=tied))
    else:
        parties.append(party("culprit", c.workload, share=share, sockets=signs.affected, memory_bytes=tied))
    parties += _holders(case.held, window)
    if signs.shape != "accept-not-called":
        parties += [
            Party(role="peer", endpoint=endpoint) for endpoint, _ in c.last.endpoints.most_common(3) if endpoint.address
        ]
    if window.exhausted:
        parties.append(Party(role="victim", effect="transfers larger than one packet stall in every network namespace"))
    return parties


def _holders(table: dict[str, Held], window: Window) -> list[Party]:
    """Whose send queues are full because of it: they hold and suffer, and have caused nothing."""
    effect = "its send queues are full because its peer does not read; it holds and suffers"
    largest = sorted(table.values(), key=lambda held: held.memory_bytes, reverse=True)[:3]
    return [
        party(
            "holder",
            window.workloads.by_pid.get(held.pids.most_common(1)[0][0]) if held.pids else None,
            sockets=held.sockets,
            memory_bytes=held.memory_bytes,
            effect=effect if held.pids else "closed connections (orphans) whose data is not taken",
        )
        for held in largest
    ]


def _remedies(case: Case, fix: str, window: Window, pace: Pace | None) -> list[Remedy]:
    c = case.candidate
    freed = f"frees {case.caused_bytes / 2**20:,.0f} MiB of TCP memory" if case.caused_bytes >= 2**20 else ""
    freed = freed or f"frees {case.signs.affected:,} sockets"
    steps = [remedies.CAPTURE]
    if case.signs.shape not in ("reader-stopped", "orphans"):
        restart = remedies.restart(c.workload, freed, "the leak starts again")
        steps += [restart] if restart else []
    if window.strained:
        limit = remedies.raise_limit(window, pace)
        steps += [limit] if limit else []
    return [*steps, remedies.fix(fix)]


def _remote_readers(pressure: Backpressure, entry: Entry, window: Window) -> list[Finding]:
    """Send queues kept full by a peer that is not on this node: the address is all that can be named."""
    found = []
    for address, table in pressure.by_remote.items():
        sockets = round(sum(h.sockets for h in table.values()) * pressure.scale)
        still = round(sum(h.unchanged for h in table.values()) * pressure.scale)
        memory = round(sum(h.memory_bytes for h in table.values()) * pressure.scale)
        if sockets < entry.limit("min_sockets") or (window.snapshots > 1 and 2 * still < sockets):
            continue
        found.append(_remote_finding(address, table, (sockets, still, memory), entry, window))
    return found


def _remote_finding(
    address: str, table: dict[str, Held], sums: tuple[int, int, int], entry: Entry, window: Window
) -> Finding:
    sockets, still, memory = sums
    shape = entry.shapes["peer-does-not-read"]
    certain = window.snapshots > 1 and not window.strained
    heavy = window.max_bytes is not None and memory >= entry.limit("min_memory_share") * window.max_bytes
    words = {"who": address, "sockets": sockets, "peer": f" to {address}", "state": ""}
    return Finding(
        id=f"{RULE}:{_digest('peer-does-not-read', address)}",
        rule=RULE,
        reason="PeerDoesNotRead",
        severity="warning" if certain and heavy else "info",
        claim="holds",
        confidence="likely" if certain else "possible",
        shape="peer-does-not-read",
        summary=shorten_bytes(shape.title.format(**words), 80),
        title=shape.title.format(**words),
        last_seen=window.at.wall,
        parties=(Party(role="peer", endpoint=Endpoint(address, None)), *_holders(table, window)),
        evidence=(
            Evidence(
                statement=f"Connections to {address} with unsent data and a closed window; {still:,} did not move",
                value=sockets, unit="sockets", source=f"sockets collector ({window.sockets.method})",
                at=window.at.wall, boot_seconds=window.at.boot_seconds, repeat=f"ss -tnm dst {address}",
            ),
        ),
        would_explain=entry.would_explain if heavy else (),
        remedies=(remedies.CAPTURE, remedies.fix(shape.fix)),
        explanation=shape.explanation,
    )  # fmt: skip


def _unseen(window: Window) -> NotChecked | None:
    """Not checked, if the kernel counts far more than was in sight."""
    sockets, memory = window.sockets, window.memory
    if sockets.netns_unread:
        reason = f"{sockets.netns_unread} network namespaces could not be entered"
    elif memory is not None and sockets.tcp_sockets < ENOUGH_SEEN * memory.alloc_sockets - 8:
        reason = f"only {sockets.tcp_sockets:,} of the kernel's {memory.alloc_sockets:,} TCP sockets were in sight"
    else:
        return None
    if sockets.fallback_reason:
        reason += f" ({sockets.fallback_reason})"
    code = "missing-capability" if sockets.missing_capability else "unsupported"
    return NotChecked(rule=RULE, code=code, missing_capability=sockets.missing_capability, reason=reason)


def _cleared(window: Window) -> Cleared:
    sockets, page = window.sockets, window.sockets.page_size_bytes
    unread = sum(g.sockets for g in sockets.groups if g.symptom == "unread")
    waiting = sum(g.sockets for g in sockets.groups if g.state == "close-wait")
    reach = "one snapshot: no growth can be seen" if window.snapshots < 2 else f"growth within {window.seconds:.0f} s"
    if window.seconds < 60:
        reach += "; idle connections that are held open show only in 60 s or more"
    if sockets.method != "bpf":
        reach += "; without BPF, sockets that were never connected or are dead are not seen"
    return Cleared(
        rule=RULE,
        sensitivity=reach,
        evidence=(
            Evidence(
                statement=f"TCP sockets looked at; {unread:,} with unread data, {waiting:,} in CLOSE_WAIT, "
                f"{sockets.tcp_memory_bytes // page:,} pages",
                value=sockets.tcp_sockets, unit="sockets", source=f"sockets collector ({sockets.method})",
                at=window.at.wall, boot_seconds=window.at.boot_seconds, repeat="whodunnet sockets",
            ),
        ),
    )  # fmt: skip


def _pace_text(pace: Pace | None) -> list[str]:
    if pace is None:
        return []
    lines = [f"It grows by {pace.sockets_per_second * 60:,.0f} sockets a minute."]
    if pace.until_memory_seconds is not None:
        lines.append(f"At this pace TCP memory reaches its maximum in {duration(pace.until_memory_seconds)}.")
    if pace.until_descriptors_seconds is not None:
        lines.append(f"At this pace the process runs out of descriptors in {duration(pace.until_descriptors_seconds)}.")
    if pace.since_start is not None and pace.age_seconds is not None and pace.owner_age_seconds is not None:
        fits = "fits" if pace.since_start else "does not fit"
        lines.append(
            f"Number over pace gives an age of {duration(pace.age_seconds)}, which {fits} the age of the workload "
            f"({duration(pace.owner_age_seconds)})."
        )
    return lines


def _peer_text(c: Candidate) -> str:
    if not c.last.endpoints:
        return ""
    endpoint, n = c.last.endpoints.most_common(1)[0]
    preposition = "on" if endpoint.address is None else "to"
    more = f" and {len(c.last.endpoints) - 1:,} more" if n < c.last.sockets and len(c.last.endpoints) > 1 else ""
    return f" {preposition} {endpoint_text(endpoint)}{more}"


def _pid(c: Candidate) -> int | None:
    return c.last.pids.most_common(1)[0][0] if c.last.pids else None


def _state(c: Candidate) -> str:
    process = c.workload.process if c.workload else None
    return (process.state if process else None) or "unknown"


def _digest(shape: str, key: str) -> str:
    return hashlib.blake2s(f"{shape} {key}".encode(), digest_size=8).hexdigest()
