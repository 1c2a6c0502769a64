"""No CPU left: tasks wait although none sleeps, and who takes the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from whodunnet.model.cpu_pressure import CpuPressure
from whodunnet.model.finding import Answer, Cleared, Evidence, NotChecked
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.cpu_consumers import Owner, consumers_of, flood_of, most_delayed
from whodunnet.rules.cpu_findings import RULE, Case, compose, cpu_reading
from whodunnet.rules.cpu_window import CpuWindow, window_of

RIVAL: Final = 0.5
"""Whoever takes so much of what the first one takes is one of several, of whom none has made the others wait."""
UNTOLD: Final = ("short-lived", "unseen")
"""Shapes in which those who wait may be those who are not known, so that only processes' own readings count."""


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for the node: tasks waited, and CPUs were busy meanwhile."""
    series = recording.series(CpuPressure)
    assert series  # the collector is required
    if len(series) < 2:
        return [_one_reading(series[0], entry)]
    window = window_of(series)
    if not _is_short(window, entry):
        return [_cleared(window, entry)]
    return [compose(_case(window, recording, entry), recording, entry)]


def _is_short(window: CpuWindow, entry: Entry) -> bool:
    """Whether tasks waited, and not for a quota (cgroups), which leaves CPUs idle."""
    if window.busy < entry.limit("min_busy"):
        return False
    if window.pressure is not None:
        return window.pressure >= entry.limit("min_pressure")
    return window.runnable >= entry.limit("min_runnable")


def _case(window: CpuWindow, recording: Recording, entry: Entry) -> Case:
    """The cause that can be told, else who takes most."""
    owners, flood = consumers_of(recording, window), flood_of(recording, entry)
    loggers = [owner for owner in owners if owner.log_daemon]
    shape = _shape(window, owners[0] if owners else None, entry)
    if window.stolen >= entry.limit("min_stolen"):
        shape = "stolen"
    elif flood is not None and sum(owner.share for owner in loggers) >= entry.limit("min_logging"):
        shape = "log-flood"
    busy = [owner for owner in owners if _is_busy(owner, owners[0], shape, entry)]
    known, pids = shape in UNTOLD, frozenset(pid for owner in busy for pid in owner.pids)
    young = {pid: cpu_ms for pid, cpu_ms in window.begun.items() if pid not in pids} if known else {}
    waiting = window.waiting_besides(pids | young.keys(), known=known)
    ran = window.running_besides(sum(owner.cpu_ms for owner in busy) + sum(young.values()), known=known)
    suffered = waiting is not None and waiting >= max(entry.limit("min_waiting"), entry.limit("min_slowed") * ran)
    delayed = most_delayed(recording, pids | young.keys(), entry) if suffered else None
    if shape == "log-flood":
        return Case(window, shape, loggers, waiting, flood, suffered, alone=False, delayed=delayed)
    alone = not any(owner.share >= RIVAL * owners[0].share and owner.nice <= owners[0].nice for owner in owners[1:])
    return Case(window, shape, owners, waiting, None, suffered, alone, delayed)


def _is_busy(owner: Owner, top: Owner, shape: str, entry: Entry) -> bool:
    """Whether its own wait is its own affair: it is who leaves others no CPU, or lets them go first by its own wish."""
    least = RIVAL * top.share if shape in ("consumer", "kernel-work") else entry.limit("min_listed")
    return owner.nice > 0 or owner.share >= least


def _shape(window: CpuWindow, top: Owner | None, entry: Entry) -> str:
    if window.measured_share is not None and window.measured_share < entry.limit("min_measured"):
        return "short-lived"
    if top is None:
        return "unseen"
    if top.share < entry.limit("min_share"):
        return "spread"
    return "kernel-work" if top.kernel_thread else "consumer"


def _one_reading(only: tuple[Moment, CpuPressure], entry: Entry) -> Answer:
    at, sample = only
    limit = 100 * entry.limit("min_pressure")
    if sample.some_avg10 is None or sample.some_avg10 >= limit:
        told = "" if sample.some_avg10 is None else f" (tasks waited {sample.some_avg10:.0f} % of the last 10 s)"
        reason = f"one reading cannot show who uses the CPUs{told}: look for longer"
        return NotChecked(rule=RULE, code="not-collected", reason=reason)
    text = "Share of the last 10 s in which any task waited for a CPU"
    evidence = cpu_reading(at, text, round(sample.some_avg10 / 100, 3), "share", limit=entry.limit("min_pressure"))
    return Cleared(rule=RULE, sensitivity="tasks that waited for a CPU within the last 10 s", evidence=(evidence,))


def _cleared(window: CpuWindow, entry: Entry) -> Cleared:
    at, found = window.end, list[Evidence]()
    if window.pressure is not None:
        text = f"Share of {window.seconds:.1f} s in which any task waited for a CPU"
        found.append(cpu_reading(at, text, round(window.pressure, 3), "share", limit=entry.limit("min_pressure")))
    text = f"Share of the time in which the {window.last.cpus:,} CPUs were busy"
    found.append(
        cpu_reading(at, text, round(window.busy, 3), "share", limit=entry.limit("min_busy"), source="/proc/stat",
                    repeat="mpstat 1 3")
    )  # fmt: skip
    if window.last.runnable is not None:
        text = f"Tasks that run or are ready to, on average of {len(window.series):,} readings"
        found.append(cpu_reading(at, text, round(window.runnable * window.last.cpus, 1), "tasks", source="/proc/stat",
                                 repeat="vmstat 1 3"))  # fmt: skip
    quota = " (where CPUs are idle meanwhile it is for a quota: see cpu.stat of the cgroups)"
    waits = window.pressure is not None and window.pressure >= entry.limit("min_pressure")
    return Cleared(
        rule=RULE,
        sensitivity=f"tasks that wait for a CPU for {100 * entry.limit('min_pressure'):.0f} % of {window.seconds:.1f} "
        f"s while CPUs are busy for {100 * entry.limit('min_busy'):.0f} % of it{quota if waits else ''}",
        evidence=tuple(found),
    )
