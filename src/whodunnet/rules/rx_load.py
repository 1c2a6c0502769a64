"""Which CPU takes received packets, how busy that keeps it beside the others, and how a device's packets come there."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from whodunnet.model.softnet import CpuWork, Interrupt, ReceivingDevice
from whodunnet.model.softnet_window import Part
from whodunnet.rules.catalogue import Entry

RECEIVES: Final = re.compile(r"rx|input|comp|ntfy|-fp-", re.IGNORECASE)
"""In the name of an interrupt for received packets (ixgbe, ice, ena, virtio, mlx5, gve, bnx2x)."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The busiest CPU of a part. Shares of CPU time without what the hypervisor took; packets: share of all CPUs'."""

    part: Part
    cpu: int
    busy: float
    others_busy: float
    others_idle: float
    packets: float

    @property
    def work(self) -> CpuWork:
        """What it did in this part."""
        return self.part.by_cpu[self.cpu]


def load_of(part: Part) -> Load | None:
    """None where the kernel does not say what CPUs did, or fewer than two were online throughout."""
    shares = {cpu: share for cpu, work in part.by_cpu.items() if (share := _shares(work)) is not None}
    if len(shares) < 2:
        return None
    cpu = max(shares, key=lambda cpu: shares[cpu][0])
    others = [share for other, share in shares.items() if other != cpu]
    every = sum(work.processed for work in part.by_cpu.values())
    return Load(
        part=part,
        cpu=cpu,
        busy=shares[cpu][0],
        others_busy=sum(busy for busy, _ in others) / len(others),
        others_idle=sum(idle for _, idle in others) / len(others),
        packets=part.by_cpu[cpu].processed / max(every, 1),
    )


def _shares(work: CpuWork) -> tuple[float, float] | None:
    """Of a CPU's time the shares in interrupts and softirqs, and idle; None where it is not known or had no time."""
    softirq, idle, total = work.softirq_ms, work.idle_ms, work.total_ms
    if softirq is None or idle is None or total is None:
        return None
    own = total - (work.steal_ms or 0)
    return (min((softirq + (work.irq_ms or 0)) / own, 1.0), min(idle / own, 1.0)) if own > 0 else None


def is_bottleneck(load: Load, entry: Entry) -> bool:
    return (
        load.busy >= entry.limit("min_busy_share")
        and load.others_busy <= entry.limit("max_others_share")
        and load.others_idle >= entry.limit("min_idle_share")
        and load.packets >= entry.limit("min_packet_share")
    )


def feeding(load: Load, entry: Entry) -> dict[str, ReceivingDevice]:
    """Devices with several queues whose packets can be what this CPU is busy with, as many as they received."""
    least = entry.limit("min_device_share") * load.work.processed
    return {
        name: device
        for name, device in load.part.last.devices.items()
        if len(device.queues) > 1
        and not device.threaded
        and (load.part.received(name) or 0) >= max(least, 1)
        and shape_of(device, load.cpu) is not None
    }


def shape_of(device: ReceivingDevice, cpu: int) -> str | None:
    """How what it receives all comes to one CPU; None if neither an interrupt nor steering leads there."""
    if any(device.queues) and not all(device.queues):
        return "spread-unknown"
    steered = {target for queue in device.queues for target in queue}
    if steered:
        return None if cpu not in steered else "steered-together" if steered == {cpu} else "spread-unevenly"
    places = [interrupt.cpus for interrupt in receiving(device)]
    if not places or any(len(cpus) != 1 for cpus in places):
        return "spread-unknown"
    targets = {cpus[0] for cpus in places}
    if cpu not in targets:
        return None
    return "interrupts-together" if len(places) > 1 and targets == {cpu} else "spread-unevenly"


def receiving(device: ReceivingDevice) -> list[Interrupt]:
    """The interrupts for received packets by name; all that ever came where no name tells."""
    named = [interrupt for interrupt in device.interrupts if RECEIVES.search(interrupt.name)]
    return named or [interrupt for interrupt in device.interrupts if interrupt.by_cpu]
