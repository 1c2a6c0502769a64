"""Consequences go under their cause; causes are ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from msgspec import UNSET, UnsetType, structs

from whodunnet.model.finding import SEVERITIES, Evidence, Finding, Party
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.identity import TCP_MEMORY, TRACKED
from whodunnet.rules.softnet_drops import MEANWHILE
from whodunnet.rules.stall_evidence import LONG_BY, TOGETHER
from whodunnet.rules.table_evidence import DROPS_SOURCE
from whodunnet.rules.zombie_cgroups import CHANGED, IN_USE

T = TypeVar("T")
CAUSE_SHARE: Final = 0.5
"""A finding is put under a cause whose party ties up at least this share of what the finding is about."""
ABOUT: Final = {"tcp-memory": TCP_MEMORY, "conntrack-table": TRACKED}
"""What a rule's finding is about: a share of something else explains nothing of it."""
TABLE: Final = "conntrack-table"
HANG: Final = "service-hang"
STALL: Final = "rx-stall"
ZOMBIES: Final = "zombie-cgroups"
"""Alone worth knowing; as the cause of a fault as grave as that."""
CONNECTS: Final = frozenset({"connect-timeout", "connect-slow"})
AT_RANDOM: Final = frozenset({"lost-at-times", "lost-syns", "many-addresses"})
"""Shapes of failing connects that a table without room makes: it drops whatever comes, at any address."""


def link(findings: Sequence[Finding]) -> list[Finding]:
    """Fill `caused_by` and turn `would_explain` (rules) into ids of findings that are there.

    A rule's word that it would explain another is a conjecture; the link needs evidence of its own.
    """
    by_rule: dict[str, list[Finding]] = {}
    for f in findings:
        by_rule.setdefault(f.rule, []).append(f)
    causes: dict[str, dict[str, Evidence]] = {}
    for cause in findings:
        for rule in cause.would_explain:
            for consequence in by_rule.get(rule, ()):
                evidence = _evidence(cause, consequence)
                if evidence is not None:
                    causes.setdefault(consequence.id, {})[cause.id] = evidence
    linked = [
        structs.replace(
            f,
            caused_by=tuple(causes.get(f.id, ())),
            evidence=(*f.evidence, *causes.get(f.id, {}).values()),
            would_explain=tuple(
                c.id for rule in f.would_explain for c in by_rule.get(rule, ()) if not _is_elsewhere(f, c)
            ),
        )
        for f in findings
    ]
    return [_raised(f, [c for c in linked if f.id in c.caused_by]) for f in linked]


def _evidence(cause: Finding, consequence: Finding) -> Evidence | None:
    """Why a finding stands under its cause, None if nothing shows it."""
    if cause.rule == TABLE:
        return _drops(cause, consequence)
    if consequence.rule == STALL:
        return _walked(cause, consequence)
    if cause.confidence == "possible":
        return None
    if cause.rule == STALL:
        return _while_stalled(cause, consequence)
    if consequence.rule == TABLE:
        return _same_connections(cause, consequence)
    if HANG in (cause.rule, consequence.rule):
        return _same_address(cause, consequence)
    if consequence.rule in CONNECTS:
        return _same_queue(cause, consequence)
    return _tied_up(cause, consequence)


def _tied_up(cause: Finding, consequence: Finding) -> Evidence | None:
    """The share that the cause ties up of what the consequence is about."""
    share = _share(cause, ABOUT.get(consequence.rule))
    if share < CAUSE_SHARE:
        return None
    return Evidence(
        statement=f"Share of {ABOUT.get(consequence.rule, 'it')} that is tied up by its cause, {cause.id}",
        value=round(share, 3),
        unit="share",
        limit=CAUSE_SHARE,
        comparison=">=",
        source="sockets collector",
        at=cause.last_seen,
        repeat="whodunnet sockets --by process",
    )


def _drops(cause: Finding, consequence: Finding) -> Evidence | None:
    """Packets that found no room while it was watched: the first ones of new connections and of name queries.

    What found no room left no entry: connects that have entries hang for another reason.
    """
    if consequence.rule == "service-hang" and consequence.shape != "dropped-here":
        return None
    if consequence.rule in CONNECTS and consequence.shape not in AT_RANDOM:
        return None
    counted = next((e for e in cause.evidence if e.source == DROPS_SOURCE), None)
    if counted is None or cause.severity != "critical":
        return None
    return structs.replace(counted, statement=f"Packets dropped meanwhile by its cause, {cause.id}")


def _walked(cause: Finding, consequence: Finding) -> Evidence | None:
    """Samples of a stall in a walk over every memory cgroup, or in sums of what changes where that is deleted ones."""
    for way, statement in LONG_BY.items():
        seen = next((e for e in consequence.evidence if e.statement == statement), None)
        if seen is None or not isinstance(seen.value, int) or seen.value < CAUSE_SHARE * (seen.limit or 0):
            continue
        if way == "walk" or any(e.statement == CHANGED and e.comparison == ">=" for e in cause.evidence):
            return structs.replace(seen, statement=f"In functions that go through all of its cause, {cause.id}")
        return _too_long(cause, consequence)
    return None


def _too_long(cause: Finding, consequence: Finding) -> Evidence | None:
    """Sums that take longer than cgroups in use explain: deleted ones change too while others use what is theirs."""
    limit = next((e.value for e in cause.evidence if e.statement == IN_USE), None)
    together = next((e for e in consequence.evidence if e.statement == TOGETHER), None)
    times = next((e.value for e in consequence.evidence if e.unit == "stalls"), None)
    if together is None or not isinstance(together.value, int | float) or not isinstance(limit, float):
        return None
    if not isinstance(times, int) or not times:
        return None
    each = round(together.value / times, 6)
    if each <= limit:
        return None
    text = f"Each on average, longer than sums of the cgroups in use take; the rest is its cause, {cause.id}"
    return structs.replace(together, statement=text, value=each, limit=limit, comparison=">")


def _while_stalled(cause: Finding, consequence: Finding) -> Evidence | None:
    """Packets that a CPU dropped in readings within which it was held: most of all that it dropped."""
    meanwhile = next((e for e in consequence.evidence if e.statement == MEANWHILE), None)
    if meanwhile is None or not isinstance(meanwhile.value, int) or meanwhile.limit is None:
        return None
    if meanwhile.value < CAUSE_SHARE * meanwhile.limit or not _cpus(cause) & _cpus(consequence):
        return None
    return structs.replace(meanwhile, statement=f"Dropped while its cause, {cause.id}, was seen at the same CPU")


def _cpus(f: Finding) -> set[int]:
    """The CPUs whose packets suffer."""
    return {cpu for p in _of(f, "victim") for cpu in _known(p.cpus) or ()}


def _raised(f: Finding, consequences: Sequence[Finding]) -> Finding:
    """As grave as what it was found to cause, and told as a cause. Who reads them has not made them."""
    if f.rule != ZOMBIES or not consequences:
        return f
    texts = catalogue()[ZOMBIES].explanation
    return structs.replace(
        f,
        severity=min((c.severity for c in consequences), key=SEVERITIES.index),
        title=f"{f.title}, and whoever reads memory.stat goes through them while packets wait",
        parties=tuple(dict.fromkeys(p for c in consequences for p in _of(c, "victim"))),
        explanation=texts["cause"] + texts["kept"],
    )


def _same_address(cause: Finding, consequence: Finding) -> Evidence | None:
    """Both say that an address does not answer. A full accept queue says why, else the table which endpoint it is.

    A client that fails at many addresses has its cause elsewhere.
    """
    if consequence.shape in ("queue-full", "many-addresses"):
        return None
    if _is_elsewhere(cause, consequence) or (consequence.rule == HANG and cause.shape != "queue-full"):
        return None
    return structs.replace(cause.evidence[0], statement=f"At the same address, by its cause, {cause.id}")


def _is_elsewhere(cause: Finding, consequence: Finding) -> bool:
    """Whether a cause cannot be one: a stall is not in what goes through it, or the addresses are others."""
    if cause.rule == ZOMBIES:
        return _walked(cause, consequence) is None
    if cause.rule == STALL:
        return _while_stalled(cause, consequence) is None
    if HANG not in (cause.rule, consequence.rule) or not CONNECTS & {cause.rule, consequence.rule}:
        return False
    silent = {p.endpoint for p in cause.parties if p.role in ("peer", "culprit", "holder")} - {UNSET}
    return not any(p.endpoint in silent for p in _of(consequence, "peer"))


def _same_queue(cause: Finding, consequence: Finding) -> Evidence | None:
    """Connections that wait for accept(), of the owner whose accept queue is full."""
    if cause.shape != "accept-not-called" or consequence.shape != "queue-full":
        return None
    behind = [p for role in ("culprit", "holder") for p in _of(consequence, role)]
    if not any(_same_owner(mine, theirs) for mine in _of(cause, "culprit") for theirs in behind):
        return None
    return structs.replace(cause.evidence[0], statement=f"In its accept queue, by its cause, {cause.id}")


def _same_connections(cause: Finding, consequence: Finding) -> Evidence | None:
    """Sockets that one owner keeps, as entries of the same owner to the same destination."""
    reached = {p.endpoint for p in consequence.parties if p.role == "peer"}
    if consequence.shape != "idle-established" or not any(p.endpoint in reached for p in _of(cause, "peer")):
        return None
    for entries in _of(consequence, "culprit"):
        for sockets in _of(cause, "culprit"):
            n, of = _known(sockets.sockets), _known(entries.entries)
            if n is not None and of is not None and n >= CAUSE_SHARE * of and _same_owner(entries, sockets):
                return Evidence(
                    statement=f"Open sockets of its cause, {cause.id}, which have these entries",
                    value=min(n, of),
                    unit="sockets",
                    limit=of,
                    comparison="of",
                    source="sockets collector against conntrack collector",
                    at=cause.last_seen,
                    repeat="whodunnet conntrack --by workload",
                )
    return None


def _of(f: Finding, role: str) -> list[Party]:
    return [p for p in f.parties if p.role == role]


def _same_owner(one: Party, other: Party) -> bool:
    """By pod, else container, else process: the first that the one is known by."""
    for mine, theirs in ((one.pod, other.pod), (one.container, other.container), (one.process, other.process)):
        if _known(mine) is not None:
            return mine == theirs
    return False


def _known(value: T | UnsetType | None) -> T | None:
    return None if isinstance(value, UnsetType) else value


def rank(findings: Sequence[Finding]) -> list[Finding]:
    """Worst first; at the same severity a cause before what it causes, the surer before the less sure, then size."""
    sureness = ("proven", "likely", "possible")
    return sorted(
        findings,
        key=lambda f: (SEVERITIES.index(f.severity), bool(f.caused_by), sureness.index(f.confidence), -_share(f)),
    )


def _share(f: Finding, of: str | None = None) -> float:
    """The largest share of a culprit or reader. of: only shares of this; one that does not say is of anything."""
    parties = [p for p in f.parties if p.role in ("culprit", "reader") and (of is None or p.share_of in (of, UNSET))]
    return max((p.share for p in parties if isinstance(p.share, float)), default=0.0)
