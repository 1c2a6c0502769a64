"""Machines of which only the receiving side is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.softnet import CpuWork, Interrupt, ReceivingDevice, Softnet

from .nodes import NODE, moment

NOTHING = CpuWork(
    processed=0, dropped=0, squeezed=0, steered=0, flow_limited=0, waiting=0, net_rx=0, total_ms=0, idle_ms=0,
    softirq_ms=0, irq_ms=0, steal_ms=0, thread_run_ns=0, thread_wait_ns=0,
)  # fmt: skip


def work(**counted: Any) -> CpuWork:
    """A CPU with these counters, all others at 0."""
    return CpuWork(**{name: getattr(NOTHING, name) for name in NOTHING.__struct_fields__} | counted)


def busy(seconds: float, softirq: float, idle: float, **counted: Any) -> CpuWork:
    """A CPU that has been up for so long. softirq, idle: shares of its time."""
    ms = seconds * 1000
    times = {"total_ms": round(ms), "softirq_ms": round(ms * softirq), "idle_ms": round(ms * idle)}
    return work(**{**times, **counted})


def device(*cpus: Sequence[int], received: int = 0, **other: Any) -> ReceivingDevice:
    """A device with a queue for each interrupt. cpus: where each comes to."""
    interrupts = tuple(
        Interrupt(number=40 + i, name=f"eth0-TxRx-{i}", cpus=tuple(places), by_cpu=dict.fromkeys(places, 5))
        for i, places in enumerate(cpus)
    )
    return ReceivingDevice(**{"queues": ((),) * len(cpus), "interrupts": interrupts, "received": received, **other})


def softnet(*cpus: CpuWork, devices: Mapping[str, ReceivingDevice] | None = None, **other: Any) -> Softnet:
    """CPUs from 0 on."""
    return Softnet(by_cpu=dict(enumerate(cpus)), devices=dict(devices or {}), **{"virtual": 1, **other})


def node(*readings: Softnet, seconds: float = 3.0) -> Recording:
    """Readings that are evenly apart."""
    step = seconds / max(len(readings) - 1, 1)
    return Recording(
        node=NODE,
        snapshots=tuple(Snapshot(at=moment(i * step), samples={"softnet": s}) for i, s in enumerate(readings)),
    )
