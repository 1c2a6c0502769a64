"""Ports that run out as a finding: who has them, who fails, the readings, what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from whodunnet.model.connection_names import End
from whodunnet.model.connection_pairs import Pair, one_server_of
from whodunnet.model.finding import Confidence, Evidence, Finding, Party, Remedy
from whodunnet.model.ports import PortUse
from whodunnet.model.sample import Moment
from whodunnet.model.settings import NamespaceSettings
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.model.text import shell_quote, shorten_bytes
from whodunnet.model.workload import Workload, Workloads, owner_key
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.connect_findings import end_party
from whodunnet.rules.identity import endpoint_text, party, short_name
from whodunnet.rules.openers import endpoint_party
from whodunnet.rules.queue_evidence import digest, tenant

RULE = "port-exhaustion"
REASONS = {
    "open": "PortsHeldOpen", "time-wait": "PortsInTimeWait", "bound": "PortsBound", "unseen": "NoFreePort",
    "bound-first": "PortsBoundBeforeConnect",
}  # fmt: skip
PORTS = "all ports towards that endpoint"
RANGE = "net.ipv4.ip_local_port_range"
RESERVED = "net.ipv4.ip_local_reserved_ports takes {n:,} ports out of the range."
BOUND = "{n:,} ports of the range are listened on, or bound before a connect: no other connect may have these."
SECONDS = 60
"""A port stays in TIME_WAIT for so long (TCP_TIMEWAIT_LEN)."""


class Taken(NamedTuple):
    """blocked: ports that no further connect to that endpoint may have, of so many that are available.

    bound: of those, such as no connect to anybody may have. waiting: in TIME_WAIT, where that keeps others out.
    """

    use: PortUse
    blocked: int
    available: int
    bound: int
    waiting: int
    settings: NamespaceSettings

    @property
    def share(self) -> float:
        return self.blocked / self.available


class Case(NamedTuple):
    """An endpoint towards which ports run out. taken: None where ports were not read. failed: connects without one."""

    netns: int
    endpoint: Endpoint
    shape: str
    confidence: Confidence
    taken: Taken | None
    failed: int

    @property
    def share(self) -> float:
        return self.taken.share if self.taken else 0.0


class Holder(NamedTuple):
    """Whose sockets have so many of the ports."""

    owner: Workload | None
    pid: int
    sockets: int


def compose(case: Case, pairs: Sequence[Pair], recording: Recording, entry: Entry) -> Finding:
    """The finding about one endpoint."""
    at, shape = recording.snapshots[-1].at, entry.shapes[case.shape]
    here = [pair for pair in pairs if pair.here and (pair.client.netns, pair.server) == (case.netns, case.endpoint)]
    words = _words(case, recording)
    title = shape.title.format(**words)
    return Finding(
        id=f"{RULE}:{digest(case.netns, endpoint_text(case.endpoint))}",
        rule=RULE,
        reason=REASONS[case.shape],
        severity="info" if case.confidence == "possible" else "warning",
        claim=entry.claim,
        confidence=case.confidence,
        shape=case.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=at.wall,
        parties=tuple(_parties(case, here, recording, entry)),
        evidence=tuple(_evidence(case, at, recording, entry)),
        would_explain=entry.would_explain if case.failed else (),
        remedies=(remedies.CAPTURE, *_remedies(case), remedies.fix(shape.fix)),
        explanation=(*(line.format(**words) for line in shape.explanation), *_extra(case)),
    )


def _words(case: Case, recording: Recording) -> dict[str, str]:
    inside = tenant(recording, case.netns)
    taken = case.taken
    fails = f"{case.failed:,} connects failed in {recording.seconds:.1f} s"
    return {
        "place": short_name(inside) if inside is not None else f"Network namespace {case.netns}",
        "peer": endpoint_text(case.endpoint),
        "ports": f"{taken.blocked:,} of {taken.available:,}" if taken else "an unknown number",
        "waiting": f"{taken.waiting:,}" if taken else "an unknown number",
        "bound": f"{taken.bound:,}" if taken else "an unknown number",
        "failed": fails if case.failed else "none has failed so far",
        "rate": f"{taken.available // SECONDS:,}" if taken else "some",
    }


def _extra(case: Case) -> tuple[str, ...]:
    return () if case.taken is None else extra(case.taken.settings, case.taken.bound)


def extra(settings: NamespaceSettings, bound: int) -> tuple[str, ...]:
    """What else takes ports out of the range."""
    reserved = settings.ports_reserved
    return (*((RESERVED.format(n=reserved),) if reserved else ()), *((BOUND.format(n=bound),) if bound else ()))


def _parties(case: Case, here: Sequence[Pair], recording: Recording, entry: Entry) -> list[Party]:
    most, share = int(entry.limit("listed_holders")), entry.limit("min_part")
    holders = holders_of(recording, case.netns, lambda to: to == case.endpoint) if case.shape == "open" else []
    closers = closers_of(here) if case.shape == "time-wait" else []
    blocked = case.taken.blocked if case.taken else 0
    found = [_holding(case, one) for one in holders[:most] if one.sockets >= share * blocked]
    found += [closing(end, n, of) for end, n, of in closers[:most] if n >= share * of]
    found += failing_clients(here, most)
    if not found:
        found.append(place_of(case.netns, bool(holders or closers), recording))
    effect = "is what they connect to; it has no part in it"
    return [*found, endpoint_party("peer", case.endpoint, one_server_of(here) if here else None, effect)]


def failing_clients(here: Sequence[Pair], most: int) -> list[Party]:
    """Those whose connects found no port, most first."""
    counted = [(pair.client, pair.count("not-sent")) for pair in here]
    worst = sorted((item for item in counted if item[1]), key=lambda item: -item[1])[:most]
    return [end_party("victim", end, f"{n:,} of its connects found no free port") for end, n in worst]


def place_of(netns: int, owners: bool, recording: Recording) -> Party:
    """The namespace, where nobody can be named. owners: some are known, and each has a little."""
    effect = f"its ports run out; {'nobody alone has a large part of them' if owners else 'who has them was not seen'}"
    inside = tenant(recording, netns)
    if inside is None:
        return Party(role="victim", netns=netns, effect=effect)
    return party("victim", inside, effect=effect)


def _holding(case: Case, holder: Holder) -> Party:
    share = min(holder.sockets / case.taken.blocked, 1.0) if case.taken and case.taken.blocked else None
    workload = holder.owner or Workload(netns=case.netns)
    effect = f"has {holder.sockets:,} of the ports in open connections"
    return party("holder", workload, share=share, share_of=PORTS, sockets=holder.sockets, effect=effect)


def holders_of(recording: Recording, netns: int, counts: Callable[[Endpoint | None], bool]) -> list[Holder]:
    """Owners of sockets towards the endpoints that count, most first; of TIME_WAIT there are none."""
    sockets, known = recording.last(Sockets), recording.last(Workloads) or Workloads()
    if sockets is None:
        return []
    found: dict[str, Holder] = {}
    for g in sockets.groups:
        mine = (g.protocol, g.role, g.netns) == ("tcp", "initiated", netns) and counts(g.endpoint)
        if mine and g.owner_pid is not None:
            owner = known.by_pid.get(g.owner_pid)
            key = owner_key(g.owner_pid, owner)
            before = found.get(key) or Holder(owner, g.owner_pid, 0)
            found[key] = before._replace(sockets=before.sockets + g.sockets)
    return sorted((h for h in found.values() if h.owner is not None), key=lambda h: (-h.sockets, h.pid))


def closers_of(here: Sequence[Pair]) -> list[tuple[End, int, int]]:
    """Who closes these connections first, which leaves the port in TIME_WAIT; with how many of all."""
    counted = [(pair.client, pair.count("closed-here")) for pair in here]
    total = sum(n for _, n in counted)
    return sorted(((end, n, total) for end, n in counted if n), key=lambda item: -item[1])


def closing(end: End, n: int, total: int) -> Party:
    effect = f"closed {n:,} of {total:,} connections first meanwhile: each leaves its port in TIME_WAIT for {SECONDS} s"
    return end_party("holder", end, effect)


def port_reading(
    at: Moment, statement: str, value: int, unit: str, *, limit: float | None = None, comparison: str | None = None,
    source: str = "ports collector", repeat: str = "ss -Htan | awk '{print $1, $5}' | sort | uniq -c | sort -n | tail",
) -> Evidence:  # fmt: skip
    """A reading of ports."""
    return Evidence(
        statement=statement, value=value, unit=unit, limit=limit, comparison=comparison, source=source, at=at.wall,
        boot_seconds=at.boot_seconds, repeat=repeat,
    )  # fmt: skip


def _evidence(case: Case, at: Moment, recording: Recording, entry: Entry) -> list[Evidence]:
    peer, found = endpoint_text(case.endpoint), []
    if case.failed:
        found.append(
            port_reading(
                at, f"Connects to {peer} that found no free port within {recording.seconds:.1f} s", case.failed,
                "connects", limit=entry.limit("min_failed"), comparison=">=", source="connections collector",
                repeat="whodunnet connections --for 10s --by pair --failed",
            )
        )  # fmt: skip
    if case.taken is None:
        return found
    use, repeat = case.taken.use, f"ss -Htan dst {shell_quote(peer)} | awk '{{print $1}}' | sort | uniq -c"
    rows = (
        (f"Ports taken towards {peer} from {use.source}", case.taken.blocked, case.taken.available),
        ("Of those in open connections", use.open, None),
        ("Closed by their process, and not yet by the other end", use.closing, None),
        ("In TIME_WAIT, which outlives both ends by a minute", use.time_wait, None),
    )
    for statement, n, of in rows:
        comparison = None if of is None else "of"
        found.append(port_reading(at, statement, n, "ports", limit=of, comparison=comparison, repeat=repeat))
    return [*found, range_reading(at, case.taken.settings, case.taken.available)]


def range_reading(at: Moment, settings: NamespaceSettings, available: int) -> Evidence:
    """How many ports there are."""
    first, last = settings.values[RANGE]
    text = "Ports that a connect may take (first to last of the range, without reserved ones)"
    repeat = f"sysctl {RANGE} net.ipv4.ip_local_reserved_ports  # in its network namespace"
    return port_reading(at, f"{text}: {first} to {last}", available, "ports", source="sysctl", repeat=repeat)


def _remedies(case: Case) -> list[Remedy]:
    steps = [
        Remedy(
            action="capture", do="See in which states they are, in that network namespace",
            command=f"ss -Htan dst {shell_quote(endpoint_text(case.endpoint))} | awk '{{print $1}}' | sort | uniq -c",
            effect="tells open connections from closed ones", risk="none",
        ),
    ]  # fmt: skip
    if case.shape == "time-wait":
        steps.append(
            Remedy(
                action="tune", do="Let connects take ports in TIME_WAIT there (after a second; needs TCP timestamps)",
                command="sysctl -w net.ipv4.tcp_tw_reuse=1  # in its network namespace",
                effect="a port is free again after a second instead of a minute",
                risk="little: timestamps tell old segments from new ones",
            )
        )  # fmt: skip
    return [*steps, *wider(case.taken.available if case.taken else None, "about 49,000 connections to each endpoint")]


def wider(available: int | None, effect: str) -> list[Remedy]:
    """A wider range, where it is not wide already."""
    if available is not None and available >= 50_000:
        return []
    return [
        Remedy(
            action="tune", do="Widen the range there",
            command=f'sysctl -w {RANGE}="16384 65535"  # in its network namespace',
            effect=f"{effect} at a time",
            risk="a port that a server listens on later may be taken then: in the node's own namespace reserve "
            "those first (net.ipv4.ip_local_reserved_ports; NodePorts are 30000-32767)",
        )
    ]  # fmt: skip
