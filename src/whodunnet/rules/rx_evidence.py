"""Evidence and remedies of rx-imbalance."""

from __future__ import annotations

import re
from collections.abc import Sequence

from whodunnet.model.finding import Evidence, Remedy
from whodunnet.model.softnet import Interrupt, ReceivingDevice
from whodunnet.model.softnet_window import Part
from whodunnet.model.text import clean, shell_quote
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.rx_load import Load, receiving

COUNTERS = "cat /proc/net/softnet_stat  # twice; a line for each CPU, hexadecimal: processed, dropped, squeezed"


def evidence_of(
    load: Load, name: str, device: ReceivingDevice, how_often: tuple[int, int], entry: Entry
) -> list[Evidence]:
    bad, pieces = how_often
    part, seconds = load.part, load.part.seconds
    often = "" if pieces == 1 else f" (so in {bad} of {pieces} parts of the window; this is the busiest)"
    found = [
        share_of(load, f"CPU {load.cpu}: in softirqs and interrupts for {seconds:.1f} s{often}", load.busy,
               entry.limit("min_busy_share"), ">="),
        share_of(load, "The other CPUs: in softirqs and interrupts, on average", load.others_busy,
               entry.limit("max_others_share"), "<="),
        share_of(load, "The other CPUs: idle, on average", load.others_idle, entry.limit("min_idle_share"), ">="),
        _count(part, _processed_by(load), load.work.processed),
        _of_device(part, f"Packets received by {clean(name)}", part.received(name) or 0, name),
    ]  # fmt: skip
    if load.work.squeezed:
        found.append(_count(part, f"CPU {load.cpu}: turns that ended with packets left", load.work.squeezed, "turns"))
    if load.work.dropped:
        found.append(_count(part, f"CPU {load.cpu}: packets dropped", load.work.dropped))
    return [*found, _places(part, name, device)]


def _processed_by(load: Load) -> str:
    return f"Packets processed by CPU {load.cpu}, {100 * load.packets:.0f} % of all processed"


def share_of(load: Load, statement: str, value: float, limit: float, comparison: str) -> Evidence:
    at = load.part.end
    return Evidence(
        statement=statement, value=round(value, 3), unit="share", limit=limit, comparison=comparison,
        source="/proc/stat", at=at.wall, boot_seconds=at.boot_seconds, repeat="mpstat -P ALL 1 3",
    )  # fmt: skip


def _count(part: Part, statement: str, value: int, unit: str = "packets") -> Evidence:
    return Evidence(
        statement=statement, value=value, unit=unit, source="/proc/net/softnet_stat", at=part.end.wall,
        boot_seconds=part.end.boot_seconds, repeat=COUNTERS,
    )  # fmt: skip


def _of_device(part: Part, statement: str, value: int, name: str) -> Evidence:
    return Evidence(
        statement=statement, value=value, unit="packets", source="sysfs", at=part.end.wall,
        boot_seconds=part.end.boot_seconds, repeat=f"ip -s link show dev {shell_quote(name)}  # twice",
    )  # fmt: skip


def _places(part: Part, name: str, device: ReceivingDevice) -> Evidence:
    """Where its queues lead: by steering if that is on, else by interrupts."""
    steered = sorted({cpu for queue in device.queues for cpu in queue})
    if steered:
        text, cpus = "steered to", steered
        repeat = f"grep . /sys/class/net/{shell_quote(name)}/queues/rx-*/rps_cpus"
    else:
        text, cpus = "its interrupts come to", sorted({cpu for i in receiving(device) for cpu in i.cpus})
        repeat = f"grep {shell_quote(_stem(device))} /proc/interrupts; grep . /proc/irq/*/effective_affinity_list"
    return Evidence(
        statement=f"{clean(name)}: {len(device.queues)} receive queues, {text}",
        value=f"CPU {', '.join(map(str, cpus[:16]))}{', …' if len(cpus) > 16 else ''}" if cpus else "unknown",
        unit="", source="sysfs, /proc/irq", at=part.end.wall, boot_seconds=part.end.boot_seconds, repeat=repeat,
    )  # fmt: skip


def _stem(device: ReceivingDevice) -> str:
    """What the names of its interrupts begin with."""
    names = [interrupt.name for interrupt in receiving(device)]
    return re.split(r"[-@.]", names[0])[0] if names else "rx"


def remedies_of(kind: str, load: Load, name: str, device: ReceivingDevice) -> list[Remedy]:
    if kind == "interrupts-together":
        return [_move(load, receiving(device))]
    if kind == "steered-together":
        files = f"/sys/class/net/{shell_quote(name)}/queues/rx-*/rps_cpus"
        off = f'for queue in {files}; do echo 0 > "$queue"; done'
        return [_tune("Steer to more CPUs, or not at all: each queue has an interrupt of its own", off)]
    if kind == "spread-unevenly":
        return [_tune("See what the device spreads by, and have it spread by ports too",
                      f"ethtool -n {shell_quote(name)} rx-flow-hash udp4")]  # fmt: skip
    return [_tune("See where the queues lead", "cat /proc/interrupts")]


def _move(load: Load, interrupts: Sequence[Interrupt]) -> Remedy:
    """One of them to the CPU that is in softirqs least."""
    others = {cpu: work for cpu, work in load.part.by_cpu.items() if cpu != load.cpu}
    target = min(others, key=lambda cpu: others[cpu].softirq_ms or 0)
    command = f"echo {target} > /proc/irq/{interrupts[-1].number}/smp_affinity_list"
    return _tune("Give each queue a CPU of its own, here one of them; or let irqbalance do it", command)


def _tune(do: str, command: str) -> Remedy:
    return Remedy(
        action="tune",
        do=do,
        command=command,
        effect="several CPUs share the work",
        risk="packets of one flow may arrive out of order for a moment; a CPU meant for something else gets work",
    )
