"""A leak as a finding: who did it, who holds or suffers, the readings, what to do."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import msgspec

from whodunnet.model.finding import Evidence, Finding, Party, Remedy
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import shell_quote, shorten_bytes
from whodunnet.model.workload import Workload
from whodunnet.rules import files_spent, remedies
from whodunnet.rules.backpressure import Backpressure, Held, remote_key, remote_sockets
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import endpoint_text, party, short_name
from whodunnet.rules.leak_cases import Case, severity_of
from whodunnet.rules.leak_evidence import evidence_of
from whodunnet.rules.leak_pace import Pace, duration, pace_of
from whodunnet.rules.tally import Candidate, Tally
from whodunnet.rules.window import Window

RULE = "socket-leak"
SHARE_WORTH_SAYING = 10  # percent
BLAMELESS = ("reader-stopped", "orphans", "close-handed-on")


def compose(case: Case, entry: Entry, window: Window) -> Finding:
    """The finding of one case."""
    c, signs = case.candidate, case.signs
    shape = entry.shapes[signs.shape]
    who, peer = short_name(c.workload, _pid(c)), _peer_text(case.waits or c.last)
    words = {"who": who, "sockets": signs.affected, "peer": peer, "state": c.state}
    pace = pace_of(c, entry, window, case.caused_bytes)
    severity = severity_of(case, window)
    return Finding(
        id=f"{RULE}:{_digest(signs.shape, c.key)}",
        rule=RULE,
        reason="".join(word.capitalize() for word in signs.shape.split("-")),
        severity=severity,
        claim="holds" if signs.shape in BLAMELESS or case.is_denied(window) else entry.claim,
        confidence=case.confidence,
        shape=signs.shape,
        summary=shorten_bytes(shape.title.format(**words), 80),
        title=shape.title.format(**words) + _share_text(case, window),
        since=window.at.wall - timedelta(seconds=c.last.oldest_seconds()) if any(c.last.ages) else None,
        last_seen=window.at.wall,
        parties=tuple(_parties(case, window)),
        evidence=evidence_of(c, signs, window, case.caused_bytes),
        would_explain=_explains(case, entry),
        remedies=tuple(_remedies(case, shape.fix, window, pace)),
        explanation=tuple(line.format(**words) for line in shape.explanation)
        + tuple(_pace_text(pace))
        + ((files_spent.TEXT,) if case.is_denied(window) else ()),
    )


def _explains(case: Case, entry: Entry) -> tuple[str, ...]:
    """Memory by what it ties up; the table of tracked connections by connections that are kept and not used."""
    impossible = set() if case.caused_bytes else {"tcp-memory"}
    impossible |= set() if case.signs.shape == "held-open" else {"conntrack-table"}
    return tuple(rule for rule in entry.would_explain if rule not in impossible)


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
                effect=f"is {c.state} and reads nothing",
            )
        )
    elif signs.shape == "orphans":
        parties.append(party("holder", c.workload, share=share, sockets=signs.affected, memory_bytes=tied))
    elif case.waits:
        effect = "it has handed their close on, and waits until the other side closes too"
        parties.append(party("holder", c.workload, sockets=signs.affected, memory_bytes=tied, effect=effect))
    elif case.is_denied(window):
        parties.append(party("victim", c.workload, sockets=signs.affected, effect=files_spent.EFFECT))
    elif c.workload is not None:
        workload = _without_limit(c.workload) if signs.shape == "accept-not-called" else c.workload
        parties.append(party("culprit", workload, share=share, sockets=signs.affected, memory_bytes=tied))
    parties += _holders(case.held, window)
    if signs.shape != "accept-not-called":
        endpoints = (case.waits or c.last).endpoints.most_common(3)
        parties += [Party(role="peer", endpoint=endpoint) for endpoint, _ in endpoints if endpoint.address]
    if window.exhausted:
        effect = "transfers larger than one packet stall in every network namespace"
        parties.append(Party(role="victim", node=window.node, effect=effect))
    return parties


def _without_limit(workload: Workload) -> Workload:
    """What waits for accept() has no descriptor, so that its number is no share of them."""
    process = workload.process
    if process is None:
        return workload
    return msgspec.structs.replace(workload, process=msgspec.structs.replace(process, descriptor_limit=None))


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
    if case.signs.shape not in BLAMELESS and not case.is_denied(window):
        restart = remedies.restart(c.workload, freed, "the leak starts again")
        steps += [restart] if restart else []
    if window.strained and window.memory is not None:
        limit = remedies.raise_limit(window.memory, pace)
        steps += [limit] if limit else []
    return [*steps, remedies.fix(fix)]


def remote_readers(pressure: Backpressure, entry: Entry, window: Window) -> list[Finding]:
    """Send queues kept full by a peer that is not on this node: the address is all that can be named."""
    found = []
    for address, direct in pressure.by_remote.items():
        table: dict[str, Held] = {}
        for holder, held in (*direct.items(), *pressure.held_for(remote_key(address)).items()):
            table.setdefault(holder, Held()).add(held)
        sockets = remote_sockets(pressure, address)
        still = sum(h.unchanged for h in direct.values())
        memory = sum(h.memory_bytes for h in table.values())
        if sockets < entry.limit("min_sockets") or (window.snapshots > 1 and 2 * still < sockets):
            continue
        found.append(_remote_finding(address, table, (sockets, still, memory), entry, window))
    return found


def _enter(table: dict[str, Held]) -> str:
    """How to get into the namespace of the largest holder."""
    largest = max(table.values(), key=lambda held: held.memory_bytes)
    return f"nsenter -t {largest.pids.most_common(1)[0][0]} -n " if largest.pids else ""


def _hidden_readers(window: Window) -> bool:
    """Whether a reader on this node could be out of sight: in a namespace not read, or behind MPTCP."""
    return bool(window.sockets.netns_unread) or any(g.protocol == "mptcp" for g in window.sockets.groups)


def _remote_finding(
    address: str, table: dict[str, Held], sums: tuple[int, int, int], entry: Entry, window: Window
) -> Finding:
    sockets, still, memory = sums
    shape = entry.shapes["peer-does-not-read"]
    certain = window.snapshots > 1 and not window.strained and not _hidden_readers(window)
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
                value=sockets,
                unit="sockets",
                source=f"sockets collector ({window.sockets.method})",
                at=window.at.wall,
                boot_seconds=window.at.boot_seconds,
                repeat=f"{_enter(table)}ss -tnm dst {shell_quote(endpoint_text(Endpoint(address, None)))}",
            ),
        ),
        would_explain=("tcp-memory",) if heavy else (),
        remedies=(remedies.CAPTURE, remedies.fix(shape.fix)),
        explanation=shape.explanation,
    )


def _pace_text(pace: Pace | None) -> list[str]:
    if pace is None:
        return []
    lines = [f"It grows by {pace.sockets_per_second * 60:,.0f} sockets a minute."]
    if pace.until_memory_seconds is not None:
        lines.append(f"At this pace TCP memory reaches its maximum in {duration(pace.until_memory_seconds)}.")
    if pace.until_descriptors_seconds is not None:
        lines.append(
            f"The process runs out of descriptors in {duration(pace.until_descriptors_seconds)} at the latest."
        )
    if pace.since_start is not None and pace.age_seconds is not None and pace.owner_age_seconds is not None:
        fits = "fits" if pace.since_start else "does not fit"
        lines.append(
            f"Number over pace gives an age of {duration(pace.age_seconds)}, which {fits} the age of the workload "
            f"({duration(pace.owner_age_seconds)})."
        )
    return lines


def _share_text(case: Case, window: Window) -> str:
    percent = 100 * case.caused_bytes // window.total_bytes
    return f"; it ties up {percent} % of all TCP memory" if percent >= SHARE_WORTH_SAYING else ""


def _peer_text(tally: Tally) -> str:
    if not tally.endpoints:
        return ""
    endpoint, n = tally.endpoints.most_common(1)[0]
    preposition = "on" if endpoint.address is None else "to"
    more = f" and {len(tally.endpoints) - 1:,} more" if n < tally.sockets and len(tally.endpoints) > 1 else ""
    return f" {preposition} {endpoint_text(endpoint)}{more}"


def _pid(c: Candidate) -> int | None:
    return c.last.pids.most_common(1)[0][0] if c.last.pids else None


def _digest(shape: str, key: str) -> str:
    return hashlib.blake2s(f"{shape} {key}".encode(), digest_size=8).hexdigest()
