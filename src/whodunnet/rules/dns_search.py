"""Search lists that make many queries of one name, as a finding."""

from __future__ import annotations

from whodunnet.model.finding import Finding, Party
from whodunnet.model.resolvers import ResolvConf
from whodunnet.model.text import clean, shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.dns_evidence import RULE, reading_of
from whodunnet.rules.dns_reading import Reading
from whodunnet.rules.identity import party
from whodunnet.rules.queue_evidence import digest, tenant

REASON = "SearchListMultipliesQueries"


def compose_search(reading: Reading, entry: Entry) -> Finding | None:
    """Files whose search list makes many queries of one name of elsewhere."""
    least = entry.limit("min_queries")
    files = [conf for conf in reading.resolvers.files if conf.ndots > 1 and conf.queries_for_one >= least]
    if not files:
        return None
    shape, worst = entry.shapes["search-list"], max(files, key=lambda conf: conf.queries_for_one)
    title = shape.title.format(
        queries=worst.queries_for_one, files=f"{len(files):,}", domains=len(worst.search), ndots=worst.ndots
    )
    domains = ", ".join(clean(name, 64) for name in worst.search[: int(entry.limit("listed_domains"))])
    return Finding(
        id=f"{RULE}:{digest('search-list', reading.recording.node.boot_id)}",
        rule=RULE,
        reason=REASON,
        severity="info",
        claim=entry.claim,
        confidence="likely",
        shape="search-list",
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=reading.at.wall,
        parties=tuple(
            _with_effect(conf, reading, f"asks up to {conf.queries_for_one} times for one name of elsewhere")
            for conf in sorted(files, key=lambda c: (-c.queries_for_one, c.netns))[: int(entry.limit("listed_askers"))]
        ),
        evidence=(
            reading_of(reading, f"Queries for one name with fewer than {worst.ndots} dots: {len(worst.search)} domains "
                       f"({domains}) and the name itself, A and AAAA", worst.queries_for_one, "queries", limit=least,
                       source="resolvers collector", repeat="cat /etc/resolv.conf"),
            reading_of(reading, "Most questions without an answer, to any one name server",
                       max((s.questions for s in reading.servers), default=0), "questions"),
        ),
        remedies=(remedies.fix(shape.fix),),
        explanation=shape.explanation,
    )  # fmt: skip


def _with_effect(conf: ResolvConf, reading: Reading, effect: str) -> Party:
    inside = tenant(reading.recording, conf.netns)
    return party("holder", inside, effect=effect) if inside else Party(role="holder", netns=conf.netns, effect=effect)
