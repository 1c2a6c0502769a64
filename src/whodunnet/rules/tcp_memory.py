"""Is the TCP memory of the node used up, and who holds it? Holding is accounting: it accuses nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from whodunnet.model.finding import Answer, Cleared, Evidence, Finding, NotChecked, Party, Remedy, Severity
from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.text import shell_quote, shorten_bytes
from whodunnet.model.workload import Process, Workload, Workloads, owner_key
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import party, short_name
from whodunnet.rules.window import window_of

RULE = "tcp-memory"
REFUSALS = ("TCPRcvQDrop", "TCPOFODrop", "RcvPruned", "OfoPruned", "TCPAbortOnMemory", "TCPMemoryPressures")
"""Counters of TcpExt that rise when memory is refused (net/ipv4/tcp_input.c, tcp_timer.c)."""
CROSSED = "TCPMemoryPressures"
"""Rises only when the node as a whole gets short; the others also when one socket's buffer or the orphans are full."""
COUNTERS = "/proc/<pid>/net/netstat TcpExt"
ABORTS_SOURCE = f"{COUNTERS} TCPAbortOnMemory"
"""Where connections that the kernel gave up are counted; a link to what follows from it needs them."""
SOCKSTAT = "grep ^TCP: /proc/net/sockstat; cat /proc/sys/net/ipv4/tcp_mem"
LOG_KINDS = ("tcp-out-of-memory", "too-many-orphans")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Highest fill within the window, whether the pressure flag was ever set, and what was refused meanwhile."""

    at: Moment
    highest_at: Moment
    memory: TcpMemory
    highest_pages: int
    pressed: bool
    refused: dict[str, int]
    seconds: float


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """Critical at the maximum, warning under pressure, else cleared with the highest fill that was seen."""
    reading = _read(recording)
    m = reading.memory
    if m.max_pages is None or m.pressure_pages is None:
        return [_limits_unknown(reading)]
    if reading.highest_pages >= m.max_pages:
        return [_finding("critical", recording, reading, entry)]
    if reading.pressed or reading.highest_pages >= m.pressure_pages or CROSSED in reading.refused:
        return [_finding("warning", recording, reading, entry)]
    return [_cleared(reading)]


def _limits_unknown(reading: Reading) -> NotChecked:
    pressed = "; the kernel reports TCP memory pressure" if reading.pressed else ""
    return NotChecked(
        rule=RULE,
        code="missing-capability",
        missing_capability="CAP_SYS_ADMIN",
        reason=f"the limits (tcp_mem) are visible only in the host's network namespace, and this is another{pressed}",
    )


def _read(recording: Recording) -> Reading:
    series = recording.series(TcpMemory)
    begin, first = series[0]
    at, last = series[-1]
    highest_at, highest = max(series, key=lambda reading: reading[1].used_pages)
    return Reading(
        at=at,
        highest_at=highest_at,
        memory=last,
        highest_pages=highest.used_pages,
        pressed=any(m.under_pressure for _, m in series),
        refused={name: n for name in REFUSALS if (n := _risen(first, last, name))},
        seconds=at.boot_seconds - begin.boot_seconds,
    )


def _risen(first: TcpMemory, last: TcpMemory, name: str) -> int:
    """Sum over the namespaces that are in both readings; one that went away takes its counters with it."""
    return sum(
        max(counters.get(name, 0) - first.counters[netns].get(name, 0), 0)
        for netns, counters in last.counters.items()
        if netns in first.counters
    )


def _finding(severity: Severity, recording: Recording, reading: Reading, entry: Entry) -> Finding:
    m = reading.memory
    assert m.max_pages is not None
    holders = _holders(recording, entry)
    shape = _shape(recording, holders, entry)
    percent = 100 * reading.highest_pages // max(m.max_pages, 1)
    texts = {"few": f"; {_label(holders[0])} holds most of it" if holders else "", "spread": "; many owners share it"}
    spread = texts.get(shape or "", "")
    state = "used up" if severity == "critical" else "under pressure"
    return Finding(
        id=f"{RULE}:{recording.node.boot_id}",
        rule=RULE,
        reason=entry.reason if severity == "critical" else "TcpMemoryPressure",
        severity=severity,
        claim=entry.claim,
        confidence="proven" if len(recording.series(TcpMemory)) > 1 else "possible",
        shape=shape,
        summary=shorten_bytes(f"TCP memory {state}: {reading.highest_pages} of {m.max_pages} pages ({percent} %)", 80),
        title=f"The TCP memory of the node is {state}: {percent} % of the maximum{spread}",
        last_seen=reading.at.wall,
        parties=(*holders, Party(role="victim", node=recording.node.hostname, effect=_effect(severity))),
        evidence=tuple(_evidence(severity, recording, reading)),
        would_explain=entry.would_explain if severity == "critical" else (),
        remedies=tuple(_remedies(recording)),
        explanation=entry.explanation[severity] + _low_limit(m, entry),
    )


def _shape(recording: Recording, holders: list[Party], entry: Entry) -> str | None:
    """ "few" where one owner has most, "spread" where the owners are known and none has; else nobody can tell."""
    if holders and (holders[0].share or 0) >= entry.limit("few_share"):
        return "few"
    window = window_of(recording)
    return "spread" if holders and window and window.attributed >= entry.limit("few_share") else None


def _effect(severity: Severity) -> str:
    if severity == "critical":
        return "transfers larger than one packet stall in every network namespace"
    return "buffers shrink and throughput falls in every network namespace"


def _holders(recording: Recording, entry: Entry) -> list[Party]:
    """The largest owners, as holders. Empty where sockets were not read."""
    sockets, window = recording.last(Sockets), window_of(recording)
    if sockets is None or window is None:
        return []
    workloads = recording.last(Workloads) or Workloads()
    sums: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    who: dict[str, Workload | None] = {}
    for g in sockets.groups:
        if g.protocol == "tcp" and g.owner_pid is not None:
            workload = workloads.by_pid.get(g.owner_pid)
            key = owner_key(g.owner_pid, workload)
            sums[key] += g.memory_bytes
            numbers[key] += g.sockets
            who.setdefault(key, workload or Workload(process=Process(pid=g.owner_pid, comm=f"pid {g.owner_pid}")))
    return [
        party("holder", who[key], share=memory / window.total_bytes, sockets=numbers[key], memory_bytes=memory)
        for key, memory in sums.most_common(int(entry.limit("listed_holders")))
        if memory > 0
    ]


def _label(holder: Party) -> str:
    known = {name: getattr(holder, name) for name in ("process", "container", "pod", "unit")}
    return short_name(Workload(**known))


def _evidence(severity: Severity, recording: Recording, reading: Reading) -> list[Evidence]:
    m = reading.memory
    found = [
        _fill(reading, m.max_pages if severity == "critical" else m.pressure_pages),
        _reading(reading, "TCP sockets that exist in all namespaces", m.alloc_sockets, "sockets", None),
    ]
    if m.under_pressure is not None:
        flag = _reading(reading, "The kernel's TCP memory pressure flag", "yes" if reading.pressed else "no", "", None)
        source = {"source": "/proc/net/protocols", "repeat": "grep -E '^(protocol|TCP )' /proc/net/protocols"}
        found.append(msgspec.structs.replace(flag, **source))
    found += [
        msgspec.structs.replace(
            _reading(
                reading, f"{name} rose within {reading.seconds:.1f} s, in {m.netns_read} namespaces", n, "times", None
            ),
            source=f"{COUNTERS} {name}",
            repeat=f"nstat -az TcpExt{name}  # in each namespace, twice",
        )
        for name, n in reading.refused.items()
    ]
    return found + _unowned(recording, reading) + _log_lines(recording, reading)


def _fill(reading: Reading, limit: int | None) -> Evidence:
    """The highest fill, at its own time, against the limit that matters."""
    evidence = _reading(reading, "TCP memory in use, highest in this window", reading.highest_pages, "pages", limit)
    at = reading.highest_at
    return msgspec.structs.replace(evidence, at=at.wall, boot_seconds=at.boot_seconds)


def _reading(reading: Reading, statement: str, value: float | str, unit: str, limit: float | None) -> Evidence:
    return Evidence(
        statement=statement,
        value=value,
        unit=unit,
        limit=limit,
        comparison=None if limit is None else ">=" if isinstance(value, int) and value >= limit else "<",
        source="/proc/net/sockstat TCP, /proc/sys/net/ipv4/tcp_mem",
        at=reading.at.wall,
        boot_seconds=reading.at.boot_seconds,
        repeat=SOCKSTAT,
    )


def _unowned(recording: Recording, reading: Reading) -> list[Evidence]:
    """What nobody was found for, if sockets were read."""
    window = window_of(recording)
    if window is None:
        return []
    share = round(1 - window.attributed, 3)
    evidence = _reading(
        reading, f"Share of all TCP {window.attributed_of} whose owner is not known", share, "share", None
    )
    return [msgspec.structs.replace(evidence, source="sockets collector against sockstat", repeat="whodunnet sockets")]


def _log_lines(recording: Recording, reading: Reading) -> list[Evidence]:
    """Context only: a line may be old, and a leak on the receiving side writes none."""
    log = recording.last(KernelLog)
    if log is None:
        return []
    return [
        Evidence(
            statement=f"Kernel log lines of this kind{_last_line(log, kind, reading)} (context, not severity)",
            value=log.counts[kind],
            unit="lines",
            source=log.source,
            at=reading.at.wall,
            repeat="dmesg | grep 'TCP: '",
        )
        for kind in LOG_KINDS
        if log.counts.get(kind)
    ]


def _last_line(log: KernelLog, kind: str, reading: Reading) -> str:
    lines = [x for x in log.lines if x.kind == kind]
    if not lines or lines[-1].boot_seconds is None:
        return ""
    return f', the newest {reading.at.boot_seconds - lines[-1].boot_seconds:.0f} s ago: "{lines[-1].text}"'


def _low_limit(m: TcpMemory, entry: Entry) -> tuple[str, ...]:
    """The kernel sets the maximum at boot to 9.37 % of the memory for buffers (tcp_init_mem, net/ipv4/tcp.c)."""
    expected = formula_pages(m)
    if expected is None or m.max_pages is None or m.max_pages >= entry.limit("low_limit_ratio") * expected:
        return ()
    return (
        f"The limit itself is low for this machine: {m.max_pages:,} pages, where the kernel's own formula gives about "
        f"{expected:,}. Somebody has set it.",
    )


def formula_pages(m: TcpMemory) -> int | None:
    """The maximum that the kernel would choose for a machine with so much memory."""
    if m.memory_total_bytes is None:
        return None
    return m.memory_total_bytes // m.page_size_bytes // 16 // 4 * 3 * 2


def _remedies(recording: Recording) -> list[Remedy]:
    memory = recording.last(TcpMemory)
    steps = [remedies.CAPTURE]
    raised = remedies.raise_limit(memory, None) if memory else None
    steps += [raised] if raised else []
    workloads = recording.last(Workloads) or Workloads()
    if any(workload.pod for workload in workloads.by_pid.values()):
        steps.append(_cordon(recording.node.hostname))
    return steps


def _cordon(hostname: str) -> Remedy:
    return Remedy(
        action="cordon",
        do="Keep new pods away from this node until it is over",
        command=f"kubectl cordon -- {shell_quote(hostname)}",
        effect="nothing new is scheduled here",
        risk="none for what runs; undo with kubectl uncordon",
    )


def _cleared(reading: Reading) -> Cleared:
    m = reading.memory
    unread = f", {m.netns_unread} not readable" if m.netns_unread else ""
    return Cleared(
        rule=RULE,
        sensitivity=f"fill level and pressure flag at each snapshot; entries into pressure within "
        f"{reading.seconds:.1f} s, counted in {m.netns_read} namespaces{unread}",
        evidence=(_fill(reading, m.pressure_pages),),
    )
