"""Is a diagnosis right? It is held against what a case expects; every complaint is a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lab.case import RULES, Expected, Named
from lab.who import Who

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """missing: not said although true. blamed: called culprit and is not. extra: findings which nothing here causes.
    wrong: said, but wrongly (shape, order, endpoint, state, share)."""

    missing: tuple[str, ...] = ()
    blamed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        return not (self.missing or self.blamed or self.extra or self.wrong)

    def __str__(self) -> str:
        if self.right:
            return "right"
        return "\n".join(f"{word}: {complaint}" for word, complaints in vars(self).items() for complaint in complaints)


def score(expected: Expected, diagnosis: Json) -> Score:
    return Score(
        missing=tuple(missing(expected, diagnosis)),
        blamed=tuple(blamed(expected, diagnosis)),
        extra=tuple(extra(expected, diagnosis)),
        wrong=tuple(wrong(expected, diagnosis)),
    )


def missing(expected: Expected, diagnosis: Json) -> Iterator[str]:
    answered = {answer["rule"] for kind in ("findings", "cleared") for answer in diagnosis[kind]}
    yield from (f"{rule} did not look" for rule in RULES if rule not in answered)
    if expected.rule and not any(finding["rule"] == expected.rule for finding in diagnosis["findings"]):
        yield f"no finding of {expected.rule}"
    yield from (f"culprit {who}" for who in expected.culprits if not naming(who, expected, diagnosis))
    yield from (f"{' or '.join(named.roles)} {named.who}" for named in expected.others if not in_role(named, diagnosis))


def blamed(expected: Expected, diagnosis: Json) -> Iterator[str]:
    allowed = frozenset[int]().union(*(who.pids for who in (*expected.culprits, *expected.tolerated)))
    for finding in diagnosis["findings"]:
        for party in culprits(finding):
            pid = pid_of(party)
            if pid is None or pid not in allowed:
                known = next((str(who) for who in expected.innocent if pid in who.pids), "")
                yield f"{known or describe(party)} by {finding['id']}"


def extra(expected: Expected, diagnosis: Json) -> Iterator[str]:
    """A finding is called for if its rule is, and if it names one of the culprits where there are any. That TCP memory
    is short is worth a finding of its own; whose fault it is may be said there or by the other rule."""
    rules = {expected.rule, *expected.also}
    pids = frozenset[int]().union(*(who.pids for who in (*expected.culprits, *expected.tolerated)))
    for finding in diagnosis["findings"]:
        if finding["severity"] == "info":
            continue
        names = {pid_of(party) for party in culprits(finding)}
        called_for = finding["rule"] in rules and (
            not expected.culprits or finding["rule"] == "tcp-memory" or bool(names & pids)
        )
        if not called_for:
            yield f"{finding['severity']} {finding['id']}: {finding['title']}"


def wrong(expected: Expected, diagnosis: Json) -> Iterator[str]:
    places = []
    for who in expected.culprits:
        findings = naming(who, expected, diagnosis)
        if not findings:
            continue
        places.append(min(diagnosis["findings"].index(finding) for finding in findings))
        yield from shape_and_endpoint(who, expected, findings)
    if expected.rule and expected.shapes and not expected.culprits:
        yield from shape_and_endpoint(None, expected, [f for f in diagnosis["findings"] if f["rule"] == expected.rule])
    if expected.ordered and places != sorted(places):
        yield "the bigger culprit comes later"
    for finding in diagnosis["findings"]:
        shares = [party.get("share") or 0.0 for party in culprits(finding)]
        if sum(shares) > 1.0:
            yield f"shares of {finding['id']} are {shares}"


def shape_and_endpoint(who: Who | None, expected: Expected, findings: list[Json]) -> Iterator[str]:
    shaped = [finding for finding in findings if finding["rule"] == "socket-leak"]
    shapes = [finding.get("shape") for finding in shaped]
    if expected.shapes and shapes and not set(shapes) & set(expected.shapes):
        yield f"shape of {who or 'the leak'} is {shapes}, not {' or '.join(expected.shapes)}"
    shown = {endpoint for finding in shaped for endpoint in endpoints(finding)}
    if expected.endpoint and shaped and expected.endpoint not in shown:
        yield f"endpoint of {who or 'the leak'} is {sorted(shown, key=str)}, not {expected.endpoint}"


def naming(who: Who, expected: Expected, diagnosis: Json) -> list[Json]:
    """The findings which call this one culprit, under a rule that may."""
    rules = {expected.rule, *expected.also}
    return [
        finding
        for finding in diagnosis["findings"]
        if finding["rule"] in rules and any(is_party(who, party) for party in culprits(finding))
    ]


def in_role(named: Named, diagnosis: Json) -> bool:
    return any(
        party["role"] in named.roles and is_party(named.who, party)
        for finding in diagnosis["findings"]
        for party in finding["parties"]
    )


def is_party(who: Who, party: Json) -> bool:
    process = party.get("process") or {}
    return (
        process.get("pid") in who.pids and process.get("comm") == who.comm and who.state in (None, process.get("state"))
    )


def culprits(finding: Json) -> list[Json]:
    return [party for party in finding["parties"] if party["role"] == "culprit"]


def endpoints(finding: Json) -> Iterator[tuple[str | None, int]]:
    for party in finding["parties"]:
        if endpoint := party.get("endpoint"):
            yield endpoint["address"], endpoint["port"]


def pid_of(party: Json) -> int | None:
    process = party.get("process")
    return process["pid"] if process else None


def describe(party: Json) -> str:
    process = party.get("process")
    return f"{process['comm']}[{process['pid']}]" if process else str({k: v for k, v in party.items() if v})
