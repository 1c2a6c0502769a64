"""A case as a finding: who held the CPU, for how long packets waited, the readings, what to do."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from whodunnet.model.finding import Finding, Party
from whodunnet.model.softnet import ReceivingDevice
from whodunnet.model.stall_window import StallWindow
from whodunnet.model.text import clean, shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import party
from whodunnet.rules.stall_cases import NAMING, Case
from whodunnet.rules.stall_evidence import evidence_of, is_cut
from whodunnet.rules.stall_remedies import remedies_of
from whodunnet.rules.stall_sufferers import NOT_SEEN, sufferers
from whodunnet.rules.stall_words import call_text, cpus_text, time_text, times_text, who_text

RULE: Final = "rx-stall"
WHY_LONG: Final = {
    "flush": (
        "What takes long is to add up the statistics of all cgroups that have changed, on every CPU: mostly cgroups in "
        "use. Deleted ones that are still kept change too: when they are made so, when something is freed, and as long "
        "as others use what is still charged to them."
    ),
    "walk": (
        "What takes long is a walk over all memory cgroups, among them the deleted ones that are still kept, on every "
        "CPU."
    ),
}
WAITED: Final = (
    "Whoever was met there waited for a lock itself, and is held up like the packets: to blame is who had it, on "
    "another CPU."
)
DELAY: Final = "the time that received packets waited"
"""What shares are taken of."""


class Scene(Struct, frozen=True):
    """What all findings of a window share. all_seconds: that packets waited. more: cases that are not listed."""

    window: StallWindow
    hostname: str
    all_seconds: float
    more: int
    devices: Mapping[str, ReceivingDevice] = {}


def compose(case: Case, scene: Scene, entry: Entry) -> Finding:
    """The finding."""
    shape, words = entry.shapes[case.shape], _words(case)
    title = shape.title.format(**words)
    title = f"T{title[1:]}" if title.startswith("the ") else title
    last = case.stalls[-1].seen.at
    more = f"{scene.more:,} more like this are not listed; whodunnet stalls shows each."
    return Finding(
        id=f"{RULE}:{_digest(case)}",
        rule=RULE,
        reason="".join(word.capitalize() for word in case.shape.split("-")),
        severity=case.severity,
        claim=entry.claim,
        confidence=case.confidence,
        shape=case.shape,
        summary=shorten_bytes(clean(title), 80),
        title=clean(title, 400),
        since=case.stalls[0].seen.at.wall,
        last_seen=last.wall,
        parties=tuple(_parties(case, scene)),
        evidence=tuple(evidence_of(case, scene.window)),
        would_explain=entry.would_explain,
        remedies=(remedies.CAPTURE, *remedies_of(case), remedies.fix(shape.fix)),
        explanation=(
            *(line.format(**words) for line in shape.explanation if not (case.waited and case.shape == "many-holders")),
            *_memory_stat(case),
            *((NOT_SEEN.format(**words),) if case.shape != "irqs-disabled" else ()),
            *_doubts(case, scene.window),
            *((more,) if scene.more > 0 else ()),
        ),
    )


def _words(case: Case) -> dict[str, str]:
    who = who_text(case.task, case.workload) if case.task is not None else "nobody alone"
    waiting = next((one.stall.end.task for one in case.stalls if one.stall.end.task.duty is not None), None)
    return {
        "who": who if case.processes < 2 else f"{who} and {case.processes - 1} more of that name",
        "where": cpus_text(case.cpus),
        "longest": time_text(max(case.waits)),
        "times": times_text(len(case.stalls)),
        "call": call_text(case.system_call),
        "softirq": case.softirq or "",
        "ran": "kept a packet waiting" if case.is_queue else "ran",
        "thread": clean(waiting.thread) if waiting is not None else "a thread of the kernel",
        "within": f", in {clean(case.function[0])}" if case.function is not None else "",
        "by": f", while {who} was in {call_text(case.system_call)}" if case.has_culprit else "",
    }


def _digest(case: Case) -> str:
    """The same while the same one does the same."""
    owner = case.workload
    place = (owner.container.id if owner.container else owner.unit) if owner is not None else None
    named = case.task.comm if case.task is not None and case.shape in NAMING else case.softirq
    function = case.function[0] if case.function is not None and not case.is_named else None
    behind = ("queued",) if case.is_queue else ()
    return hashlib.sha256(repr((case.shape, place, named, function, *behind)).encode()).hexdigest()[:12]


def _parties(case: Case, scene: Scene) -> list[Party]:
    """The culprit only where it was met while packets waited; a softirq, a hypervisor and a full CPU are nobody."""
    waited = sum(case.waits)
    found = []
    if case.has_culprit or (case.is_named and case.shape != "irqs-disabled"):
        assert case.task is not None
        workload = case.workload if case.workload is not None and case.task.pid is not None else None
        found.append(
            party(
                "holder" if case.confidence == "possible" else "culprit",
                workload,
                share=min(waited / scene.all_seconds, 1.0) if scene.all_seconds > 0 else None,
                share_of=DELAY,
                effect=_what_it_did(case),
            )
        )
    where = cpus_text(case.cpus)
    whose = sufferers((one.stall for one in case.stalls), case.cpus, scene.devices)
    effect = f"received packets waited on {where} {times_text(len(case.stalls))}, {time_text(waited)} in all{whose}"
    if case.shape == "irqs-disabled":
        effect = f"whatever comes to {where} while interrupts are off waits"
    return [*found, Party(role="victim", node=scene.hostname, cpus=case.cpus, effect=effect)]


def _what_it_did(case: Case) -> str:
    where = "in user mode" if _is_in_user_mode(case) else f"in {call_text(case.system_call)}"
    seen = f"seen {times_text(case.samples)} {where}"
    seen = f"{seen}, {clean(case.function[0])}" if case.function is not None else seen
    return f"{seen}; one of {case.processes:,} processes of this name" if case.processes > 1 else seen


def _is_in_user_mode(case: Case) -> bool:
    """Whether it mostly was."""
    of = Counter({"user": 0, "kernel": 0})
    for judged in case.stalls:
        for holder in judged.holders:
            of[holder.mode] += holder.samples
    return of["user"] > of["kernel"]


def _memory_stat(case: Case) -> tuple[str, ...]:
    """Why reading it is slow, as far as the functions tell."""
    long_by = case.memory_stat_by
    return (WHY_LONG[long_by[0]],) if long_by is not None else ()


def _doubts(case: Case, window: StallWindow) -> tuple[str, ...]:
    """What the reader should know of how it was seen."""
    found = [WAITED] if case.waited else []
    missing = window.lost + window.suppressed + window.left_out
    if missing:
        found.append(f"{missing:,} more stalls of this window were counted, but not kept: nobody is named for those.")
    if is_cut(case):
        found.append(
            "Stalls that were longer than the recorder remembers were not seen from their beginning: whoever is named "
            "for them held the CPU for at least as long as it was met."
        )
    why = window.last.sampling_reason
    if not window.last.hertz:
        why = why or "no samples were taken"
        found.append(f"Who was on the CPU meanwhile was not sampled ({clean(why)}), so only the end of each was seen.")
    elif why is not None:
        found.append(f"Some CPUs were not sampled ({clean(why)}), and nobody is named for their stalls.")
    if window.last.symbols_reason is not None and case.stalls:
        found.append(f"Functions have no names: {clean(window.last.symbols_reason)}.")
    return tuple(found)
