"""The sample of the cpu_pressure collector: whether tasks wait for a CPU, and who uses them."""

from __future__ import annotations

import msgspec

from whodunnet.model.bounds import Count, Seconds, Signed


class Consumer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One process, and what it took since the reading before.

    parent: pid of its parent. started_seconds: boot clock. cpu_ms: of all its threads; kernel_ms: of that, in the
        kernel.
    wait_ms: how long its threads were ready to run and others ran: of all of them if it was busy at both readings; of
        the first one alone if it was busy at neither, and only where there is no delay_ms; None: not known.
    nice: 0 as usual, up to 19 for who lets others go first. log_daemon: it has the name of a program that copies logs.
    kernel_thread: it has the flag of a thread of the kernel.
    on_cpu: where it ran, or waited for its turn, at this reading; None of one that slept or has several threads.
    realtime: its priority if it runs in real time (SCHED_FIFO, SCHED_RR), else 0.
    more: processes of its name and its parent that took less than any consumer; what they took, and waited, is in
        these sums.
    """

    pid: Count
    parent: Count = 0
    comm: str
    started_seconds: Seconds = 0.0
    cpu_ms: Count
    kernel_ms: Count = 0
    wait_ms: Count | None = None
    nice: Signed = 0
    log_daemon: bool = False
    kernel_thread: bool = False
    on_cpu: Count | None = None
    realtime: Count = 0
    more: Count = 0


class CpuPressure(msgspec.Struct, frozen=True, tag="cpu_pressure", kw_only=True, omit_defaults=True):
    """The CPUs of the whole machine; times since boot unless said otherwise.

    cpus: online. some_us: how long at least one task waited for a CPU (PSI); some_avg10: share of the last 10 s in
        percent; None where this kernel keeps neither. runnable: tasks that run or are ready to now. load: average of a
        minute, with tasks that wait for disks.
    total_ms, idle_ms (disks included), steal_ms: of all CPUs together. softirq_ms: in interrupts and softirqs.
    delay_ms: how long tasks were ready and others ran, sum over all tasks but our own, as CPUs count it; read under
        pressure only.
    measured_seconds: for how long consumers were measured, up to this reading; None if they were not, as without
        pressure they are not. consumers: who took most, then who waited most besides. processes: how many there were;
        used_ms: what all of them took; waited_ms: how long those that are not consumers waited, as far as that is
        known. left_out: not read.
    """

    cpus: Count
    some_us: Count | None = None
    some_avg10: float | None = None
    runnable: Count | None = None
    load: float | None = None
    total_ms: Count
    idle_ms: Count
    steal_ms: Count
    softirq_ms: Count
    delay_ms: Count | None = None
    measured_seconds: Seconds | None = None
    consumers: tuple[Consumer, ...] = ()
    processes: Count = 0
    used_ms: Count = 0
    waited_ms: Count = 0
    left_out: Count = 0
