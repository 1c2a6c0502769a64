"""Is a diagnosis right? It is held against what a case expects; every complaint is a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.case import SOCKET_RULES, Expected, Named
from lab.who import Who

Json = Mapping[str, Any]
MAY_NAME_NOBODY = frozenset({"tcp-memory", "service-hang"})
"""Rules whose finding is worth having although it says nothing of who did it: another rule does."""
ANSWERS = ("findings", "cleared", "not_checked", "not_applicable")
TIME_OUT = "Idle time after which "
"""How a statement about the time begins after which a server closes what is idle."""


@dataclass(frozen=True)
class Score:
    """missing: not said although true. blamed: called culprit and is not. extra: findings which nothing here causes.
    wrong: said, but wrongly (severity, shape, order, endpoint, time, state, share)."""

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


def score(expected: Expected, diagnosis: Json, rules: Sequence[str] = SOCKET_RULES) -> Score:
    """rules: that were asked."""
    return Score(
        missing=tuple(missing(expected, diagnosis, rules)),
        blamed=tuple(blamed(expected, diagnosis)),
        extra=tuple(extra(expected, diagnosis)),
        wrong=tuple(wrong(expected, diagnosis)),
    )


def score_of_all(expected: Expected, diagnosis: Json, rules: Sequence[str]) -> Score:
    """Of a diagnosis by all rules. rules: that the case is about; of the others counts whom they blame."""
    own = score(expected, answers_of(diagnosis, rules), rules)
    by_others, too_many = list(own.blamed), list(own.extra)
    for finding in diagnosis["findings"]:
        if finding["rule"] in rules:
            continue
        by_others += blamed(for_other(finding["rule"], expected), {"findings": [finding]})
        if expected.rule is None and finding["severity"] != "info" and finding["rule"] not in expected.beside:
            too_many.append(said(finding))
    return replace(own, blamed=tuple(by_others), extra=tuple(too_many))


def for_other(rule: str, expected: Expected) -> Expected:
    """As a rule sees it that the case is not about."""
    true = (who for by, who in expected.elsewhere if by == rule)
    return replace(expected, tolerated=(*expected.tolerated, *true))


def said(finding: Json) -> str:
    return f"{finding['severity']} {finding['id']}: {finding['title']}"


def answers_of(diagnosis: Json, rules: Sequence[str]) -> Json:
    """The part that a case can be held against."""
    return {**diagnosis, **{kind: [a for a in diagnosis.get(kind, ()) if a["rule"] in rules] for kind in ANSWERS}}


def missing(expected: Expected, diagnosis: Json, rules: Sequence[str]) -> Iterator[str]:
    answered = {answer["rule"] for kind in ("findings", "cleared") for answer in diagnosis[kind]}
    answered |= {answer["rule"] for answer in diagnosis.get("not_applicable", ())} & {*expected.inapplicable}
    why = {answer["rule"]: f": {answer['reason']}" for answer in diagnosis.get("not_checked", ())}
    yield from (f"{rule} did not look{why.get(rule, '')}" for rule in rules if rule not in answered)
    said_not = {answer["rule"] for answer in diagnosis["cleared"]}
    yield from (f"{rule} is not cleared" for rule in expected.cleared if rule not in said_not)
    if expected.rule and not any(finding["rule"] == expected.rule for finding in diagnosis["findings"]):
        yield f"no finding of {expected.rule}"
    yield from (f"culprit {who}" for who in expected.culprits if not naming(who, expected, diagnosis))
    yield from (f"{' or '.join(named.roles)} {named.who}" for named in expected.others if not in_role(named, diagnosis))


def blamed(expected: Expected, diagnosis: Json) -> Iterator[str]:
    for finding in diagnosis["findings"]:
        for party in culprits(finding):
            if not any(is_meant(who, party) for who in (*expected.culprits, *expected.tolerated)):
                known = next((str(who) for who in expected.innocent if is_meant(who, party)), "")
                yield f"{known or describe(party)} by {finding['id']}"
        if finding["severity"] != "info":
            yield from involved(expected, finding)


def involved(expected: Expected, finding: Json) -> Iterator[str]:
    """Bystanders in any role but those of a culprit, who is blamed already, and of a victim."""
    for party in finding["parties"]:
        if party["role"] not in ("culprit", "victim"):
            drawn_in = (who for who in expected.bystanders if is_meant(who, party))
            yield from (f"{who} as {party['role']} by {finding['id']}" for who in drawn_in)


def extra(expected: Expected, diagnosis: Json) -> Iterator[str]:
    """A finding is called for if its rule is, and if it names one of the culprits where there are any. That TCP memory
    is short is worth a finding of its own; whose fault it is may be said there or by the other rule."""
    rules = {expected.rule, *expected.also}
    allowed = (*expected.culprits, *expected.tolerated)
    for finding in diagnosis["findings"]:
        if finding["severity"] == "info":
            continue
        called_for = finding["rule"] in rules and (
            not expected.culprits
            or finding["rule"] in MAY_NAME_NOBODY
            or any(is_meant(who, party) for who in allowed for party in culprits(finding))
        )
        if not called_for:
            yield said(finding)


def wrong(expected: Expected, diagnosis: Json) -> Iterator[str]:
    places = []
    for who in expected.culprits:
        findings = naming(who, expected, diagnosis)
        if not findings:
            continue
        places.append(min(diagnosis["findings"].index(finding) for finding in findings))
        yield from shape_and_endpoint(who, expected, findings)
    asked_for = [finding for finding in diagnosis["findings"] if finding["rule"] == expected.rule]
    if asked_for and not expected.culprits:
        yield from shape_and_endpoint(None, expected, asked_for)
    yield from severity_and_claim(expected, diagnosis)
    if asked_for:
        yield from unsaid(expected, asked_for)
    if asked_for and expected.seconds:
        yield from other_times(expected.seconds, asked_for)
    if expected.ordered and places != sorted(places):
        yield "the bigger culprit comes later"
    for finding in diagnosis["findings"]:
        shares = [party.get("share") or 0.0 for party in culprits(finding)]
        if sum(shares) > 1.0:
            yield f"shares of {finding['id']} are {shares}"


def severity_and_claim(expected: Expected, diagnosis: Json) -> Iterator[str]:
    rules = (expected.rule,) if expected.rule else expected.also
    right = expected.severities or (("warning", "critical") if expected.rule else ("info", "warning"))
    for rule in rules:
        severities = [f["severity"] for f in loud([f for f in diagnosis["findings"] if f["rule"] == rule])]
        if {*severities} - {*right}:
            yield f"severity of {rule} is {severities}, not {' or '.join(right)}"
    for finding in diagnosis["findings"]:
        if finding["claim"] == "holds" and any(culprits(finding)):
            yield f"{finding['id']} has a culprit, and says only that it holds something"


def unsaid(expected: Expected, findings: list[Json]) -> Iterator[str]:
    """What would help, and stands in no finding of the rule."""
    text = json.dumps(findings, ensure_ascii=False)
    yield from (f"{expected.rule} does not mention {word}" for word in expected.mentions if word not in text)
    above = {cause.partition(":")[0] for finding in findings for cause in finding.get("caused_by", ())}
    yield from (f"{expected.rule} does not stand under {cause}" for cause in expected.causes if cause not in above)


def loud(findings: list[Json]) -> list[Json]:
    """Those of warning and above, and only if there are none the others."""
    return [finding for finding in findings if finding["severity"] != "info"] or findings


def shape_and_endpoint(who: Who | None, expected: Expected, findings: list[Json]) -> Iterator[str]:
    """findings: of the rule that is meant, or of others that may stand for it; each has to have a right shape."""
    shaped = [finding for finding in findings if finding["rule"] != "tcp-memory"]
    meant = [finding for finding in shaped if finding["rule"] == expected.rule] or shaped
    shapes = [finding.get("shape") for finding in loud(meant)]
    if expected.shapes and {*shapes} - {*expected.shapes}:
        yield f"shape of {who or expected.rule} is {shapes}, not {' or '.join(expected.shapes)}"
    for finding in loud(meant) if expected.endpoint else ():
        if expected.endpoint not in (shown := [*endpoints(finding)]):
            yield f"endpoint of {who or expected.rule} is {sorted(shown, key=str)}, not {expected.endpoint}"


def other_times(right: tuple[float, float], findings: list[Json]) -> Iterator[str]:
    """Nothing, if one of the time-outs that were measured is right; other times may stand beside it."""
    times = [
        e["value"]
        for finding in findings
        for e in finding["evidence"]
        if e["unit"] in ("s", "seconds") and e["statement"].startswith(TIME_OUT)
    ]
    if not any(isinstance(time, int | float) and right[0] <= time <= right[1] for time in times):
        yield f"time-outs of {findings[0]['rule']} are {times}, none from {right[0]:.3f} to {right[1]:.3f} s"


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


def is_meant(who: Who, party: Json) -> bool:
    """Whether a party is this one, be it called by its right name or not."""
    return pid_of(party) in who.pids or is_party(who, party)


def is_party(who: Who, party: Json) -> bool:
    process = party.get("process") or {}
    if who.is_place:
        return who.netns == party.get("netns") and who.device in (None, party.get("device"))
    if who.address is not None:
        return not process and who.address in (party.get("address"), (party.get("endpoint") or {}).get("address"))
    pod = party.get("pod") or {}
    if who.pod is not None and not who.pids:
        return who.pod == pod.get("uid") and process.get("comm") in (None, who.comm)
    return (
        process.get("pid") in who.pids
        and process.get("comm") == who.comm
        and who.state in (None, process.get("state"))
        and who.pod in (None, pod.get("uid"))
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
