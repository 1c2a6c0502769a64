"""A node without a CPU left, as a finding: who takes them, what waits, what to do."""

from __future__ import annotations

from typing import Final, NamedTuple

from whodunnet.model.finding import Confidence, Evidence, Finding, Party, Remedy
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import clean, shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.cpu_consumers import Delayed, Flood, Owner
from whodunnet.rules.cpu_window import CpuWindow
from whodunnet.rules.identity import party, short_name

RULE: Final = "cpu-pressure"
ALL_CPUS: Final = "what all CPUs did"
REASONS: Final = {
    "consumer": "CpuUsedUp", "log-flood": "LogFloodUsesCpu", "short-lived": "ShortProcessesUseCpu",
    "stolen": "CpuStolen", "spread": "CpuShort", "unseen": "CpuShort",
    "kernel-work": "KernelWorkUsesCpu",
}  # fmt: skip
PRESSURE: Final = "/proc/pressure/cpu"
WAITED: Final = "/proc/schedstat, /proc/<pid>/schedstat"


class Case(NamedTuple):
    """owners: most first. waiting: tasks that waited at a time, without those of owners that are busy themselves.

    suffered: whether that is enough. alone: nobody takes nearly as much as the first one. delayed: who waited most of
    them.
    """

    window: CpuWindow
    shape: str
    owners: list[Owner]
    waiting: float | None
    flood: Flood | None
    suffered: bool
    alone: bool
    delayed: Delayed | None = None


def compose(case: Case, recording: Recording, entry: Entry) -> Finding:
    """A warning where others wait for a CPU; where all who wait are busy themselves it is their own affair."""
    window, shape = case.window, entry.shapes[case.shape]
    top = case.owners[0] if case.owners else None
    title = shape.title.format(
        who=_named(case, top) if top else "nobody", share=f"{100 * (top.share if top else 0):.0f}",
        pressure=f"{100 * (window.pressure or window.busy):.0f}", cpus=f"{window.last.cpus:,}",
        line=clean(case.flood.text, 80) if case.flood else "", rate=f"{case.flood.rate if case.flood else 0:,.0f}",
        stolen=f"{100 * window.stolen:.0f}",
    )  # fmt: skip
    return Finding(
        id=f"{RULE}:{recording.node.boot_id} {case.shape}",
        rule=RULE,
        reason=REASONS[case.shape],
        severity="warning" if case.suffered else "info",
        claim=entry.claim,
        confidence=_confidence(case),
        shape=case.shape,
        summary=shorten_bytes(clean(title), 80),
        title=clean(title, 400),
        since=window.begin.wall,
        last_seen=window.end.wall,
        parties=tuple(_parties(case, recording, entry)),
        evidence=tuple(_evidence(case, entry)),
        would_explain=entry.would_explain if case.suffered else (),
        remedies=(remedies.CAPTURE, *_remedies(case), remedies.fix(shape.fix)),
        explanation=shape.explanation,
    )


def _named(case: Case, top: Owner) -> str:
    more = len(top.pids) + top.more - 1
    return short_name(top.workload, top.pid) + (f" and {more} more" if more and case.shape == "kernel-work" else "")


def _confidence(case: Case) -> Confidence:
    """Counters of the kernel for the pressure; whose it is by readings of processes, and who waits by theirs."""
    if case.shape in ("short-lived", "unseen"):
        return "possible" if not case.window.pressure else "likely"
    return "proven" if case.waiting is not None and case.window.pressure is not None else "likely"


def _parties(case: Case, recording: Recording, entry: Entry) -> list[Party]:
    """Only who takes most of it is a culprit; the kernel's line is behind a log daemon, which only copies it, and
    whoever gives a thread of the kernel its work behind that."""
    most, least = int(entry.limit("listed_consumers")), entry.limit("min_listed")
    victims = [*_delayed(case), Party(role="victim", node=recording.node.hostname, effect=_suffering(case))]
    if case.shape == "consumer":
        first, *rest = case.owners
        others = [_party("holder", owner) for owner in rest[: most - 1] if owner.share >= least]
        return [_party("culprit" if case.suffered and case.alone else "holder", first), *others, *victims]
    if case.shape in ("stolen", "unseen"):
        return victims
    owners = [o for o in case.owners[:most] if case.shape != "short-lived" or o.share >= least]
    return [*(_party("holder", owner) for owner in owners), *victims]


def _delayed(case: Case) -> list[Party]:
    if case.delayed is None:
        return []
    waited, ran = case.delayed.waited_ms / 1000, case.delayed.ran_ms / 1000
    effect = f"waited {waited:,.1f} s for a CPU and ran {ran:,.1f} s{_processes(case.delayed.processes)}"
    return [party("victim", case.delayed.workload, effect=effect)]


def _processes(count: int) -> str:
    return f" in {count:,} processes" if count > 1 else ""


def _party(role: str, owner: Owner) -> Party:
    in_kernel = f", {100 * owner.kernel_ms / max(owner.cpu_ms, 1):.0f} % of it in the kernel"
    many = _processes(len(owner.pids) + owner.more)
    gentle = f" at nice {owner.nice}" if owner.nice > 0 else ""
    effect = f"used {owner.cpu_ms / 1000:,.1f} s of CPU{many}{gentle}{in_kernel}"
    return party(
        "culprit" if role == "culprit" else "holder", owner.workload, share=min(owner.share, 1.0), share_of=ALL_CPUS,
        effect=effect,
    )  # fmt: skip


def _suffering(case: Case) -> str:
    if case.suffered:
        return f"{case.waiting or 0:.1f} tasks at a time wait for a CPU besides"
    if case.waiting is None or case.shape in ("short-lived", "unseen"):
        return "tasks wait for a CPU; which ones was not seen"
    return "hardly anybody else waits"


def _evidence(case: Case, entry: Entry) -> list[Evidence]:
    window, at = case.window, case.window.end
    found = []
    if window.pressure is not None:
        text = f"Share of {window.seconds:.1f} s in which tasks waited for a CPU"
        found.append(cpu_reading(at, text, round(window.pressure, 3), "share", limit=entry.limit("min_pressure")))
    text = f"Share of the time in which the {window.last.cpus:,} CPUs were busy"
    found.append(cpu_reading(at, text, round(window.busy, 3), "share", limit=entry.limit("min_busy"),
                             source="/proc/stat", repeat="mpstat 1 3"))  # fmt: skip
    if window.last.runnable is not None:
        text = "Tasks that run or are ready to, for each CPU, on average of all readings"
        found.append(cpu_reading(at, text, round(window.runnable, 2), "tasks", source="/proc/stat procs_running",
                                 repeat="vmstat 1 3"))  # fmt: skip
    if case.waiting is not None:
        besides = "" if case.shape == "unseen" else ", besides those of whoever is busy"
        text = f"Tasks that waited for a CPU at a time{besides}"
        found.append(cpu_reading(at, text, round(case.waiting, 2), "tasks", limit=entry.limit("min_waiting"),
                                 source=WAITED, repeat="perf sched timehist"))  # fmt: skip
    if window.stolen:
        text = "Share of the time that the hypervisor took"
        found.append(cpu_reading(at, text, round(window.stolen, 3), "share", limit=entry.limit("min_stolen"),
                                 source="/proc/stat steal", repeat="mpstat 1 3"))  # fmt: skip
    return [*found, *_flooding(case, entry), *_taken(case, entry)]


def _flooding(case: Case, entry: Entry) -> list[Evidence]:
    flood = case.flood
    if flood is None:
        return []
    text = f'Lines that the kernel wrote, {100 * flood.share:.0f} % of them like "{clean(flood.text, 120)}"'
    return [
        cpu_reading(case.window.end, text, round(flood.rate, 1), "lines a second", limit=entry.limit("min_line_rate"),
                    source="kernel_log collector", repeat="dmesg --follow-new | pv -l >/dev/null")
    ]  # fmt: skip


def _taken(case: Case, entry: Entry) -> list[Evidence]:
    """CPU time by owner."""
    found = []
    for owner in case.owners[: int(entry.limit("listed_consumers"))]:
        text = f"Share of what all CPUs did: {short_name(owner.workload, owner.pid)}"
        found.append(
            cpu_reading(case.window.end, text, round(min(owner.share, 1.0), 3), "share", source="/proc/<pid>/stat",
                        repeat=f"pidstat -p {owner.pid} 1 3")
        )  # fmt: skip
    if case.window.measured_share is not None:
        text = "Share of it that processes account for which were there at the end"
        found.append(
            cpu_reading(case.window.end, text, round(case.window.measured_share, 3), "share", source="/proc/<pid>/stat",
                        repeat="pidstat 1 3")
        )  # fmt: skip
    return found


def cpu_reading(
    at: Moment, statement: str, value: float, unit: str, *, limit: float | None = None, source: str = PRESSURE,
    repeat: str = "cat /proc/pressure/cpu  # twice; total is in microseconds",
) -> Evidence:  # fmt: skip
    """One reading of the CPUs."""
    return Evidence(
        statement=statement,
        value=value,
        unit=unit,
        limit=limit,
        comparison=None if limit is None else ">=" if value >= limit else "<",
        source=source,
        at=at.wall,
        boot_seconds=at.boot_seconds,
        repeat=repeat,
    )


def _remedies(case: Case) -> list[Remedy]:
    if case.shape == "stolen":
        return [_move()]
    if case.shape == "log-flood":
        return [
            Remedy(
                action="tune",
                do="Take the source of the line away, or keep the kernel from writing it so often",
                command="sysctl kernel.printk_ratelimit kernel.printk_ratelimit_burst  # of lines that ask for it",
                effect="the log daemon has its CPU back",
                risk="lines that are not written cannot be read later",
            )
        ]
    if case.shape == "kernel-work":
        return []  # what slows it down harms whom it works for
    top = case.owners[0] if case.shape == "consumer" and case.owners else None
    if top is None:
        return [_move()]
    gentle = Remedy(
        action="tune",
        do="Let others go first until it is mended",
        command=f"renice -n 19 -p {' '.join(map(str, sorted(top.pids)[:16]))}",
        effect="whoever has something short to do gets a CPU sooner",
        risk="it takes longer; of a container the CPU weight (cpu.weight, requests.cpu) counts more",
    )
    return [gentle]


def _move() -> Remedy:
    return Remedy(
        action="spread",
        do="Move work to another node, or to a larger one",
        command=None,
        effect="what stays has a CPU when it needs one",
        risk="what is moved is restarted",
    )
