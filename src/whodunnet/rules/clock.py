"""A clock that is stepped or not kept right: certificates and leases then fail, and nobody on the wire did it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from whodunnet.model.clock import Clock
from whodunnet.model.finding import Answer, Cleared, Confidence, Evidence, Finding, NotChecked, Party, Remedy, Severity
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry

RULE: Final = "clock"
REASONS: Final = {"stepped": "ClockStepped", "wrong": "ClockWrong", "not-kept": "ClockNotKept"}
STEP_REPEAT: Final = "cat /proc/uptime; date +%s.%N  # twice: the difference of both stays the same"
KEPT_REPEAT: Final = "timedatectl timesync-status || chronyc tracking || ntpq -c rv"
HARDWARE_REPEAT: Final = "cat /sys/class/rtc/rtc0/since_epoch; date +%s"
ZONE_STEP_SECONDS: Final = 900
"""Time zones differ by multiples of it: a hardware clock in local time is no wrong one."""
Series = Sequence[tuple[Moment, Clock]]


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """A step counts before anything else: it is what was seen to happen."""
    series = recording.series(Clock)
    assert series  # the collector is required
    steps = [step for step in _steps(series) if _is_large(step, entry)]
    if steps:
        return [_stepped(steps, series, recording, entry)]
    at, last = series[-1]
    ahead = next((clock.hardware_ahead for _, clock in reversed(series) if clock.hardware_ahead is not None), None)
    if last.synchronised is None:
        reason = "whether the clock is kept right is not told here (adjtimex is not allowed)"
        return [NotChecked(rule=RULE, code="unreadable", reason=f"{reason}; {_not_stepped(series, entry)}")]
    if not last.synchronised and ahead is not None and _is_wrong(ahead, entry):
        return [
            _finding("wrong", "warning", "likely", [_hardware(at, ahead, entry), _kept(at, last)], recording, entry)
        ]
    if not last.synchronised:
        evidence = [_kept(at, last), *([_hardware(at, ahead, entry)] if ahead is not None else [])]
        return [_finding("not-kept", "info", "possible", evidence, recording, entry)]
    return [_cleared(series, entry)]


class _Step(NamedTuple):
    """By how many seconds the wall clock moved against boot time, until when and in how long.

    doubt: how far both readings may be off, as each is of two clocks one after the other.
    """

    at: Moment
    moved: float
    seconds: float
    doubt: float


def _steps(series: Series) -> list[_Step]:
    return [
        _Step(
            at=end,
            moved=last.wall_minus_boot - first.wall_minus_boot,
            seconds=end.boot_seconds - begin.boot_seconds,
            doubt=first.read_within + last.read_within,
        )
        for (begin, first), (end, last) in pairwise(series)
    ]


def _is_large(step: _Step, entry: Entry) -> bool:
    return abs(step.moved) >= _least(step, entry)


def _least(step: _Step, entry: Entry) -> float:
    """From here on it is a step: a time service moves it by less, by running the clock faster or slower."""
    slewed = entry.limit("max_slew") * max(step.seconds, 0.0)
    return entry.limit("min_step") + slewed + max(step.doubt, 0.0)


def _not_stepped(series: Series, entry: Entry) -> str:
    steps = _steps(series)
    return f"no {_visible(steps, series, entry)} was seen" if steps else "one reading cannot show a step"


def _visible(steps: Sequence[_Step], series: Series, entry: Entry) -> str:
    """A step that shows wherever it was in the window: the further apart readings are, the larger it has to be."""
    seconds = series[-1][0].boot_seconds - series[0][0].boot_seconds
    return f"step of {max(_least(step, entry) for step in steps):.3g} s or more within {seconds:.1f} s"


def _is_wrong(ahead: float, entry: Entry) -> bool:
    """Too far from the hardware's clock, which may be in local time."""
    beside = min(abs(ahead) % ZONE_STEP_SECONDS, -abs(ahead) % ZONE_STEP_SECONDS)
    least = entry.limit("min_wrong")
    return abs(ahead) >= least and (beside >= least or abs(ahead) > 86_400)


def _stepped(steps: Sequence[_Step], series: Series, recording: Recording, entry: Entry) -> Finding:
    evidence = [
        Evidence(
            statement=f"The wall clock moved against the time since boot, within {step.seconds:.1f} s",
            value=round(step.moved, 3), unit="seconds", limit=round(_least(step, entry), 3),
            comparison=">=" if step.moved > 0 else "<= -", source="CLOCK_REALTIME against CLOCK_BOOTTIME",
            at=step.at.wall, boot_seconds=step.at.boot_seconds, repeat=STEP_REPEAT,
        )
        for step in steps[: int(entry.limit("listed_steps"))]
    ]  # fmt: skip
    at, last = series[-1]
    if last.synchronised is not None:
        evidence.append(_kept(at, last))
    return _finding("stepped", "warning", "proven", evidence, recording, entry)


def _finding(
    name: str, severity: Severity, confidence: Confidence, evidence: Sequence[Evidence], recording: Recording,
    entry: Entry,
) -> Finding:  # fmt: skip
    shape, first = entry.shapes[name], evidence[0]
    moved = first.value if isinstance(first.value, int | float) else 0.0
    title = shape.title.format(seconds=f"{abs(moved):,.3g}", way="forward" if moved > 0 else "back")
    node = Party(role="victim", node=recording.node.hostname, effect="its clock is everybody's who runs on it")
    return Finding(
        id=f"{RULE}:{recording.node.boot_id} {name}",
        rule=RULE,
        reason=REASONS[name],
        severity=severity,
        claim=entry.claim,
        confidence=confidence,
        shape=name,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=recording.snapshots[-1].at.wall,
        parties=(node,),
        evidence=tuple(evidence),
        would_explain=entry.would_explain,
        remedies=(remedies.CAPTURE, _look(), remedies.fix(shape.fix)),
        explanation=shape.explanation,
    )


def _look() -> Remedy:
    return Remedy(
        action="tune",
        do="See which time service runs here, and whom it asks",
        command="systemctl --no-pager status chronyd systemd-timesyncd ntpd ntpsec",
        effect="says whether one runs, and whether it reaches its servers",
        risk="none",
    )


def _kept(at: Moment, clock: Clock) -> Evidence:
    wrong = (
        "" if clock.max_error_us is None else f" (it may be {clock.max_error_us / 1e6:,.3g} s wrong by its own account)"
    )
    return Evidence(
        statement=f"Whether a time service says that it keeps the clock right{wrong}",
        value="yes" if clock.synchronised else "no",
        unit="",
        source="adjtimex(2), STA_UNSYNC",
        at=at.wall,
        boot_seconds=at.boot_seconds,
        repeat=KEPT_REPEAT,
    )


def _hardware(at: Moment, ahead: float, entry: Entry) -> Evidence:
    return Evidence(
        statement="The hardware's clock less ours",
        value=ahead,
        unit="seconds",
        limit=entry.limit("min_wrong"),
        comparison=">=" if abs(ahead) >= entry.limit("min_wrong") else "<",
        source="/sys/class/rtc/rtc0/since_epoch",
        at=at.wall,
        boot_seconds=at.boot_seconds,
        repeat=HARDWARE_REPEAT,
    )


def _cleared(series: Series, entry: Entry) -> Cleared:
    at, last = series[-1]
    steps = _steps(series)
    watched = f"a {_visible(steps, series, entry)}" if steps else "no step: one reading"
    largest = [_largest(max(steps, key=lambda step: abs(step.moved)), at, entry)] if steps else []
    return Cleared(
        rule=RULE,
        sensitivity=f"{watched}; and a time service that has not kept the clock right for hours",
        evidence=(*largest, _kept(at, last)),
    )


def _largest(step: _Step, at: Moment, entry: Entry) -> Evidence:
    return Evidence(
        statement="Largest move of the wall clock against the time since boot between two readings",
        value=round(abs(step.moved), 6), unit="seconds", limit=round(_least(step, entry), 6), comparison="<",
        source="CLOCK_REALTIME against CLOCK_BOOTTIME", at=at.wall, boot_seconds=at.boot_seconds, repeat=STEP_REPEAT,
    )  # fmt: skip
