"""Deleted memory cgroups that the kernel still keeps. By themselves they hurt nobody: reading them may."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from msgspec.structs import replace

from whodunnet.model.finding import Answer, Cleared, Confidence, Evidence, Finding, NotApplicable, NotChecked, Remedy
from whodunnet.model.memory_cgroups import MemoryCgroups
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.stalls import Stalls
from whodunnet.model.text import clean, shell_quote, shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry

RULE = "zombie-cgroups"
REPEAT = {
    "v1": "grep -E '^(#|memory)' /proc/cgroups; find /sys/fs/cgroup/memory -type d | wc -l",
    "v2": "cat /sys/fs/cgroup/cgroup.stat",
}
FLUSH_SECONDS: Final = 2.0
"""So often the kernel brings all statistics of memory up to date by itself (FLUSH_TIME, mm/memcontrol.c)."""
CHANGED: Final = "Deleted or freed within 2 s, against those in use"
"""By this it is known whether adding up statistics goes through them: see diagnosis/ties.py."""
FLUSHED_US: Final = 20
"""Far more than the microseconds to add up one cgroup on one CPU: some 200 numbers, none of them in cache."""
IN_USE: Final = "All statistics of those in use, added up on every CPU, take less than"
"""A flush that takes longer goes through deleted ones: see diagnosis/ties.py."""
MOUNTS = {"v1": "/sys/fs/cgroup/memory", "v2": "/sys/fs/cgroup"}


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Info if many are dying: alone they explain nothing, a stalled CPU that reads them is another rule's finding."""
    series = recording.series(MemoryCgroups)
    assert series  # the collector is required
    at, last = series[-1]
    if last.version is None:
        return [NotApplicable(rule=RULE, reason="this kernel runs without memory cgroups")]
    if last.dying is None:
        return [_unknown(last)]
    if last.dying < entry.limit("min_dying"):
        return [_cleared(at, last, entry)]
    return [_finding(recording, series, entry)]


def _unknown(last: MemoryCgroups) -> NotChecked:
    if last.version == "v1" and last.part:
        reason = "only our own part of the memory cgroups is in sight, and the kernel counts those of the whole machine"
        return NotChecked(rule=RULE, code="missing-file", reason=reason)
    if last.version == "v1" and last.live is None:
        return NotChecked(rule=RULE, code="unreadable", reason="there are more memory cgroups than are counted here")
    reason = "this kernel does not say how many deleted cgroups it keeps"
    return NotChecked(rule=RULE, code="unsupported", reason=reason)


def _cleared(at: Moment, last: MemoryCgroups, entry: Entry) -> Cleared:
    part = " below our own cgroup" if last.part else ""
    return Cleared(
        rule=RULE,
        sensitivity=f"{entry.limit('min_dying'):,.0f} deleted memory cgroups that are kept{part}, at each snapshot",
        evidence=(_count(at, last, entry), *_reading_time(at, last)),
    )


def _finding(recording: Recording, series: Sequence[tuple[Moment, MemoryCgroups]], entry: Entry) -> Finding:
    at, last = series[-1]
    live = f" ({last.live:,} are in use)" if last.live is not None else ""
    title = f"The kernel still keeps {last.dying:,} deleted memory cgroups{live}"
    return Finding(
        id=f"{RULE}:{recording.node.boot_id}",
        rule=RULE,
        reason=entry.reason,
        severity=entry.severity,
        claim=entry.claim,
        confidence=_confidence(series, entry),
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=at.wall,
        parties=(),
        evidence=tuple(_evidence(recording, series, entry)),
        would_explain=entry.would_explain,
        remedies=(remedies.CAPTURE, *_remedies(recording.node.hostname, last)),
        explanation=entry.explanation["walked"] + entry.explanation["kept"],
    )


def _confidence(series: Sequence[tuple[Moment, MemoryCgroups]], entry: Entry) -> Confidence:
    """Twice counted is proven; the second count is one only if it was made within the window."""
    (begin, first), (end, last) = series[0], series[-1]
    counted_anew = end.boot_seconds - last.counted_seconds_ago > begin.boot_seconds
    many = all(m.dying is not None and m.dying >= entry.limit("min_dying") for m in (first, last))
    return "proven" if counted_anew and many else "possible"


def _evidence(recording: Recording, series: Sequence[tuple[Moment, MemoryCgroups]], entry: Entry) -> list[Evidence]:
    (begin, first), (at, last) = series[0], series[-1]
    found = [_count(at, last, entry)]
    if last.live is not None:
        found.append(_reading(at, last, "Memory cgroups in use", last.live))
    seconds = at.boot_seconds - begin.boot_seconds
    if first.dying is not None and last.dying is not None and first.dying != last.dying:
        text = (
            f"More of them than {seconds:.0f} s before"
            if last.dying > first.dying
            else f"Fewer than {seconds:.0f} s before"
        )
        found.append(_reading(at, last, text, abs(last.dying - first.dying)))
    found += [_reading(at, last, f"Of them below {clean(place.path)}", place.dying) for place in last.most]
    return [*found, *_changed(series), *_in_use(recording, at, last), *_reading_time(at, last)]


def _changed(series: Sequence[tuple[Moment, MemoryCgroups]]) -> list[Evidence]:
    """How many came or went between two flushes of statistics, which go through what has changed since."""
    counted = {round(at.boot_seconds - m.counted_seconds_ago, 1): m.dying for at, m in series if m.dying is not None}
    changes = [
        abs(then - before) * min(1.0, FLUSH_SECONDS / (end - begin))
        for (begin, before), (end, then) in pairwise(sorted(counted.items()))
    ]
    at, last = series[-1]
    most = round(max(changes, default=0))
    if not most or last.live is None:
        return []
    found = _reading(at, last, CHANGED, most)
    return [replace(found, limit=last.live, comparison=">=" if most >= last.live else "<")]


def _in_use(recording: Recording, at: Moment, last: MemoryCgroups) -> list[Evidence]:
    """What a flush takes at most without deleted ones; nothing where not all cgroups or CPUs are in sight."""
    stalls = recording.last(Stalls)
    if stalls is None or not stalls.cpus or last.live is None or last.part:
        return []
    seconds = round(last.live * len(stalls.cpus) * FLUSHED_US / 1e6, 6)
    return [replace(_reading(at, last, IN_USE, 0), value=seconds, unit="seconds")]


def _count(at: Moment, last: MemoryCgroups, entry: Entry) -> Evidence:
    limit = int(entry.limit("min_dying"))
    kind = "memory cgroups" if last.of_memory else "cgroups"
    before = f", counted {last.counted_seconds_ago:.0f} s before" if last.counted_seconds_ago >= 1 else ""
    value = last.dying or 0
    return _reading(at, last, f"Deleted {kind} that the kernel keeps{before}", value, limit)


def _reading(at: Moment, last: MemoryCgroups, statement: str, value: int, limit: int | None = None) -> Evidence:
    version = last.version or "v2"
    return Evidence(
        statement=statement,
        value=value,
        unit="cgroups",
        limit=limit,
        comparison=None if limit is None else ">=" if value >= limit else "<",
        source="/proc/cgroups, directories" if version == "v1" else "cgroup.stat",
        at=at.wall,
        boot_seconds=at.boot_seconds,
        repeat=REPEAT[version],
    )


def _reading_time(at: Moment, last: MemoryCgroups) -> list[Evidence]:
    """What a read of memory.stat costs here, where it was read."""
    if last.stat_seconds is None:
        return []
    return [
        Evidence(
            statement="CPU time of one read of memory.stat of the root", value=round(1000 * last.stat_seconds, 3),
            unit="ms", source="memory.stat", at=at.wall, boot_seconds=at.boot_seconds,
            repeat=f"time cat {MOUNTS[last.version or 'v2']}/memory.stat > /dev/null",
        )
    ]  # fmt: skip


def _remedies(hostname: str, last: MemoryCgroups) -> list[Remedy]:
    return [*_reclaim(last), _drop_caches(), _cordon(hostname), _fewer()]


def _reclaim(last: MemoryCgroups) -> list[Remedy]:
    """By what this kernel offers. The file is one of a live cgroup above the deleted ones."""
    if last.reclaim is None:
        return []
    place = last.most[-1].path.rstrip("/") if last.most else "/CGROUP"
    directory = shell_quote(f"{MOUNTS[last.version or 'v2']}{place}")
    v2 = last.reclaim == "memory.reclaim"
    return [
        Remedy(
            action="tune",
            do="Take back the memory that is charged below a cgroup, a little at a time"
            if v2
            else "Take back all memory that can be, of one cgroup and those below",
            command=f"echo 64M > {directory}/memory.reclaim" if v2 else f"echo 0 > {directory}/memory.force_empty",
            effect="cgroups to which nothing is charged any more go away",
            risk="what runs below it reads its files from disk again, or is swapped out; a long loop in the kernel, "
            "which may itself delay packets",
        )
    ]


def _drop_caches() -> Remedy:
    return Remedy(
        action="tune",
        do="Drop the caches of directory entries and inodes, which keep most of them alive",
        command="echo 2 > /proc/sys/vm/drop_caches",
        effect="most of them go away, until they have piled up again",
        risk="the whole node looks up every file anew: disks get busy, everything is slow for a while; a long loop in "
        "the kernel, which may itself delay packets",
    )


def _cordon(hostname: str) -> Remedy:
    return Remedy(
        action="reboot-node",
        do="If packets stall because of them: drain the node and reboot it",
        command=f"kubectl drain --ignore-daemonsets -- {shell_quote(hostname)}",
        effect="all of them are gone",
        risk="everything on the node moves; pods with local data lose it",
    )


def _fewer() -> Remedy:
    return Remedy(
        action="fix-application",
        do="A kernel whose memory.stat does not walk them; and fewer cgroups made and deleted (health checks and jobs "
        "by exec, timers, sessions)",
        command=None,
        effect="ends it for good",
        risk="none",
    )
