"""Connects that nobody answers: a dead endpoint, a Service without endpoints, a black hole."""

from __future__ import annotations

from collections.abc import Sequence

from whodunnet.model.addresses import Addresses
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import Answer, Cleared, Confidence, Evidence, NotApplicable, NotChecked
from whodunnet.model.flow_owners import FlowOwners
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.dropped_here import find_dropped
from whodunnet.rules.hang_findings import RULE, UNREPLIED, Hang, compose
from whodunnet.rules.hang_sight import are_here, sees_all, waiters
from whodunnet.rules.openers import HERE, openers, owners_of
from whodunnet.rules.silent_targets import Silence, Silences, Target, find_silences

Series = Sequence[tuple[Moment, Conntrack]]
KEPT_SECONDS = 120
"""tcp_timeout_syn_sent, unless the administrator changed it."""


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Findings, worst and largest first; else cleared with what was looked at."""
    last = recording.last(Conntrack)
    assert last is not None  # the collector is required
    if not last.loaded:
        return [NotApplicable(rule=RULE, reason="connection tracking is not loaded")]
    if last.dump_failure is not None:
        why = last.dump_failure
        return [NotChecked(rule=RULE, code=why.code, missing_capability=why.missing_capability, reason=why.reason)]
    series = [(at, c) for at, c in recording.series(Conntrack) if c.netns == last.netns and c.dump_failure is None]
    owners = owners_of(recording)
    silences = find_silences(series, [s for _, s in recording.series(Sockets)], owners, entry)
    services = silences.services | _service_addresses(recording)
    hangs = _hangs(recording, owners, services, silences, series, entry)
    hangs += find_dropped(recording, series, owners, services, entry)
    hangs.sort(key=lambda hang: ("proven", "likely", "possible").index(hang.confidence))
    if not hangs:
        return [_cleared(recording, silences, series, entry)]
    most = int(entry.limit("listed_targets"))
    return [compose(hang, recording, series[-1][0], entry, len(hangs) - most) for hang in hangs[:most]]


def _hangs(
    recording: Recording, owners: FlowOwners, services: frozenset[str], silences: Silences, series: Series,
    entry: Entry,
) -> list[Hang]:  # fmt: skip
    """Silences that pass the test."""
    found, all_seen = [], sees_all(recording)
    for silence in silences.silent:
        who = openers(owners, silence.groups)
        here = sum(n for owner, n in who if owner.kind in HERE) >= entry.limit("min_entries")
        control = _control(silence, silences)
        seen = all_seen and are_here(who)
        confidence = _confidence(silence, len(series), here or bool(silence.connecting), bool(control), entry)
        if confidence is None and not seen and _may_go_on(silence, entry):
            confidence = "possible"
        if confidence is None:
            continue
        at_once = seen and silence.target.protocol == "tcp" and not silence.waited
        confidence = "possible" if silences.unkept or at_once else confidence
        found.append(
            Hang(
                silence=silence,
                shape=_shape(silence.target, services),
                confidence=confidence,
                openers=who,
                waiters=waiters(recording, owners, silence, silences) if seen else None,
                seen=seen,
                at_once=at_once,
                kept_seconds=series[-1][1].timeouts.get("tcp_timeout_syn_sent", KEPT_SECONDS),
                peer=owners.answerer(silence.target.answerer.address or ""),
                control=len(control),
                services=tuple(sorted(services)),
            )
        )
    return found


def _confidence(silence: Silence, readings: int, here: bool, control: bool, entry: Entry) -> Confidence | None:
    """None where it is no finding: nobody tries any more, or it has not lasted."""
    aged = silence.lasts_seconds >= entry.limit("min_age") or silence.old > 0
    if not aged:
        return None
    if readings < 2:
        return "possible"
    trying = silence.recent > 0 or silence.growing or bool(silence.connecting)
    if silence.readings < 2 or not trying:
        return None
    if not here:
        return "possible"  # answers to others than this node may pass by another way
    return "proven" if control else "likely"


def _may_go_on(silence: Silence, entry: Entry) -> bool:
    """Whether somebody unseen may still wait: of TCP a try again shows in no entry; a question anew renews its own."""
    lasted = silence.lasts_seconds >= entry.limit("min_age") or silence.old >= entry.limit("min_entries")
    return silence.target.protocol == "tcp" and lasted


def _control(silence: Silence, silences: Silences) -> list[Target]:
    """Who answers, although this one does not: other endpoints of the Service, else any other address."""
    target = silence.target
    if target.translated:
        same = [t for t in silences.answered if (t.protocol, t.asked) == (target.protocol, target.asked)]
        if same:
            return same
    return [t for t in silences.answered if t.answerer.address != target.answerer.address]


def _shape(target: Target, services: frozenset[str]) -> str:
    if target.translated:
        return "dead-endpoint"
    return "no-endpoints" if target.asked.address in services else "black-hole"


def _service_addresses(recording: Recording) -> frozenset[str]:
    """Addresses that kube-proxy has put on a device of this node (IPVS)."""
    addresses = recording.last(Addresses) or Addresses()
    return frozenset(a.address for every in addresses.by_netns.values() for a in every if a.of_service)


def _cleared(recording: Recording, silences: Silences, series: Series, entry: Entry) -> Cleared:
    at, table = series[-1]
    seconds = at.boot_seconds - series[0][0].boot_seconds
    floor, age = int(entry.limit("min_entries")), entry.limit("min_age")
    reach = f"{floor} or more connects to one address without any answer for {age:.0f} s"
    reach += f", watched for {seconds:.1f} s" if len(series) > 1 else "; one reading, which cannot show that it goes on"
    reach += "; of datagrams only DNS counts; what this node itself drops leaves no entry, "
    sees = len(series) > 1 and len(recording.series(Sockets)) > 1 and recording.last(Addresses) is not None
    reach += "and shows by sockets alone" if sees else "which two readings of sockets and addresses would show"
    if silences.scanners:
        reach += f"; {silences.scanners} sources that try many addresses at once (scans) are left out"
    if silences.merged or table.other_entries:
        reach += f"; of {silences.merged + table.other_entries:,} entries the address or port was not kept"
    return Cleared(
        rule=RULE,
        sensitivity=reach,
        evidence=(
            Evidence(
                statement="Connects and questions to name servers without an answer so far",
                value=silences.unreplied,
                unit="entries",
                source="conntrack collector",
                at=at.wall,
                boot_seconds=at.boot_seconds,
                repeat=UNREPLIED,
            ),
        ),
    )
