"""A case of failing connects as a finding: title, parties, readings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from whodunnet.model.connection_names import End
from whodunnet.model.connection_pairs import Pairs, one_server_of
from whodunnet.model.connections import Ending
from whodunnet.model.finding import Answer, Confidence, Evidence, Finding, Party, PartyRole, Remedy
from whodunnet.model.sample import Moment
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import shorten_bytes
from whodunnet.model.workload import Workload
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.connect_failures import Case
from whodunnet.rules.connect_others import Failed
from whodunnet.rules.connect_place import OVERFLOWS, Place
from whodunnet.rules.connection_sight import too_few, ungrouped
from whodunnet.rules.identity import endpoint_text, party, short_name
from whodunnet.rules.openers import endpoint_party

REPEAT = "whodunnet connections --for 10s --by pair --failed"
SOURCE = "connections collector"
ONE_PART = (
    "Connections were read fewer than four times, or at too uneven times, so that nothing says whether it lasted: it "
    "may be a start, or over."
)
UNGROUPED = (
    "{n:,} ended so of which, for lack of room, nobody knows whose they are, or when: numbers and shares may be others."
)
MORE = "{n:,} more findings of this rule are smaller and not listed."


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule makes of a case. verb: of the failed connects, for evidence and parties ("were refused").

    lead: who is behind the endpoint, where that is sure. peer: what is said of the endpoint. more: evidence of the
    shape. extra: words of explanation after those of the shape. kind: tells findings about one endpoint apart.
    """

    rule: str
    shape: str
    confidence: Confidence
    verb: str
    failed: Failed
    peer: str
    endings: tuple[Ending, ...]
    lead: tuple[Party, ...] = ()
    more: tuple[Evidence, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    extra: tuple[str, ...] = ()
    kind: str = ""


def compose_all(told: Sequence[tuple[Case, Told, int]], pairs: Pairs, entry: Entry) -> list[Answer]:
    """A finding for each, with how many are not listed beside it; and whether readings were too few for any."""
    found: list[Answer] = [compose(case, what, pairs, entry, left_out) for case, what, left_out in told]
    unsure = [what.rule for case, what, _ in told if not case.lasting and what.confidence != "possible"]
    return [*found, too_few(unsure[0])] if unsure else found


def compose(case: Case, told: Told, pairs: Pairs, entry: Entry, left_out: int) -> Finding:
    """left_out: findings that are not listed."""
    shape = entry.shapes[told.shape]
    confidence, doubts = _certain(case, told, pairs)
    words = words_of(case)
    title = shape.title.format(**words)
    more = (MORE.format(n=left_out),) if left_out > 0 else ()
    told = msgspec.structs.replace(told, lead=tuple(_unless_certain(party, confidence) for party in told.lead))
    return Finding(
        id=f"{told.rule}:{_digest(case, told.kind)}",
        rule=told.rule,
        reason="Connect" + "".join(word.capitalize() for word in told.shape.split("-")),
        severity="info" if confidence == "possible" else "warning",
        claim=entry.claim,
        confidence=confidence,
        shape=told.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=pairs.window.at.wall,
        parties=(*told.lead, *_parties(case, told, entry)),
        evidence=(*_evidence(case, told, pairs, entry), *told.more),
        would_explain=entry.would_explain if told.lead else (),
        remedies=(remedies.CAPTURE, *told.remedies, remedies.fix(shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation) + told.extra + doubts + more,
    )


def _unless_certain(party: Party, confidence: Confidence) -> Party:
    """What may be a start has no culprit yet."""
    if confidence == "possible" and party.role == "culprit":
        return msgspec.structs.replace(party, role="holder")
    return party


def words_of(case: Case) -> dict[str, str]:
    """For the texts of the catalogue; all are cleaned."""
    first = case.tries[0].pair
    clients = {(t.pair.client.key, t.pair.client.netns) for t in case.tries}
    who = name_of(first.client) if len(clients) == 1 else f"{len(clients):,} clients"
    peer = endpoint_text(first.server)
    if case.endpoint is None:
        peer = f"{len({e.address for e in case.endpoints}):,} addresses"
    percent = min(max(round(100 * case.share), 1), 99 if case.failed < case.made else 100)
    return {
        "who": who,
        "peer": peer,
        "failed": f"{case.failed:,} of {case.made:,} connects ({percent} %)",
        "others": f"{len({pair.client.key for pair, _ in case.others}):,}",
    }


def name_of(end: End) -> str:
    """A workload, else what is known."""
    if end.workload is not None and (end.workload.process or end.workload.container or end.workload.pod):
        return short_name(end.workload)
    if end.address is not None:
        return endpoint_text(Endpoint(end.address, None))
    return f"A program in network namespace {end.netns}" if end.netns is not None else "An unknown client"


def _certain(case: Case, told: Told, pairs: Pairs) -> tuple[Confidence, tuple[str, ...]]:
    """Less sure where nobody saw that it lasts, or where much is not known to be of anybody."""
    lost = ungrouped(pairs, *told.endings)
    doubts = (UNGROUPED.format(n=lost),) if lost else ()
    if not case.lasting:
        return "possible", (*doubts, ONE_PART)
    if lost and told.confidence == "proven":
        return "likely", doubts
    return told.confidence, doubts


def _parties(case: Case, told: Told, entry: Entry) -> list[Party]:
    """Who fails, and where; where it is said who is behind that endpoint (lead), it is not said again."""
    most = int(entry.limit("listed_clients"))
    victims = _by_client(case, told.failed)[:most]
    found = [end_party("victim", end, f"{failed} {told.verb}") for end, failed in victims]
    if not told.lead:
        for to in case.endpoints[:most]:
            behind = _behind(case, to)
            if told.shape == "nothing-listens":
                behind = _home_of(behind)
            found.append(endpoint_party("peer", to, behind, told.peer, _netns_of(case, to)))
    return found


def _home_of(workload: Workload | None) -> Workload | None:
    """Where somebody should listen: a program that runs there and does not listen need not be the one."""
    if workload is None or not (workload.container or workload.pod or workload.unit):
        return None
    return msgspec.structs.replace(workload, process=None)


def _behind(case: Case, endpoint: Endpoint) -> Workload | None:
    """Who has the address; of many addresses nobody is looked up, of a Service's or of several nobody is the one."""
    pairs = [t.pair for t in case.tries if t.pair.server == endpoint]
    return None if case.endpoint is None or pairs[0].answered_by else one_server_of(pairs)


def _netns_of(case: Case, endpoint: Endpoint) -> int | None:
    """The namespace of this node that has the address; an address that stands for others has none."""
    pairs = [t.pair for t in case.tries if t.pair.server == endpoint]
    netns = {pair.server_end.netns for pair in pairs}
    return None if pairs[0].answered_by or len(netns) > 1 else netns.pop()


def _by_client(case: Case, failed: Failed) -> list[tuple[End, str]]:
    """Each client with how many of its connects failed, most first."""
    found: dict[tuple[str, int | None], tuple[End, int, int]] = {}
    for t in case.tries:
        key = (t.pair.client.key, t.pair.client.netns)
        _, n, made = found.get(key, (t.pair.client, 0, 0))
        found[key] = (t.pair.client, n + failed(t), made + t.made)
    ordered = sorted(found.values(), key=lambda item: -item[1])
    return [(end, f"{n:,} of {made:,} connects") for end, n, made in ordered if n]


def end_party(role: PartyRole, end: End, effect: str) -> Party:
    """An end in its role: its workload, else what is known of where it is."""
    if end.workload is not None:
        return party(role, end.workload, effect=effect)
    if end.address is not None:
        return Party(role=role, endpoint=Endpoint(end.address, None), effect=effect)
    return Party(role=role, netns=end.netns, effect=effect)


def _evidence(case: Case, told: Told, pairs: Pairs, entry: Entry) -> list[Evidence]:
    at, words = pairs.window.at, words_of(case)
    to = f"Connects of {words['who']} to {words['peer']}"
    floor, rate = entry.limit("min_share"), entry.limit("min_rate")
    found = [
        reading(at, f"{to} that {told.verb}", case.failed, "connects", limit=case.made, comparison="of"),
        reading(at, "That is a share of", round(case.share, 3), "share", limit=floor, comparison=">="),
        reading(
            at, "In each second", round(case.per_second, 2), "connects", limit=rate, comparison=">="
        ),
        reading(
            at, f"Parts of the window of {pairs.window.seconds:.1f} s in which it was so",
            sum(map(bool, case.parts)), "parts", limit=len(case.parts), comparison="of",
        ),
    ]  # fmt: skip
    if case.others:
        n = sum(n for _, n in case.others)
        found.append(reading(at, "Connects of others to the same endpoint, which were answered", n, "connects"))
    return found


def reading(
    at: Moment, statement: str, value: float, unit: str, *, limit: float | None = None, comparison: str | None = None,
    source: str = SOURCE, repeat: str = REPEAT,
) -> Evidence:  # fmt: skip
    return Evidence(
        statement=statement, value=value, unit=unit, limit=limit, comparison=comparison, source=source, at=at.wall,
        boot_seconds=at.boot_seconds, repeat=repeat,
    )  # fmt: skip


def listening_evidence(place: Place, at: Moment, gone: int = 0) -> list[Evidence]:
    """Whether somebody listens there, in all readings of sockets. gone: answered by somebody who did not any more."""
    if not place.readings:
        return []
    found = [
        reading(
            at, f"Readings in which somebody listened at {endpoint_text(place.endpoint)}", place.heard, "readings",
            limit=place.readings, comparison="of", source="sockets collector",
            repeat=f"ss -ltn sport = {place.endpoint.port}  # in its network namespace: at which address?",
        )
    ]  # fmt: skip
    if gone:
        found.append(reading(at, "Connects answered before a reading in which nobody listened", gone, "connects"))
    return found


def queue_evidence(place: Place, at: Moment) -> list[Evidence]:
    """How full its accept queue was."""
    found = []
    if place.longest is not None:
        found.append(
            reading(
                at, f"Connections in the accept queue of {endpoint_text(place.endpoint)}, most in any reading",
                place.longest.waiting, "connections", limit=place.longest.limit,
                comparison=">" if place.longest.waiting > place.longest.limit else "of",
                source="sockets collector", repeat=f"ss -ltn sport = {place.endpoint.port}  # Recv-Q of Send-Q",
            )
        )  # fmt: skip
        found.append(
            reading(
                at, "Readings in which it was full", place.full, "readings", limit=place.readings, comparison="of",
                source="sockets collector", repeat=f"ss -ltn sport = {place.endpoint.port}  # Recv-Q of Send-Q",
            )
        )  # fmt: skip
    if place.overflows is not None:
        found.append(
            reading(
                at, "Packets for which an accept queue of its network namespace was full, within the window",
                place.overflows, "packets", source=f"/proc/net/netstat {OVERFLOWS}",
                repeat=f"nstat -asz TcpExt{OVERFLOWS}  # in its network namespace, twice",
            )
        )  # fmt: skip
    return found


def _digest(case: Case, kind: str) -> str:
    first = case.tries[0].pair
    text = f"client {first.client.key} {first.client.netns}"
    if case.endpoint is not None:
        text = f"endpoint {endpoint_text(case.endpoint)} {case.netns}"
    return hashlib.blake2s(f"{kind}{text}".encode(), digest_size=8).hexdigest()


def listed(cases: Sequence[Case], entry: Entry) -> tuple[Sequence[Case], int]:
    """The largest, and how many are left out."""
    most = int(entry.limit("listed_cases"))
    return cases[:most], max(len(cases) - most, 0)
