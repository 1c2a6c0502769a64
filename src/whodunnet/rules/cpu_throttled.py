"""A quota of CPU time that keeps a workload from what it received. That it is used up alone is no fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from whodunnet.model.finding import Answer, Cleared, Evidence, NotChecked
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import clean
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.cpu_throttled_findings import RULE, Case, compose, reading
from whodunnet.rules.cpu_throttled_waits import Reading, Step, readings, steps_of
from whodunnet.rules.quota_use import repeat_of

JITTER_SECONDS: Final = 1.0
"""Readings that are to be max_seconds_apart come so much later at times, in seconds."""
CGROUPS: Final = "find /sys/fs/cgroup -name cpu.max -o -name cpu.cfs_quota_us"


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Findings, the most throttled first; else cleared with how often any quota was used up."""
    read = readings(recording)
    if not read:
        reason = "quotas and sockets were not read in the same snapshot"
        return [NotChecked(rule=RULE, code="not-collected", reason=reason)]
    if len(read) < 2:
        return [_one_reading(read[0])]
    steps = steps_of(read, entry)
    cases = _innermost([case for its in steps.values() if (case := _case(its, entry)) is not None])
    if not cases:
        return [_too_far_apart(steps, entry) or _cleared(read, steps, entry)]
    cases.sort(key=lambda case: -case.share)
    most = int(entry.limit("listed_cases"))
    version = read[-1].quotas.version
    return [compose(case, version, entry, len(cases) - most) for case in cases[:most]]


def _case(steps: Sequence[Step], entry: Entry) -> Case | None:
    """The steps in which it was used up often, and things waited before and after; else those that lost datagrams."""
    bad = [step for step in steps if _is_bad(step, entry) and _is_short(step, entry)]
    for lost in (False, True):
        those = tuple(step for step in bad if (step.lost >= entry.limit("min_dropped") if lost else step.waits))
        if _are_enough(those, entry):
            return Case(path=steps[0].cgroup.path, steps=those, lost=lost)
    return None


def _is_bad(step: Step, entry: Entry) -> bool:
    hurts = step.waits or step.lost >= entry.limit("min_dropped")
    return step.share >= entry.limit("min_throttled_share") and hurts


def _is_short(step: Step, entry: Entry) -> bool:
    return step.seconds <= entry.limit("max_seconds_apart") + JITTER_SECONDS


def _are_enough(bad: Sequence[Step], entry: Entry) -> bool:
    return sum(step.throttled for step in bad) >= entry.limit("min_throttled")


def _too_far_apart(steps: Mapping[str, Sequence[Step]], entry: Entry) -> NotChecked | None:
    """A quota that would be a finding if readings were closer."""
    long = [[s for s in its if _is_bad(s, entry) and not _is_short(s, entry)] for its in steps.values()]
    bad = [step for its in long if _are_enough(its, entry) for step in its]
    if not bad:
        return None
    worst = max(bad, key=lambda step: step.share)
    reason = (
        f"readings are {worst.seconds:.0f} s apart: {clean(worst.cgroup.path)} used up its quota in "
        f"{100 * worst.share:.0f} % of its periods and something waited at both, but further apart than "
        f"{entry.limit('max_seconds_apart'):.0f} s the two need not be the same"
    )
    return NotChecked(rule=RULE, code="not-collected", reason=reason)


def _innermost(cases: Sequence[Case]) -> list[Case]:
    """Without those above another one: a pod's quota is that of its containers, and used up together with theirs."""
    return [case for case in cases if not any(_is_above(case, other, cases) for other in cases)]


def _is_above(case: Case, other: Case, cases: Sequence[Case]) -> bool:
    """By who is in them: a sample has a cgroup before those above it, and a redacted one does not show by its path."""
    mine, theirs = frozenset(case.cgroup.pids), frozenset(other.cgroup.pids)
    return theirs < mine or (theirs == mine and cases.index(other) < cases.index(case))


def _one_reading(only: Reading) -> Answer:
    """No rise can be seen; that none was ever used up is an answer all the same."""
    throttled = sum(cgroup.throttled for cgroup in only.quotas.cgroups)
    if not throttled:
        return Cleared(
            rule=RULE,
            sensitivity="a quota of CPU time that was ever used up, of those above the owners of sockets",
            evidence=(_count(only.at, only),),
        )
    reason = f"one reading cannot show a rise ({throttled:,} periods in which a quota was used up, at any time)"
    return NotChecked(rule=RULE, code="not-collected", reason=f"{reason}: look for longer")


def _cleared(read: Sequence[Reading], steps: Mapping[str, Sequence[Step]], entry: Entry) -> Answer:
    last = read[-1]
    sums = {path: _sums(its) for path, its in steps.items()}
    most = max(sums, key=lambda path: sums[path], default=None)
    evidence = [_count(last.at, last)]
    if most is not None and sums[most][0]:
        throttled, periods, seconds = sums[most]
        text = f"Periods of {clean(most)} in which its quota was used up, of {periods:,} in {seconds:.1f} s"
        evidence.append(reading(last.at, text, throttled, "periods", repeat_of(most, last.quotas.version)))
    if last.quotas.left_out or last.quotas.unplaced:
        n = last.quotas.left_out + last.quotas.unplaced
        evidence.append(reading(last.at, "Cgroups and processes whose quota was not looked at", n, "of them", CGROUPS))
    share = 100 * entry.limit("min_throttled_share")
    long = any(not _is_short(step, entry) for its in steps.values() for step in its)
    unjudged = f"; steps longer than {entry.limit('max_seconds_apart'):.0f} s are not judged" if long else ""
    return Cleared(
        rule=RULE,
        sensitivity=f"a quota of CPU time that is used up in {share:.0f} % of its periods while data or connections "
        f"wait for its processes at both ends of a step between {len(read)} readings, or datagrams find no room in "
        f"their sockets{unjudged}",
        evidence=tuple(evidence),
    )


def _sums(steps: Sequence[Step]) -> tuple[int, int, float]:
    """Throttled periods, all periods, and how long that was."""
    return sum(s.throttled for s in steps), sum(s.periods for s in steps), sum(s.seconds for s in steps)


def _count(at: Moment, last: Reading) -> Evidence:
    text = f"Cgroups that ran under a quota, of {last.quotas.read:,} above the owners of sockets"
    return reading(at, text, sum(cgroup.periods > 0 for cgroup in last.quotas.cgroups), "cgroups", CGROUPS)
