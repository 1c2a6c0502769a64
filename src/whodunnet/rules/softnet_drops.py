"""Packets that found no room in the receive queue of a CPU, which nobody logs and no device counts."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from whodunnet.model.finding import Answer, Cleared, Evidence, Finding, NotChecked, Party, Remedy
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.softnet import CpuWork, Softnet
from whodunnet.model.softnet_window import Part, joined, parts
from whodunnet.model.stall_window import stall_window
from whodunnet.model.stalls import Stall
from whodunnet.model.text import shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry

RULE = "softnet-drops"
SOURCE = "/proc/net/softnet_stat"
REPEAT = "cat /proc/net/softnet_stat  # twice; a line for each CPU, hexadecimal: processed, dropped, squeezed"
MEANWHILE = "Of these, dropped between two readings between which received packets waited for that CPU"
"""By this a stall is known as their cause: see diagnosis/ties.py."""
HELD_PART_SECONDS = 2.5
"""Readings no further apart than this: what waited in between did so while they were dropped."""
HELD_PART_SHARE = 0.25
"""Of the time between readings further apart that packets have to wait in; else most may have been dropped before."""
DEFAULT_BACKLOG = 1_000
"""netdev_max_backlog of every kernel (net/core/hotdata.c, before 6.9 net/core/dev.c)."""
REASONS = {"queue-full": "SoftnetQueueFull", "steered": "SoftnetSteeredQueueFull", "flow-limit": "SoftnetFlowLimit"}


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for all CPUs that dropped too much in any part of the window."""
    series = recording.series(Softnet)
    assert series  # the collector is required
    if len(series) < 2:
        return [_one_reading(*series[0])]
    pieces = parts(series)
    bad = [part for part in pieces if _dropping(part, entry)]
    whole = pieces[0]
    for part in pieces[1:]:
        whole = joined(whole, part)
    if not bad:
        return [_cleared(whole, entry)]
    return [_finding(recording, whole, bad, entry)]


def _dropping(part: Part, entry: Entry) -> dict[int, CpuWork]:
    """CPUs that dropped enough within a part."""
    return {cpu: work for cpu, work in part.by_cpu.items() if _drops_enough(work, entry)}


def _drops_enough(work: CpuWork, entry: Entry) -> bool:
    return work.dropped >= entry.limit("min_dropped") and share(work) >= entry.limit("min_dropped_share")


def share(work: CpuWork) -> float:
    """Of the packets that came to this CPU, the share that was dropped: those are not counted as processed."""
    return work.dropped / max(work.dropped + work.processed, 1)


def _one_reading(at: Moment, sample: Softnet) -> Answer:
    """No rise can be seen; nothing ever is an answer all the same."""
    total = sum(work.dropped for work in sample.by_cpu.values())
    if total == 0:
        return Cleared(
            rule=RULE,
            sensitivity="any packet dropped by any CPU since the machine started",
            evidence=(_reading(at, "Packets dropped by all CPUs since the machine started", 0, None),),
        )
    reason = f"one reading cannot show a rise ({total:,} packets dropped by all CPUs since the machine started)"
    return NotChecked(rule=RULE, code="not-collected", reason=f"{reason}: look for longer")


def _finding(recording: Recording, whole: Part, bad: Sequence[Part], entry: Entry) -> Finding:
    cpus = sorted({cpu for part in bad for cpu in _dropping(part, entry)})
    # A CPU that went meanwhile is in the part where it dropped, and not in the whole.
    sums = {cpu: whole.by_cpu.get(cpu) or _of_parts(cpu, bad) for cpu in cpus}
    name = _shape(sums, whole.last)
    shape = entry.shapes[name]
    where = f"CPU {cpus[0]}" if len(cpus) == 1 else f"{len(cpus)} CPUs"
    packets = sum(work.dropped for work in sums.values())
    title = shape.title.format(packets=packets, where=where)
    victim = Party(
        role="victim",
        node=recording.node.hostname,
        cpus=tuple(cpus),
        effect=f"{packets:,} packets dropped on {where}; of whom is not seen",
    )
    return Finding(
        id=f"{RULE}:{recording.node.boot_id} {name}",
        rule=RULE,
        reason=REASONS[name],
        severity=entry.severity,
        claim=entry.claim,
        confidence="proven",
        shape=name,
        summary=shorten_bytes(title, 80),
        title=title,
        since=bad[0].begin.wall,
        last_seen=bad[-1].end.wall,
        parties=(victim,),
        evidence=(*_evidence(sums, whole, bad, entry), *_meanwhile(recording, bad, entry)),
        remedies=(remedies.CAPTURE, *_remedies(name, whole.last), remedies.fix(shape.fix)),
        explanation=shape.explanation,
    )


def _of_parts(cpu: int, bad: Sequence[Part]) -> CpuWork:
    """The worst part of one CPU."""
    return max((part.by_cpu[cpu] for part in bad if cpu in part.by_cpu), key=lambda work: work.dropped)


def _shape(sums: dict[int, CpuWork], last: Softnet) -> str:
    """By what the kernel counts beside the drops, and by how devices are set up."""
    dropped = sum(work.dropped for work in sums.values())
    if 2 * sum(work.flow_limited or 0 for work in sums.values()) >= dropped:
        return "flow-limit"
    steered_to = {cpu for device in last.devices.values() for queue in device.queues for cpu in queue}
    # Only RPS wakes a CPU for the packets of another one (rps_trigger_softirq, net/core/dev.c), and nobody is woken
    # whose queue is never empty.
    return "steered" if all(work.steered or cpu in steered_to for cpu, work in sums.items()) else "queue-full"


def _evidence(sums: dict[int, CpuWork], whole: Part, bad: Sequence[Part], entry: Entry) -> list[Evidence]:
    at = whole.end
    most = sorted(sums.items(), key=lambda item: -item[1].dropped)[: int(entry.limit("listed_cpus"))]
    few = int(entry.limit("min_dropped"))
    found = []
    for cpu, work in most:
        text = (
            f"CPU {cpu}: packets dropped in {whole.seconds:.1f} s, {100 * share(work):.3g} % of those that came to it"
        )
        found.append(_reading(at, text, work.dropped, few))
        found += _why(cpu, work, at)
    if whole.last.max_backlog is not None:
        text = f"Packets that the queue of one CPU may hold (netdev_max_backlog; by default {DEFAULT_BACKLOG:,})"
        limit = _reading(at, text, whole.last.max_backlog, None)
        found.append(replace(limit, source="sysctl", repeat="sysctl net.core.netdev_max_backlog"))
    worst = max(bad, key=lambda part: sum(work.dropped for work in _dropping(part, entry).values()))
    dropped = sum(work.dropped for work in _dropping(worst, entry).values())
    text = f"Most within one interval between readings, of {worst.seconds:.1f} s"
    return [*found, _reading(worst.end, text, dropped, few)]


def _meanwhile(recording: Recording, bad: Sequence[Part], entry: Entry) -> list[Evidence]:
    """How many were dropped within readings in which the CPU was held.

    Nothing where stalls were not looked for, or where it was held for a moment only between readings far apart.
    """
    window = stall_window(recording)
    if window is None or window.readings < 2:
        return []
    stalls = [seen.stall for seen in window.stalls if seen.stall.kind not in ("silent", "queued")]
    held = unsure = dropped = 0
    for part in bad:
        for cpu, work in _dropping(part, entry).items():
            dropped += work.dropped
            waited = _waited(part, [stall for stall in stalls if stall.cpu == cpu])
            if waited is None:
                continue
            if part.seconds <= HELD_PART_SECONDS or waited >= HELD_PART_SHARE * part.seconds:
                held += work.dropped
            else:
                unsure += work.dropped
    if unsure > held:
        return []
    found = _reading(bad[-1].end, MEANWHILE, held, None)
    repeat = "whodunnet stalls --for 60s  # beside softnet_stat"
    return [replace(found, limit=dropped, comparison="of", source="softnet and stalls collectors", repeat=repeat)]


def _waited(part: Part, stalls: Sequence[Stall]) -> float | None:
    """For how long of this part packets waited, each moment once; None if no stall touches it."""
    begin, end = part.begin.boot_seconds, part.end.boot_seconds
    spans = [(stall.ended_boot_seconds - stall.wait_seconds, stall.ended_boot_seconds) for stall in stalls]
    inside = sorted((max(since, begin), min(until, end)) for since, until in spans if since <= end and begin <= until)
    waited, counted_to = 0.0, begin
    for since, until in inside:
        waited += max(until - max(since, counted_to), 0.0)
        counted_to = max(counted_to, until)
    return waited if inside else None


def _why(cpu: int, work: CpuWork, at: Moment) -> list[Evidence]:
    """What kept this CPU from emptying its queue, as far as counters say."""
    found = []
    if work.thread_wait_ns:
        text = f"CPU {cpu}: its ksoftirqd was ready to run and something else ran"
        waited = replace(_reading(at, text, work.thread_wait_ns // 1_000_000, None), unit="ms")
        repeat = f"cat /proc/$(pgrep -x ksoftirqd/{cpu})/schedstat  # twice; ran, waited (ns), turns"
        found.append(replace(waited, source="/proc/<pid>/schedstat", repeat=repeat))
    for name, text in (("softirq_ms", "was in softirqs"), ("steal_ms", "was taken by the hypervisor")):
        spent = getattr(work, name)
        if spent and work.total_ms:
            reading = _reading(at, f"CPU {cpu}: {text}, share of its time", round(spent / work.total_ms, 3), None)
            found.append(replace(reading, unit="share", source="/proc/stat", repeat=f"mpstat -P {cpu} 1 3"))
    return found


def _reading(at: Moment, statement: str, value: float, limit: int | None) -> Evidence:
    return Evidence(
        statement=statement,
        value=value,
        unit="packets",
        limit=limit,
        comparison=None if limit is None else ">=" if value >= limit else "<",
        source=SOURCE,
        at=at.wall,
        boot_seconds=at.boot_seconds,
        repeat=REPEAT,
    )


def _cleared(whole: Part, entry: Entry) -> Cleared:
    dropped = sum(work.dropped for work in whole.by_cpu.values())
    total = sum(work.dropped for work in whole.last.by_cpu.values())
    few, least = entry.limit("min_dropped"), entry.limit("min_dropped_share")
    text = f"Packets dropped by all CPUs in this window (since the machine started: {total:,})"
    return Cleared(
        rule=RULE,
        sensitivity=f"{few:.0f} packets that one CPU drops between two readings, if they are {100 * least:g} % of its "
        f"packets, on {len(whole.by_cpu)} CPUs for {whole.seconds:.1f} s",
        evidence=(_reading(whole.end, text, dropped, None),),
    )


def _remedies(name: str, last: Softnet) -> list[Remedy]:
    if name == "flow-limit":
        return [_without_flow_limit()]
    queued = last.max_backlog or DEFAULT_BACKLOG
    longer = max(2 * queued, DEFAULT_BACKLOG)
    many = "twice as many packets" if queued >= DEFAULT_BACKLOG else "as many packets as by default, or more"
    grow = Remedy(
        action="tune",
        do=f"Let each CPU queue {many}",
        command=f"sysctl -w net.core.netdev_max_backlog={longer}",
        effect="a burst of up to that size is delayed instead of dropped",
        risk="what waits longer arrives later; does not help a CPU that is always behind",
    )
    spread = Remedy(
        action="tune",
        do="Spread received packets over more CPUs (RPS), or let RPS leave out the CPUs that are behind",
        command="grep . /sys/class/net/*/queues/rx-*/rps_cpus  # shows; writing a mask of CPUs sets it",
        effect="more CPUs share the work",
        risk="the packets cross CPUs, which costs each of them a little",
    )
    return [spread, grow] if name == "steered" else [grow, spread]


def _without_flow_limit() -> Remedy:
    return Remedy(
        action="tune",
        do="Switch the flow limit off for these CPUs, if that one flow matters more than the others",
        command="cat /proc/sys/net/core/flow_limit_cpu_bitmap  # shows; writing 0 switches it off",
        effect="a large flow may fill the whole queue",
        risk="then small flows lose packets instead, which is what the limit is for",
    )
