"""Stalls in a few words: who was met on the CPU, how often, in what, makes a recording of two readings or more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from whodunnet.model.finding import Cleared, Finding, NotChecked
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.stalls import CpuDelays, DelaySpan, Holder, Stack, Stall, Stalls, Task, delay_spans
from whodunnet.model.workload import Workload, Workloads
from whodunnet.rules.catalogue import catalogue

from .nodes import FROM_BOOT, NODE, answers, findings, moment
from .receiving import softnet, work

RULE = "rx-stall"
ENTRY = catalogue()[RULE]
HERTZ = 250
STARTED = FROM_BOOT - 3_600.0  # when every process of nodes.process() did
MONITOR = Task(pid=7, tid=8, comm="app7", thread="scrape", process_started_seconds=STARTED)
OTHER = Task(pid=9, tid=9, comm="app9", thread="app9", process_started_seconds=STARTED)
REAL_TIME = replace(MONITOR, real_time_priority=50)
WORKER = Task(pid=80, tid=80, comm="kworker/1:2", thread="kworker/1:2", process_started_seconds=1.0, kernel_thread=True)
KSOFTIRQD = replace(WORKER, pid=21, tid=21, comm="ksoftirqd/1", thread="ksoftirqd/1", duty="softirqs")
NAPI = replace(KSOFTIRQD, pid=22, tid=22, comm="napi/eth0-1", thread="napi/eth0-1", duty="packets")
IDLE = replace(KSOFTIRQD, pid=None, tid=None, comm="swapper/1", thread="swapper/1", duty="idle")
READS = ("mem_cgroup_iter", "memory_stat_show", "seq_read_iter", "vfs_read", "ksys_read", "do_syscall_64")
DUMPS = ("ctnetlink_dump_table", "netlink_dump", "netlink_sendmsg", "__sys_sendto", "do_syscall_64")
ALLOWS = ("handle_softirqs", "do_softirq", "__local_bh_enable_ip", *DUMPS)
ENABLES = ("_raw_spin_unlock_irq", "memory_stat_format", *READS[1:])
SPINS = ("native_queued_spin_lock_slowpath", "_raw_spin_lock", "__nf_conntrack_confirm", *DUMPS)
INTERRUPTS = ("handle_softirqs", "irq_exit_rcu", "sysvec_apic_timer_interrupt", *DUMPS)


def held(task: Task, samples: int, **other: Any) -> Holder:
    """Met so often in the kernel, without a pause."""
    functions = other.pop("functions", READS)
    fields: dict[str, Any] = {
        "mode": "kernel", "system_call": None if task.kernel_thread else "read", "samples": samples,
        "seconds": samples / HERTZ, "stayed": True if samples > 1 else None,
        "stacks": (Stack(functions=functions, samples=samples),) if functions else (),
    }  # fmt: skip
    return Holder(task=task, **{**fields, **other})


def ended(task: Task, functions: Sequence[str] = ()) -> Holder:
    """Who was current when it was over."""
    stacks = (Stack(functions=tuple(functions)),) if functions else ()
    return Holder(task=task, mode="kernel", samples=1, seconds=0.0, stacks=stacks, softirq="NET_RX")


def stall(*holders: Holder, wait: float = 0.15, end: Holder | None = None, **other: Any) -> Stall:
    """By default of 150 ms, which ksoftirqd ended."""
    seen = sum(h.samples for h in holders)
    fields: dict[str, Any] = {
        "ended_boot_seconds": FROM_BOOT + 1.0, "cpu": 1, "kind": "late", "samples": seen,
        "expected_samples": round(wait * HERTZ),
    }  # fmt: skip
    return Stall(wait_seconds=wait, end=end or ended(KSOFTIRQD), holders=holders, **{**fields, **other})


def gap(function: str = "serial8250_console_write", **other: Any) -> Stall:
    """A CPU without a sample for 40 ms, while one task kept it in that function."""
    functions = other.pop("functions", (function, *READS[3:]))
    task = other.pop("task", MONITOR)
    end = Holder(task=task, mode=other.pop("mode", "kernel"), samples=1, seconds=0.0, system_call="read",
                 stacks=held(task, 1, functions=functions).stacks)  # fmt: skip
    return stall(kind="silent", wait=0.04, end=end, **other)


def again(*stalls: Stall, times: int = 2) -> list[Stall]:
    """The same ones so many times, every 0.3 s: no one burst does that."""
    return [
        replace(one, ended_boot_seconds=one.ended_boot_seconds + 0.3 * n) for n in range(times) for one in stalls
    ]  # fmt: skip


def sample(*stalls: Stall, seconds: float, **other: Any) -> Stalls:
    """A reading so many seconds after the start. cpus: one, with delays of 2 ms and below."""
    fields: dict[str, Any] = {
        "cpus": (CpuDelays(cpu=1, delays=delay_spans([900] * 4), longest_seconds=0.0018, stolen_seconds=0.0),),
        "watched_seconds": seconds, "started_seconds": FROM_BOOT, "threshold_seconds": 0.01, "hertz": HERTZ,
        "backlogs_followed": True,
    }  # fmt: skip
    return Stalls(stalls=stalls, **{**fields, **other})


def watched(
    *stalls: Stall,
    seconds: float = 3.0,
    workloads: Workloads | None = None,
    virtual: bool | None = True,
    received: tuple[int, int] | None = None,
    **last: Any,
) -> Recording:
    """Two readings, of which the second has these stalls. last: of the second alone.

    received: packets of CPU 1 in the whole window, and rounds of NET_RX that it ended with packets left.
    """
    first: dict[str, AnySample] = {"stalls": sample(seconds=0.0, cpus=())}
    then: dict[str, AnySample] = {"stalls": sample(*stalls, seconds=seconds, **last)}
    if workloads is not None:
        then["workloads"] = workloads
    if received is not None:
        first["softnet"] = softnet(work(), work())
        then["softnet"] = softnet(work(), work(processed=received[0], squeezed=received[1]))
    return Recording(
        node=replace(NODE, virtual_machine=virtual),
        snapshots=(
            Snapshot(at=moment(0.0), samples=first),
            Snapshot(at=moment(seconds), samples=then),
        ),
    )


def found(*stalls: Stall, **how: Any) -> list[Finding]:
    return findings(watched(*stalls, **how), RULE)


def cleared(recording: Recording) -> Cleared:
    (answer,) = answers(recording, RULE)
    assert isinstance(answer, Cleared), answer
    return answer


def not_checked(recording: Recording) -> NotChecked:
    (answer,) = answers(recording, RULE)
    assert isinstance(answer, NotChecked), answer
    return answer


def said(*stalls: Stall, **how: Any) -> list[tuple[str | None, str, str]]:
    """Shape, confidence and severity of each finding."""
    return [(f.shape, f.confidence, f.severity) for f in found(*stalls, **how)]


def blamed(*stalls: Stall, **how: Any) -> list[str]:
    """Names of the culprits."""
    return [
        p.process.comm if p.process else "?"  # type: ignore[union-attr]
        for f in found(*stalls, **how)
        for p in f.parties
        if p.role == "culprit"
    ]


def stolen(seconds: float, longest: float = 0.15) -> tuple[CpuDelays, ...]:
    return (CpuDelays(cpu=1, delays=delay_spans([10]), longest_seconds=longest, stolen_seconds=seconds),)


def in_cgroup(identifier: int, workload: Workload) -> Workloads:
    return Workloads(by_cgroup_id={identifier: workload})


LONG = (DelaySpan(0.0125, 0.0167, 7),)
"""Delays that are as long as a stall."""
