"""The sample of the softnet collector: what each CPU did about received packets, and where devices send theirs."""

from __future__ import annotations

from typing import Final

import msgspec

from whodunnet.model.bounds import Count

WRAP: Final = 2**32
"""The kernel counts packets and softirqs of a CPU in 32 bits: a million packets a second fill them in 72 minutes."""


class CpuWork(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One CPU that is online. Counters since boot; None where this kernel does not say.

    processed, dropped, squeezed, steered, flow_limited: columns of softnet_stat, which begin at 0 again at WRAP.
        processed: packets that were given to the protocols, once for each device they pass. dropped: found no room in
        the queue of this CPU. squeezed: times its turn was over with packets left. steered: wake-ups to take what
        another CPU received (RPS). flow_limited: dropped because one flow filled half of that queue.
    waiting: packets in the queue of this CPU now.
    net_rx: times the NET_RX softirq ran here; begins at 0 again at WRAP.
    total_ms, idle_ms, softirq_ms, irq_ms, steal_ms: time of this CPU, and what of it was idle (waiting for disks
        included), in softirqs, in interrupts, and taken by the hypervisor. In steps of the kernel's clock, 10 ms.
    thread_run_ns, thread_wait_ns: how long its ksoftirqd ran, and how long it was ready to and something else ran.
    """

    processed: Count
    dropped: Count
    squeezed: Count
    steered: Count | None = None
    flow_limited: Count | None = None
    waiting: Count | None = None
    net_rx: Count | None = None
    total_ms: Count | None = None
    idle_ms: Count | None = None
    softirq_ms: Count | None = None
    irq_ms: Count | None = None
    steal_ms: Count | None = None
    thread_run_ns: Count | None = None
    thread_wait_ns: Count | None = None


class Interrupt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One interrupt of a device. name: the driver's. cpus: those that get it. by_cpu: how often each did since boot."""

    number: Count
    name: str
    cpus: tuple[Count, ...] = ()
    by_cpu: dict[Count, Count] = {}


class ReceivingDevice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A network device with hardware behind it.

    queues: for each receive queue the CPUs that RPS gives its packets to, none where that is off.
    interrupts: of the hardware, as far as they can be told. threaded: whether kernel threads take its packets.
    received: packets, since the device was made.
    """

    queues: tuple[tuple[Count, ...], ...]
    interrupts: tuple[Interrupt, ...] = ()
    threaded: bool | None = None
    received: Count | None = None


class Softnet(msgspec.Struct, frozen=True, tag="softnet", kw_only=True, omit_defaults=True):
    """The receiving side of the whole kernel by CPU, and devices with hardware of one network namespace, the host's.

    max_backlog: packets that the queue of one CPU may hold. budget, budget_us: packets and time of one turn.
    irq_pressure_us: how long tasks were kept waiting by interrupts, since boot.
    virtual: devices without hardware. left_out: devices, queues and interrupts beyond the collector's bounds.
    """

    by_cpu: dict[Count, CpuWork]
    max_backlog: Count | None = None
    budget: Count | None = None
    budget_us: Count | None = None
    irq_pressure_us: Count | None = None
    devices: dict[str, ReceivingDevice] = {}
    virtual: Count = 0
    left_out: Count = 0
