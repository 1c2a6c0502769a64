"""Receive queues and interrupts of network devices with hardware (sysfs-class-net, sysfs-kernel-irq; IRQ-affinity.rst).

sysfs shows the devices of the network namespace in which it was mounted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.cpus import parse_list, parse_mask
from whodunnet.kernel.procfs.files import integer, read_bytes, shown, unreadable
from whodunnet.kernel.roots import Roots
from whodunnet.model.bounds import INT64_MAX
from whodunnet.model.softnet import Interrupt, ReceivingDevice
from whodunnet.model.text import clean

DEVICES_LIMIT: Final = 64
QUEUES_LIMIT: Final = 256
INTERRUPTS_LIMIT: Final = 512
"""Of all devices together."""
_QUEUE: Final = re.compile(r"rx-([0-9]{1,5})")
_COUNTS: Final = re.compile(rb"[0-9]{1,20}(?:,[0-9]{1,20})*")


class ReceivingDevices(msgspec.Struct, frozen=True, kw_only=True):
    """by_name: devices with hardware. virtual: how many have none. left_out: what was beyond a bound."""

    by_name: dict[str, ReceivingDevice]
    virtual: int
    left_out: int


def parse_counts(data: bytes, source: str) -> dict[int, int]:
    """per_cpu_count: a number for each possible CPU; those above 0 are kept. Raises MalformedError naming source."""
    text = data.strip()
    if _COUNTS.fullmatch(text) is None:
        raise MalformedError(f"{source}: should be a number for each CPU and is {shown(data)}")
    return {cpu: min(int(word), INT64_MAX) for cpu, word in enumerate(text.split(b",")) if int(word)}


def read_receiving_devices(roots: Roots) -> ReceivingDevices:
    """One pass. Raises UnreadableError if sysfs does not list network devices."""
    directory = roots.sys / "class/net"
    names = _names(directory)
    hardware = [name for name in names if (directory / name / "device").exists()]
    found: dict[str, ReceivingDevice] = {}
    room, left_out = INTERRUPTS_LIMIT, max(len(hardware) - DEVICES_LIMIT, 0)
    for name in hardware[:DEVICES_LIMIT]:
        try:
            device, beyond = _device(roots, directory / name, room)
        except MalformedError:
            raise
        except UnreadableError:
            continue  # it went meanwhile
        found[name] = device
        room -= len(device.interrupts)
        left_out += beyond
    return ReceivingDevices(by_name=found, virtual=len(names) - len(hardware), left_out=left_out)


def _device(roots: Roots, directory: Path, room: int) -> tuple[ReceivingDevice, int]:
    queues = sorted(int(match[1]) for name in _names(directory / "queues") if (match := _QUEUE.fullmatch(name)))
    numbers = _interrupts(directory / "device")
    device = ReceivingDevice(
        queues=tuple(_steered_to(directory / f"queues/rx-{n}/rps_cpus") for n in queues[:QUEUES_LIMIT]),
        interrupts=tuple(_readable(roots, numbers[:room])),
        threaded=_flag(directory / "threaded"),
        received=_number(directory / "statistics/rx_packets"),
    )
    return device, max(len(queues) - QUEUES_LIMIT, 0) + max(len(numbers) - room, 0)


def _interrupts(device: Path) -> list[int]:
    """Numbers of the message-signalled interrupts; a virtio device has those of the PCI device above it."""
    for place in (device / "msi_irqs", device / os.pardir / "msi_irqs"):
        try:
            names = os.listdir(place)  # noqa: PTH208 - names, not paths
        except OSError:
            continue
        return sorted(int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 10)
    return []


def _readable(roots: Roots, numbers: Iterable[int]) -> Iterable[Interrupt]:
    for number in numbers:
        try:
            yield _interrupt(roots, number)
        except MalformedError:
            raise
        except UnreadableError:
            continue  # nobody has asked for it, or the driver has let go of it


def _interrupt(roots: Roots, number: int) -> Interrupt:
    """One interrupt, without the lock and the table of /proc/interrupts. Raises UnreadableError."""
    counts = roots.sys / f"kernel/irq/{number}/per_cpu_count"
    actions = read_bytes(roots.sys / f"kernel/irq/{number}/actions").strip()
    if not actions:
        raise UnreadableError(f"interrupt {number} is not in use", code="vanished")
    return Interrupt(
        number=number,
        name=clean(actions.decode(errors="replace"), 64),
        cpus=_delivered_to(roots, number),
        by_cpu=parse_counts(read_bytes(counts), str(counts)),
    )


def _delivered_to(roots: Roots, number: int) -> tuple[int, ...]:
    """The CPUs that get it in fact, or those that may where this kernel does not tell."""
    for name in ("effective_affinity_list", "smp_affinity_list"):
        path = roots.proc / f"irq/{number}/{name}"
        try:
            found = parse_list(read_bytes(path), str(path))
        except MalformedError:
            raise
        except UnreadableError:
            continue
        if found:
            return found
    return ()


def _steered_to(path: Path) -> tuple[int, ...]:
    try:
        return parse_mask(read_bytes(path), str(path))
    except MalformedError:
        raise
    except UnreadableError:
        return ()  # a kernel without RPS


def _flag(path: Path) -> bool | None:
    number = _number(path)
    return None if number is None else number > 0


def _number(path: Path) -> int | None:
    try:
        return min(max(integer(read_bytes(path).strip(), str(path), "the value"), 0), INT64_MAX)
    except MalformedError:
        raise
    except UnreadableError:
        return None


def _names(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in islice(entries, 16_384))
    except OSError as error:
        raise unreadable(str(directory), error) from error
