"""The answer to why: an error, what explains it, what was ruled out, what is not seen from here, where to look next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.finding import Evidence
from whodunnet.model.snapshot import Recording
from whodunnet.why.flow import Flow, Place, flow_of
from whodunnet.why.forms import Kind, Step, kinds
from whodunnet.why.listeners import is_sign, listening, waiting
from whodunnet.why.match import Explanation, explain
from whodunnet.why.message import Message
from whodunnet.why.next_steps import next_steps
from whodunnet.why.sides import Side
from whodunnet.why.sight import not_seen, readings
from whodunnet.why.subject import PodName, Subject

WHY_SCHEMA = "whodunnet/why/v1"
Answer = Literal["explained", "perhaps", "not-explained", "not-judged"]


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """message, pod, endpoint: what was asked, and means what that is in plain words. source, destination: its ends.

    explained_by: findings of the diagnosis. ruled_out, not_checked: rules that could have made such an error, the
    likeliest first; their readings and reasons are in the diagnosis. Nothing is ruled out of an end that is elsewhere.
    elsewhere: findings of such rules about others.
    beside: findings that make no such error. no_rule: nothing here judges such an error. signs: readings that make one,
    without a finding. seen: of this flow within the window. not_seen: what cannot be seen from here. next: what to do.
    answer: "perhaps" if what explains it is a mere possibility, or may be about another flow. "not-judged" if rules
    that could have made exactly this were not checked, or if it is not of this node.
    """

    schema: str = WHY_SCHEMA
    answer: Answer
    message: Message | None
    pod: PodName | None
    endpoint: Side | None
    means: str
    no_rule: bool | UnsetType = UNSET
    source: Place | None
    destination: Place | None
    signs: tuple[Evidence, ...]
    seen: tuple[Evidence, ...]
    explained_by: tuple[Explanation, ...]
    ruled_out: tuple[str, ...]
    not_checked: tuple[str, ...]
    elsewhere: tuple[str, ...]
    beside: tuple[str, ...]
    not_seen: tuple[str, ...]
    next: tuple[Step, ...]
    diagnosis: Diagnosis


def ordered_rules(kind: Kind, rules: Sequence[str]) -> list[str]:
    """The same rules, those first that could have made such an error."""
    first = [rule for rule in kind.rules if rule in rules]
    return [*first, *(rule for rule in rules if rule not in first)]


def answer_why(subject: Subject, recording: Recording, diagnosis: Diagnosis) -> Why:
    """What a diagnosis says to what was asked. diagnosis: of the recording, with all rules."""
    kind, flow = subject.kind, flow_of(subject, recording)
    explained = explain(kind, flow, diagnosis.findings)
    ids = {e.finding for e in explained}
    cleared = {a.rule for a in diagnosis.cleared} | {a.rule for a in diagnosis.not_applicable}
    unchecked = {a.rule for a in diagnosis.not_checked}
    others = [f for f in diagnosis.findings if f.id not in ids]
    who = listening(flow, recording)
    sign = who is not None and subject.message is not None and is_sign(subject.message.kind, who)
    answer = _answer(subject, kind, flow, explained, diagnosis)
    if sign and not explained:
        answer = "perhaps"
    return Why(
        answer=answer,
        message=subject.message,
        pod=subject.pod,
        endpoint=subject.endpoint,
        means=kind.means,
        no_rule=UNSET if kind.rules else True,
        source=flow.source,
        destination=flow.destination,
        signs=(who,) if who is not None and sign else (),
        seen=(*(() if sign else _of_listener(who, waiting(flow, recording))), *readings(flow, recording)),
        explained_by=explained,
        ruled_out=tuple(rule for rule in kind.rules if rule in cleared and _was_looked_at(rule, flow)),
        not_checked=tuple(rule for rule in kind.rules if rule in unchecked),
        elsewhere=tuple(f.id for f in others if f.rule in kind.rules),
        beside=tuple(f.id for f in others if f.rule not in kind.rules),
        not_seen=tuple(not_seen(subject, flow, recording)),
        next=tuple(next_steps(subject, flow, explained=answer == "explained")),
        diagnosis=diagnosis,
    )


def _of_listener(*found: Evidence | None) -> Iterator[Evidence]:
    yield from (reading for reading in found if reading is not None)


def _was_looked_at(rule: str, flow: Flow) -> bool:
    """Whether a rule that found nothing on this node says something of this flow."""
    if flow.is_elsewhere or flow.pod_is_absent:
        return False
    place = flow.destination
    is_somewhere = place is not None and (place.side.address is not None or place.side.name is not None)
    return not (rule in kinds().at_destination and is_somewhere and place is not None and place.here is not True)


def _answer(subject: Subject, kind: Kind, flow: Flow, explained: Sequence[Explanation], diagnosis: Diagnosis) -> Answer:
    if any(e.sure for e in explained):
        return "explained"
    if explained:
        return "perhaps"
    if flow.is_elsewhere or flow.pod_is_absent or not kind.rules:
        return "not-judged"
    unchecked = {a.rule for a in diagnosis.not_checked}
    if subject.message is None:
        return "not-judged" if diagnosis.outcome == "incomplete" else "not-explained"
    return "not-judged" if unchecked.intersection(kind.exact) else "not-explained"
