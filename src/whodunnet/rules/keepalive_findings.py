"""A mismatch as a finding: who uses what too late, whose limit that is, and how it is told."""

from __future__ import annotations

import hashlib

from whodunnet.model.finding import ASKED_SERVICE, Finding, Party, PartyRole
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.connect_findings import end_party, name_of
from whodunnet.rules.identity import endpoint_text
from whodunnet.rules.keepalive_evidence import evidence_of
from whodunnet.rules.keepalive_products import known_by, set_otherwise
from whodunnet.rules.keepalive_remedies import remedies_of
from whodunnet.rules.keepalive_reuses import ON_THE_WAY, TOO_LATE, Client, Reuse
from whodunnet.rules.keepalive_words import limit_text, peer_text, seconds_text, server_of
from whodunnet.rules.openers import endpoint_party

RULE = "keepalive-mismatch"
AT_ONCE = (
    "All of these writes came right after the server's close: a client that only answers it by a farewell (TLS) looks "
    "the same, and loses nothing."
)


def compose(reuse: Reuse, recording: Recording, at: Moment, entry: Entry, more: int) -> Finding:
    """The finding. more: mismatches that are not listed."""
    shape, client = entry.shapes[reuse.shape], reuse.client
    words = {
        "who": name_of(reuse.end),
        "peer": peer_text(client),
        "limit": limit_text(client.limit),
        "failed": f"{reuse.failed:,}",
        "least": seconds_text(reuse.idle[0].mean) if reuse.idle else "",
    }
    title = shape.title.format(**words)
    at_once = (AT_ONCE,) if reuse.at_once else ()
    left_out = (f"{more:,} more pairs of client and server are alike; the surest are listed.",) if more > 0 else ()
    return Finding(
        id=f"{RULE}:{_digest(client)}",
        rule=RULE,
        reason="".join(word.capitalize() for word in reuse.shape.split("-")),
        severity="info" if reuse.confidence == "possible" else "warning",
        claim=entry.claim,
        confidence=reuse.confidence,
        shape=reuse.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=at.wall,
        parties=tuple(_parties(reuse)),
        evidence=tuple(evidence_of(reuse, recording, at, entry)),
        remedies=(remedies.CAPTURE, *remedies_of(reuse, shape.fix)),
        explanation=(*(line.format(**words) for line in shape.explanation), *at_once, *_known(client), *left_out),
    )


def _parties(reuse: Reuse) -> list[Party]:
    client, limit = reuse.client, reuse.client.limit
    closes = "closes idle connections after times that differ"
    if reuse.shape == ON_THE_WAY:
        closes = "did not close them"
    elif limit is not None:
        closes = f"closes idle connections after {seconds_text(limit.seconds)}"
    answered = {place: None for p in client.pairs for place in p.answered_by}
    if len(answered) == 1:
        behind = endpoint_party("peer", next(iter(answered)), server_of(client), closes)
        return [_client_party(reuse), behind, Party(role="peer", endpoint=client.server, effect=ASKED_SERVICE)]
    return [_client_party(reuse), endpoint_party("peer", client.server, server_of(client), closes)]


def _client_party(reuse: Reuse) -> Party:
    """The client is the one to change where its own end was seen to write too late; else it only suffers."""
    end, sure = reuse.end, reuse.shape == TOO_LATE and reuse.confidence != "possible"
    effect = "may lose requests on connections that were idle"
    if reuse.idle:
        effect = f"uses connections again after up to {seconds_text(reuse.idle[-1].mean)} idle"
    role: PartyRole = "culprit" if sure and end.workload is not None else "victim"
    return end_party(role, end, effect)


def _known(client: Client) -> tuple[str, ...]:
    """Who has such a limit as shipped."""
    limit = client.limit
    if limit is None:
        return ()
    if own := set_otherwise(limit.seconds, server_of(client)):
        shipped = ", ".join(f"{p.name} closes after {' or '.join(map(seconds_text, p.seconds))}" for p in own)
        return (f"As shipped, as far as known, {shipped}: this one is set otherwise.",)
    products = known_by(limit.seconds, server_of(client))
    after = f"after about {seconds_text(limit.seconds)} as shipped, as far as known"
    return (f"Who closes {after}: {', '.join(products) or 'no product that whodunnet knows'}.",)


def _digest(client: Client) -> str:
    text = f"{client.end.key} {endpoint_text(client.server)} {client.place[1]}"
    return hashlib.blake2s(text.encode(), digest_size=8).hexdigest()
