"""Who leaks sockets: never reads, never closes, never accepts. Full send queues are followed to their reader."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from whodunnet.model.finding import Answer, Cleared, Evidence, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.rules.backpressure import follow
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.leak_cases import Case, cases_of
from whodunnet.rules.leak_findings import RULE, compose, remote_readers
from whodunnet.rules.leak_growth import borders, late_growth
from whodunnet.rules.leak_shapes import grows_idle
from whodunnet.rules.tally import Candidate, candidates
from whodunnet.rules.window import Window, window_of

ENOUGH_SEEN = 0.8
"""With a smaller share of the kernel's TCP sockets in sight than this, finding nothing proves nothing."""


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Findings by what they tie up, largest first; else cleared, or not checked where too little was in sight."""
    window = window_of(recording)
    assert window is not None  # the sockets collector is required
    pressure = follow(window.sockets, window.workloads)
    every = candidates(recording)
    cases = cases_of(every, entry, window, pressure)
    found = [compose(case, entry, window) for case in cases]
    found += remote_readers(pressure, entry, window)
    unseen = _unseen(window, entry)
    late = _late(every, cases, entry)
    gaps = [f"There may be more than this: {more}." for more in (unseen.reason if unseen else "", late) if more]
    if window.sockets.fallback_reason:
        gaps.append(f"Sockets were read without BPF, which sees less: {window.sockets.fallback_reason}.")
    if found:
        return [msgspec.structs.replace(f, explanation=(*f.explanation, *gaps)) for f in found]
    return [unseen or _cleared(recording, window, entry, late)]


def _late(every: list[Candidate], cases: list[Case], entry: Entry) -> str:
    """What may be a leak that began within the window, or a client that did; empty for nothing of the kind."""
    told = {(case.candidate.key, case.candidate.shape) for case in cases}
    more = sum(late_growth(c) for c in every if (c.key, c.shape) not in told and grows_idle(c, entry))
    return f"idle connections rose by {more:,} only in the second half of the window: look longer" if more else ""


def _unseen(window: Window, entry: Entry) -> NotChecked | None:
    """Not checked, if the kernel counts far more than was in sight."""
    sockets, alloc = window.sockets, window.alloc_sockets
    if sockets.netns_unread:
        reason = f"{sockets.netns_unread} network namespaces could not be entered"
    elif alloc is not None and _too_few(sockets, alloc, entry):
        reason = f"only {sockets.tcp_sockets:,} of the kernel's {alloc:,} TCP sockets were in sight"
    elif alloc is None and sockets.method != "bpf":
        reason = "the kernel's own number of TCP sockets was not read, and without BPF some are not seen"
    elif not sockets.all_processes and any(g.holding == "no-descriptor" for g in sockets.groups):
        strangers = sum(g.sockets for g in sockets.groups if g.holding == "no-descriptor")
        reason = f"{strangers:,} sockets belong to processes outside our pid namespace, or to none"
    else:
        return None
    if sockets.fallback_reason:
        reason += f" ({sockets.fallback_reason})"
    code = "unreadable" if sockets.method == "bpf" else "unsupported"
    code = "missing-capability" if sockets.missing_capability else code
    return NotChecked(rule=RULE, code=code, missing_capability=sockets.missing_capability, reason=reason)


def _too_few(sockets: Sockets, alloc: int, entry: Entry) -> bool:
    """Whether a leak would fit into what was not in sight; with BPF only churn and the kernel's own are not."""
    unseen = alloc - (sockets.tcp_sockets - sockets.other_sockets)
    if sockets.method == "bpf":
        return unseen >= (1 - ENOUGH_SEEN) * alloc and unseen >= entry.limit("min_unread")
    return unseen >= entry.limit("min_unread")


def _cleared(recording: Recording, window: Window, entry: Entry, late: str) -> Cleared:
    sockets, page = window.sockets, window.sockets.page_size_bytes
    unread = sum(g.sockets for g in sockets.groups if g.symptom == "unread")
    waiting = sum(g.sockets for g in sockets.groups if g.state == "close-wait")
    reach = "one snapshot: no growth can be seen" if window.snapshots < 2 else f"growth within {window.seconds:.0f} s"
    if window.snapshots > 1 and borders([at.boot_seconds for at, _ in recording.series(Sockets)], 2) is None:
        few = "two snapshots" if window.snapshots == 2 else "no snapshot near the middle"
        reach += f"; {few}: idle connections that are held open do not show"
    elif window.seconds < 60:
        reach += "; idle connections that are held open show only in 60 s or more"
    reach += f"; {late}" if late else ""
    if waiting >= entry.limit("min_sockets"):
        reach += f"; that a close is missing is told from {entry.limit('close_wait_age'):.0f} s on"
    if sockets.method != "bpf":
        why = f" ({sockets.fallback_reason})" if sockets.fallback_reason else ""
        reach += f"; without BPF{why}, sockets that were never connected or are dead are not seen"
    return Cleared(
        rule=RULE,
        sensitivity=reach,
        evidence=(
            Evidence(
                statement=f"TCP sockets looked at; {unread:,} with unread data, {waiting:,} in CLOSE_WAIT, "
                f"{sockets.tcp_memory_bytes // page:,} pages",
                value=sockets.tcp_sockets, unit="sockets", source=f"sockets collector ({sockets.method})",
                at=window.at.wall, boot_seconds=window.at.boot_seconds, repeat="whodunnet sockets",
            ),
        ),
    )  # fmt: skip
