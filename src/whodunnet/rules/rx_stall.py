"""Received packets that waited for a CPU, and who held it meanwhile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from whodunnet.model.finding import Answer, Cleared, Evidence, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.model.softnet import Softnet
from whodunnet.model.stall_window import StallWindow, stall_window
from whodunnet.model.text import clean
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.stall_cases import PAUSES, Case, find_cases, is_behind, judge_all
from whodunnet.rules.stall_evidence import SOURCE
from whodunnet.rules.stall_findings import RULE, Scene, compose
from whodunnet.rules.stall_shapes import Judged
from whodunnet.rules.stall_words import span_text, time_text, times_text

RATES: Final = ((60.0, "one a minute"), (3_600.0, "one an hour"), (86_400.0, "one a day"))
BEGIN: Final = (
    "a CPU was met again where softirqs begin: whether it stood still before, or a task had interrupts off, nobody can "
    "tell"
)
DELAYS: Final = (
    "bpftrace -e 'tracepoint:irq:softirq_raise { if (args.vec == 3 && !@r[cpu]) { @r[cpu] = nsecs } } "
    "tracepoint:irq:softirq_entry { if (args.vec == 3 && @r[cpu]) "
    "{ @us = hist((nsecs - @r[cpu]) / 1000); @r[cpu] = 0 } }'"
)


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Findings, worst first; else cleared with what the window could have seen and the longest it saw."""
    window = stall_window(recording)
    assert window is not None  # the collector is required
    if window.readings < 2 or window.seconds <= 0:
        return [_unseen("one reading has no window in which packets could wait: look for longer")]
    judged = judge_all(window)
    cases = find_cases(judged, window, recording.node.virtual_machine is not False, entry)
    if not cases:
        return [_cleared(window, judged, entry)]
    listed = _listed(cases, int(entry.limit("listed_cases")))
    waited = sum(one.stall.wait_seconds for one in judged if one.shape != "paused" and one.stall.kind != "silent")
    softnet = recording.last(Softnet)
    devices = softnet.devices if softnet is not None else {}
    scene = Scene(window, recording.node.hostname, waited, len(cases) - len(listed), devices)
    return [compose(case, scene, entry) for case in listed]


def _listed(cases: Sequence[Case], most: int) -> list[Case]:
    """The worst. Those that name nobody, nor have a cause that can be found, leave room for those that do."""
    telling = [case for case in cases if case.has_culprit or case.memory_stat_by is not None]
    others = [case for case in cases if case not in telling]
    kept = [*telling, *others][:most]
    return [case for case in cases if case in kept]


def _unseen(reason: str, code: str = "not-collected") -> NotChecked:
    return NotChecked(rule=RULE, code=code, reason=reason)


def _cleared(window: StallWindow, judged: Sequence[Judged], entry: Entry) -> Answer:
    least = window.last.threshold_seconds
    dropped = window.lost + window.suppressed + window.left_out
    if dropped or window.unlisted >= entry.limit("min_stalls"):
        n = max(dropped, window.unlisted)
        return _unseen(
            f"{n:,} times packets waited {time_text(least)} or more, and who held the CPU was not kept of those "
            "(too many at once, or in snapshots that are not judged: --from and --to look closer)",
            "unreadable",
        )
    if _longest(_without_followed(window, judged), judged) >= entry.limit("critical_wait"):
        return _unseen(f"who held the CPU was not seen: {_sensitivity(window, judged, entry)}", "unreadable")
    return Cleared(
        rule=RULE,
        sensitivity=_sensitivity(window, judged, entry),
        evidence=(
            _reading(
                window, "The longest time that received packets waited", _longest(window, judged), "seconds", least
            ),
            _reading(window, "Times that NET_RX was begun", sum(cpu.delayed for cpu in window.cpus), "times"),
        ),
    )


def _sensitivity(window: StallWindow, judged: Sequence[Judged], entry: Entry) -> str:
    """What the window could have seen, and what it saw that is no finding."""
    least = window.last.threshold_seconds
    paused = sum(one.shape in PAUSES for one in judged)
    single = len(judged) - paused
    stalls = f"{single:,} {'stall' if single == 1 else 'stalls'}" if single else "no stall"
    within = f"of {time_text(least)}{' or more' if single else ''} in {span_text(window.seconds)}"
    longest = _longest(window, judged)
    but = " but in pauses" if not single and longest >= least else ""
    text = f"{stalls} {within}{but}, longest {time_text(longest)}; {missed(window.seconds)}"
    text += _singles(judged, entry) + _pauses(judged)
    if not any(cpu.delayed for cpu in window.cpus):
        text += "; no packet was received"
    if not window.last.hertz:
        text += f"; who is on a CPU is not sampled ({clean(window.last.sampling_reason or 'switched off')})"
    elif window.last.sampling_reason is not None:
        text += f"; some CPUs are not sampled ({clean(window.last.sampling_reason)})"
    if window.last.hertz and not window.last.backlogs_followed:
        text += "; not seen how long packets waited for those before them"
    elif window.last.hertz and window.last.threads_watched:
        text += "; not seen how long packets waited for those before them where a NAPI thread takes them up"
    return text


def _singles(judged: Sequence[Judged], entry: Entry) -> str:
    """Why what was seen is no finding: a few short stalls, or packets behind others, which a burst makes wait."""
    behind = [one.stall.wait_seconds for one in judged if is_behind(one)]
    text = ""
    if len(behind) == 1:
        text += f"; a packet waited {time_text(behind[0])} behind others, once"
    elif behind:
        text += f"; packets waited up to {time_text(max(behind))} behind others, {times_text(len(behind))}"
    if any(one.shape not in PAUSES and not is_behind(one) for one in judged):
        least, longest = entry.limit("min_stalls"), time_text(entry.limit("min_single_wait"))
        text += f"; {'otherwise ' if behind else ''}fewer than {least:.0f} alike, none of {longest}"
    return text


def _pauses(judged: Sequence[Judged]) -> str:
    """Those that may have been a task with its interrupts off are said apart: that the CPU stood still is not known."""
    untold = sum(one.untold for one in judged if one.shape == "paused")
    still = sum(one.shape in PAUSES for one in judged) - untold
    text = f"; {times_text(still)} a CPU stood still (a pause of the machine, or asleep)" if still else ""
    if untold:
        text += f"; {times_text(untold)} {BEGIN}"
    return text


def _without_followed(window: StallWindow, judged: Sequence[Judged]) -> StallWindow:
    """Without packets that waited for those before them and were followed, unless a task or nobody had the CPU."""
    followed = [seen.stall for seen in window.stalls if seen.stall.kind == "queued"]
    known = {cpu.cpu: max((s.wait_seconds for s in followed if s.cpu == cpu.cpu), default=0.0) for cpu in window.cpus}
    rest = [one.seen for one in judged if one.stall.kind == "queued" and not is_behind(one)]
    cpus = tuple(
        replace(cpu, longest_queued_seconds=0.0) if cpu.longest_queued_seconds <= known[cpu.cpu] else cpu
        for cpu in window.cpus
    )
    return replace(window, stalls=(*(s for s in window.stalls if s.stall.kind != "queued"), *rest), cpus=cpus)


def _longest(window: StallWindow, judged: Sequence[Judged]) -> float:
    """Seconds, also of a NET_RX that ran on while others waited."""
    runs = [one.stall.wait_seconds for one in judged if one.stall.kind == "long" and one.shape not in PAUSES]
    return max([window.longest_seconds, *runs])


def missed(seconds: float) -> str:
    """ "one a minute would be missed 19 times in 20": by the chance that none falls into the window."""
    for every, words in RATES:
        times = round(20 * math.exp(-seconds / every))
        if times:
            return f"{words} would be missed {min(times, 19)} times in 20"
    return "one a day would be seen"


def _reading(window: StallWindow, statement: str, value: float, unit: str, limit: float | None = None) -> Evidence:
    return Evidence(
        statement=statement, value=round(value, 6), unit=unit, limit=limit,
        comparison=None if limit is None else "<" if value < limit else ">=", source=SOURCE, at=window.at.wall,
        boot_seconds=window.at.boot_seconds, repeat=DELAYS,
    )  # fmt: skip
