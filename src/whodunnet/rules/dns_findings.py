"""A name server that does not answer, as a finding: who asks it, where it is, the readings, what to do."""

from __future__ import annotations

from typing import Final

from whodunnet.model.finding import ASKED_NAMES, Finding, Party, Remedy
from whodunnet.model.resolvers import ResolvConf
from whodunnet.model.text import shell_quote, shorten_bytes
from whodunnet.model.workload import Workload, Workloads, owner_key
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.dns_evidence import RULE, Case, evidence_of
from whodunnet.rules.dns_reading import Reading, Server
from whodunnet.rules.identity import HALTED, endpoint_text, party, short_name
from whodunnet.rules.openers import endpoint_party, opener_party, openers
from whodunnet.rules.queue_evidence import digest, tenant

REASONS: Final = {
    "silent": "NameServerSilent", "nobody-listens": "NameServerNotThere", "slow": "NameServerSlow",
    "fails": "NameServerFails", "unused-silent": "NameServerSilent",
}  # fmt: skip


def compose(case: Case, reading: Reading, entry: Entry, more: int) -> Finding:
    """more: cases that are not listed."""
    server, shape = case.server, entry.shapes[case.shape]
    title = shape.title.format(
        peer=endpoint_text(server.endpoint), questions=f"{max(server.questions, case.closed):,}",
        who=_who(server, reading), answered=f"{server.answered:,}",
    )  # fmt: skip
    left_out = (f"{more:,} more name servers are like this, and not listed.",) if more > 0 else ()
    return Finding(
        id=f"{RULE}:{digest(case.shape, server.address, server.place)}",
        rule=RULE,
        reason=REASONS[case.shape],
        severity=case.severity,
        claim=entry.claim,
        confidence=case.confidence,
        shape=case.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=reading.at.wall,
        parties=tuple(_parties(case, reading, entry)),
        evidence=tuple(evidence_of(case, reading, entry)),
        would_explain=entry.would_explain if case.shape in ("silent", "nobody-listens") else (),
        remedies=(remedies.CAPTURE, *_remedies(case), remedies.fix(shape.fix)),
        explanation=(*shape.explanation, *left_out),
    )


def _victims(server: Server, reading: Reading) -> list[tuple[Workload | None, int, int]]:
    """Who waits with a socket: owner, namespace, sockets; most first. One that runs several processes once."""
    found: dict[str, tuple[Workload | None, int, int]] = {}
    for wait in server.waits:
        netns, pid = wait.socket.netns, wait.socket.owner_pid
        owner = wait.owner or tenant(reading.recording, netns)
        key = owner_key(pid, owner) if pid is not None else f"netns {netns}"
        _, _, n = found.get(key, (owner, netns, 0))
        found[key] = owner, netns, n + 1
    return sorted(found.values(), key=lambda one: (-one[2], one[1]))


def _who(server: Server, reading: Reading) -> str:
    """In the title: one by name, several by their number."""
    victims = _victims(server, reading)
    if len(victims) == 1:
        return short_name(victims[0][0]) if victims[0][0] is not None else f"network namespace {victims[0][1]}"
    if victims:
        return f"{len(victims):,} programs"
    who = openers(reading.owners, server.groups)
    if len(who) == 1 and who[0][0].workload is not None:
        return short_name(who[0][0].workload)
    return f"{len(who):,} askers" if who else "programs here"


def _parties(case: Case, reading: Reading, entry: Entry) -> list[Party]:
    server, most = case.server, int(entry.limit("listed_askers"))
    waiting = _victims(server, reading)
    found: list[Party] = []
    for owner, netns, n in waiting[:most]:
        effect = f"waits for an answer ({n:,} sockets)"
        found.append(
            party("victim", owner, effect=effect) if owner else Party(role="victim", netns=netns, effect=effect)
        )
    hostname = reading.recording.node.hostname
    if not waiting:
        who = openers(reading.owners, server.groups)[:most]
        found += [opener_party("victim", owner, hostname, f"waits for an answer ({n:,} entries)") for owner, n in who]
    told = [conf for conf in server.files if not found][:most]
    found += [_told(conf, reading) for conf in told]
    return [*found, *_peers(case, reading, most)]


def _told(conf: ResolvConf, reading: Reading) -> Party:
    """Whose file names it, where nobody was seen to wait."""
    inside, effect = tenant(reading.recording, conf.netns), "is told to ask it"
    return party("victim", inside, effect=effect) if inside else Party(role="victim", netns=conf.netns, effect=effect)


def _peers(case: Case, reading: Reading, most: int) -> list[Party]:
    """The name server; where its address stands for others, these too."""
    server = case.server
    if server.endpoints:
        behind = [
            endpoint_party("peer", endpoint, reading.owners.answerer(endpoint.address or ""), _effect(case, None))
            for endpoint, _ in server.endpoints[:most]
        ]
        return [*behind, Party(role="peer", endpoint=server.endpoint, effect=ASKED_NAMES)]
    there = _who_serves(server, reading)
    found = endpoint_party("peer", server.endpoint, there, _effect(case, there))
    home = reading.home(server, server.place or 0)
    return [found if there is not None or home is None else Party(
        role="peer", endpoint=server.endpoint, netns=home, effect=found.effect)]  # fmt: skip


def _effect(case: Case, there: Workload | None) -> str:
    state = there.process.state if there is not None and there.process is not None else None
    if state in HALTED:
        return f"does not answer: it is {state}"
    words = {
        "nobody-listens": "nobody listens there", "slow": "answers late, or not all", "fails": "answers that it failed",
    }  # fmt: skip
    return words.get(case.shape, "does not answer")


def _who_serves(server: Server, reading: Reading) -> Workload | None:
    """Who has the socket at its address, if it is on this node; else whose address it is."""
    home = reading.home(server, server.place or 0)
    named = (reading.recording.last(Workloads) or Workloads()).by_pid
    if home is not None:
        pids = {s.owner_pid for s in reading.listeners(server, home) or () if s.owner_pid is not None}
        if len(pids) == 1:
            return named.get(pids.pop())
    return None if server.place is not None else reading.owners.answerer(server.address)


def _remedies(case: Case) -> list[Remedy]:
    address = shell_quote(case.server.address)
    ask = Remedy(
        action="capture",
        do="Ask it from the same network namespace, over UDP and over TCP",
        command=f"dig +tries=1 +time=2 @{address} . NS; dig +tcp +tries=1 +time=2 @{address} . NS",
        effect="says whether it is the server or the way to it that fails",
        risk="none",
    )
    if case.shape in ("silent", "slow") and len(case.server.files) and len(case.server.files[0].servers) > 1:
        shorter = Remedy(
            action="tune",
            do="Until it answers again: try the next name server sooner, and begin with another one each time",
            command="echo 'options timeout:1 attempts:2 rotate' >> /etc/resolv.conf  # in a pod: dnsConfig.options",
            effect="a name takes a second instead of five where another server answers",
            risk="on a slow path more questions are asked twice",
        )
        return [ask, shorter]
    return [ask]
