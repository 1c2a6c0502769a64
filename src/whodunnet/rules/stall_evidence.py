"""The readings that a finding of a stall rests on: how often, how long, who was met, in which functions."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from whodunnet.model.finding import Evidence
from whodunnet.model.stall_window import StallWindow
from whodunnet.model.text import clean
from whodunnet.rules.stall_cases import Case, function_of, overlap
from whodunnet.rules.stall_functions import READS, in_functions, path_of, where_enabled
from whodunnet.rules.stall_words import cpus_text, time_text

SOURCE: Final = "stalls collector"
REPEAT: Final = "whodunnet stalls --for 60s"
READS_MEMORY_STAT: Final = "Of these, in functions that answer a read of memory.stat"
LONG_BY: Final = {
    "walk": "Of these, in a walk over all memory cgroups, deleted ones too",
    "flush": "Of these, adding up the statistics of all cgroups that have changed",
}
"""By these a cause is found: see diagnosis/ties.py."""
TOGETHER: Final = "All of them together"
PATH_SHOWN: Final = 6


def evidence_of(case: Case, window: StallWindow) -> list[Evidence]:
    """How often and how long, who was met, in what."""
    longest = max(case.stalls, key=lambda one: one.stall.wait_seconds)
    what = _what_waited(case)
    least = window.last.threshold_seconds
    worst = f"The longest, on CPU {longest.stall.cpu}"
    found = [
        _reading(case, f"{what} on {cpus_text(case.cpus)}", len(case.stalls), "stalls"),
        replace(_reading(case, worst, round(longest.stall.wait_seconds, 6), "seconds"), limit=least, comparison=">="),
        _reading(case, TOGETHER, round(sum(case.waits), 6), "seconds"),
    ]
    found += _of_samples(case, window)
    found += _between(case)
    if case.waited:
        found += _elsewhere(case, window)
    if case.shape == "steal":
        found.append(_stolen(case))
    return found


def _elsewhere(case: Case, window: StallWindow) -> list[Evidence]:
    """What else was seen to hold another CPU while somebody waited for a lock here: who has it may be among these."""
    others = [seen.stall for seen in window.stalls]
    at_once = [
        [other for other in others if one.stall.cpu != other.cpu and overlap(one.stall, other)] for one in case.stalls
    ]
    holders = [h for found in at_once for other in found for h in (*other.holders, other.end) if h.mode == "kernel"]
    function = function_of(holders)
    n = sum(bool(found) for found in at_once)
    if not n:
        return []
    within = f", in {clean(function)}" if function is not None else ""
    text = f"Times that another CPU was held meanwhile{within}: the lock may be theirs"
    return [replace(_reading(case, text, n, "stalls"), limit=len(case.stalls), comparison="of")]


def _what_waited(case: Case) -> str:
    kinds = {one.stall.kind for one in case.stalls}
    if case.shape == "irqs-disabled":
        few = " or, while packets waited, with few" if kinds != {"silent"} else ""
        return f"Times without a sample{few}, while one task kept the CPU,"
    if kinds == {"long"}:
        return "Times that NET_RX ran on without a pause,"
    if kinds == {"queued"}:
        return "Times that a packet waited for those before it in the backlog, in several runs of NET_RX,"
    return "Times that received packets waited"


def _of_samples(case: Case, window: StallWindow) -> list[Evidence]:
    """Who was met meanwhile, in which call and functions, and for how long that was."""
    if not case.of or case.shape == "steal" or (case.shape == "many-holders" and not case.waited):
        return []
    period = 1 / window.last.hertz if window.last.hertz else 0.0
    seconds = min(case.samples * period, sum(case.waits))
    much = "at least" if is_cut(case) else "about"
    about = f", {much} {time_text(seconds)}" if period and case.shape != "irqs-disabled" else ""
    whose = "those of who waited for a lock" if case.waited else "those of it"
    whose = f"those of the softirq {case.softirq}" if case.softirq is not None else whose
    text = f"Moments at which the CPU was looked at meanwhile: {whose}{about}"
    found = [replace(_reading(case, text, case.samples, "samples"), limit=case.of, comparison="of")]
    if case.function is not None:
        name, n, of = case.function
        path = " ← ".join(clean(name) for name in path_of(case.stacks, PATH_SHOWN))
        text = f"Of these, in {clean(name)} (commonest path: {path})"
        found.append(replace(_reading(case, text, n, "samples"), limit=of, comparison="of"))
    found += _enabled(case)
    of = sum(stack.samples for stack in case.stacks)
    if n := in_functions(case.stacks, READS):  # the kernel adds up by itself, too
        found.append(replace(_reading(case, READS_MEMORY_STAT, n, "samples"), limit=of, comparison="of"))
    if (long_by := case.memory_stat_by) is not None:
        reading = _reading(case, LONG_BY[long_by[0]], long_by[1], "samples")
        found.append(replace(reading, limit=of, comparison="of"))
    return found


def _between(case: Case) -> list[Evidence]:
    """Looks that tell of nobody, also not that they were many."""
    if case.shape != "many-holders" or not case.between:
        return []
    text = "Moments at which the CPU was looked at meanwhile: those between two softirqs, at nobody in particular"
    return [replace(_reading(case, text, case.between, "samples"), limit=case.of, comparison="of")]


def _enabled(case: Case) -> list[Evidence]:
    """Where it was met after its interrupts had been off."""
    n, of = where_enabled(case.stacks), sum(stack.samples for stack in case.stacks)
    if case.shape != "irqs-disabled" or not n:
        return []
    text = "Of these, at the very place where interrupts come back on; a pause of the machine ends anywhere"
    return [replace(_reading(case, text, n, "samples"), limit=of, comparison="of")]


def is_cut(case: Case) -> bool:
    """Whether one of its stalls was longer than the flight recorder remembers."""
    return any(one.stall.samples_cut for one in case.stalls)


def _stolen(case: Case) -> Evidence:
    of = {(one.seen.at, one.stall.cpu): one.seen.stolen_seconds or 0.0 for one in case.stalls}
    text = "Time that the hypervisor took from these CPUs, in the readings with these stalls"
    reading = _reading(case, text, round(sum(of.values()), 3), "seconds")
    return replace(reading, source="/proc/stat", repeat="mpstat -P ALL 1 3  # %steal")


def _reading(case: Case, statement: str, value: float, unit: str) -> Evidence:
    at = case.stalls[-1].seen.at
    return Evidence(
        statement=statement, value=value, unit=unit, source=SOURCE, at=at.wall, boot_seconds=at.boot_seconds,
        repeat=REPEAT,
    )  # fmt: skip
