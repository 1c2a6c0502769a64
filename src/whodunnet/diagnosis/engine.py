"""Runs the rules over a recording and puts the answers in order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

import msgspec
from msgspec import UNSET

from whodunnet import __version__
from whodunnet.diagnosis.causes import link, rank
from whodunnet.model.diagnosis import Cost, Diagnosis, Outcome, Tool, Window
from whodunnet.model.finding import Answer, Cleared, Finding, NotApplicable, NotChecked
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.connection_sight import TOO_FEW
from whodunnet.rules.overrides import NONE, Overrides
from whodunnet.rules.rule import judge

NEEDS_NOTHING_MORE = frozenset({"missing-capability", "unsupported", "missing-file", "not-collected"})
"""Codes of "not checked" that this kernel or these rights explain: such a rule is not required by default."""

CLOCK_STEP_SECONDS = 1.0
"""A correction of this much between two snapshots is a step: NTP slews at most 0.0005 of the time."""

LONGER = ": look for longer"
"""What rules advise that need two readings."""

PART_OF_THE_NODE = (
    "processes were in sight only as far as our own container, pid namespace or user reaches: this is not the whole "
    "node, and what others hold has no owner here"
)

UNOWNED_IN_THE_TREE = (
    "in the tree ss names no process at any socket of a network namespace: its sockets have no owner here"
)


def diagnose(
    recording: Recording, rules: Sequence[str], required: Collection[str] = (), overrides: Overrides = NONE
) -> Diagnosis:
    """The diagnosis of a recording: live, replayed and tested nodes all pass here.

    rules: ids to run. required: ids that must have been checked, besides those that can be critical and that this
    kernel and these rights allow. overrides: thresholds in place of the catalogue's.
    """
    answers = [answer for rule in rules for answer in judge(rule, recording, overrides)]
    if recording.tree is not None:
        answers = [_of_a_tree(answer) for answer in answers]
    findings = rank(link([a for a in answers if isinstance(a, Finding)]))
    not_checked = tuple(a for a in answers if isinstance(a, NotChecked))
    first, last = recording.snapshots[0].at, recording.snapshots[-1].at
    return Diagnosis(
        tool=Tool(__version__),
        node=recording.node,
        window=Window(
            start=first.wall,
            end=last.wall,
            seconds=round(recording.seconds, 3),
            snapshots=sum(not snapshot.partial for snapshot in recording.snapshots),
            tree=UNSET if recording.tree is None else recording.tree,
        ),
        outcome=_outcome(findings, not_checked, required, answers),
        findings=tuple(findings),
        cleared=tuple(a for a in answers if isinstance(a, Cleared)),
        not_checked=not_checked,
        not_applicable=tuple(a for a in answers if isinstance(a, NotApplicable)),
        cost=Cost(
            wall_seconds=recording.wall_seconds,
            cpu_seconds=recording.cpu_seconds,
            peak_rss_bytes=recording.peak_rss_bytes,
            collectors=recording.costs,
        ),
        limits=(*_limits(recording), *recording.notes, *_clock_steps(recording.snapshots)),
        thresholds=overrides.in_force(rules),
    )


def _of_a_tree(answer: Answer) -> Answer:
    """Of copied files nobody knows who wrote them, nor whether all are of one moment; and no look takes longer."""
    if isinstance(answer, NotChecked):
        return msgspec.structs.replace(answer, reason=answer.reason.removesuffix(LONGER))
    return msgspec.structs.replace(answer, confidence="possible") if isinstance(answer, Finding) else answer


def _limits(recording: Recording) -> tuple[str, ...]:
    sockets = recording.last(Sockets)
    if sockets is None:
        return ()
    part = UNOWNED_IN_THE_TREE if recording.tree is not None else PART_OF_THE_NODE
    found = () if sockets.all_processes else (part,)
    if sockets.fallback_reason is None:
        return found
    adds = "; CAP_BPF with CAP_PERFMON, or root, would add most" if sockets.missing_capability else ""
    return (f"sockets were read without BPF, which sees less: {sockets.fallback_reason}{adds}", *found)


def _clock_steps(snapshots: Sequence[Snapshot]) -> Iterator[str]:
    """The largest jump of the wall clock against the clock that only runs forward, if it is one."""
    jumps = [
        (later.at.wall - earlier.at.wall).total_seconds() - (later.at.boot_seconds - earlier.at.boot_seconds)
        for earlier, later in pairwise(snapshots)
    ]
    jump = max(jumps, key=abs, default=0.0)
    if abs(jump) > CLOCK_STEP_SECONDS:
        yield (
            f"the node's clock was set {abs(jump):,.0f} s {'forward' if jump > 0 else 'back'} meanwhile: times of day "
            "before and after do not fit together; durations do, they come from the time since boot"
        )


def with_cost(diagnosis: Diagnosis, recording: Recording) -> Diagnosis:
    """The same diagnosis with the cost as it stands at the end of all work."""
    cost = msgspec.structs.replace(
        diagnosis.cost,
        wall_seconds=recording.wall_seconds,
        cpu_seconds=recording.cpu_seconds,
        peak_rss_bytes=recording.peak_rss_bytes,
    )
    return msgspec.structs.replace(diagnosis, cost=cost)


def missing_answers(
    not_checked: Sequence[NotChecked], required: Collection[str], answered: Collection[str]
) -> frozenset[str]:
    """Rules of the required set that gave no answer, and those that found what they could not judge."""
    default = {
        n.rule
        for n in not_checked
        if n.code == TOO_FEW or (catalogue()[n.rule].severity == "critical" and n.code not in NEEDS_NOTHING_MORE)
    }
    return frozenset(default | (set(required) - set(answered)))


def _outcome(
    findings: Sequence[Finding], not_checked: Sequence[NotChecked], required: Collection[str], answers: Sequence[Answer]
) -> Outcome:
    if any(f.severity in ("critical", "warning") for f in findings):
        return "finding"
    answered = {a.rule for a in answers if not isinstance(a, NotChecked)}
    return "incomplete" if missing_answers(not_checked, required, answered) else "healthy"
