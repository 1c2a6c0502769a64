"""Whose packets waited, as far as that can be seen: which CPU they came to, and which devices send theirs there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from whodunnet.model.softnet import ReceivingDevice
from whodunnet.model.stalls import Stall
from whodunnet.model.text import clean
from whodunnet.rules.rx_load import receiving

LISTED_DEVICES: Final = 4
NOT_SEEN: Final = (
    "Whose packets they were is not seen: all that came to {where} waited, of every connection, container and network "
    "namespace; also what pods of this node say to each other."
)
_THREAD: Final = re.compile(r"napi/(.+)-[0-9]+")


def device_of(stall: Stall) -> str | None:
    """The device whose NAPI thread waited; its name may be cut (TASK_COMM_LEN). None for what softirqs take."""
    found = _THREAD.fullmatch(stall.end.task.thread) if stall.kind == "thread" else None
    return found[1] if found is not None else None


def devices_at(cpus: Collection[int], devices: Mapping[str, ReceivingDevice]) -> tuple[str, ...]:
    """Those that interrupt one of these CPUs with received packets, or have them handed there (RPS), by name."""
    return tuple(sorted(name for name, device in devices.items() if not _places(device).isdisjoint(cpus)))


def _places(device: ReceivingDevice) -> set[int]:
    """Where its packets come to. Queues that are steered go there, whichever CPU they interrupt."""
    if device.queues and all(device.queues):
        return {cpu for queue in device.queues for cpu in queue}
    steered = {cpu for queue in device.queues for cpu in queue}
    return steered | {cpu for interrupt in receiving(device) for cpu in interrupt.cpus}


def devices_of(stall: Stall, devices: Mapping[str, ReceivingDevice]) -> tuple[str, ...]:
    """The one whose thread waited, else those that send their packets to this CPU."""
    own = device_of(stall)
    return (own,) if own is not None else devices_at((stall.cpu,), devices)


def sufferers(stalls: Iterable[Stall], cpus: Collection[int], devices: Mapping[str, ReceivingDevice]) -> str:
    """ "; of eth0 and what else comes there", empty where no device is known."""
    of_threads = {name for stall in stalls if (name := device_of(stall)) is not None}
    names = sorted(of_threads) or list(devices_at(cpus, devices))
    if not names:
        return ""
    more = f" and {len(names) - LISTED_DEVICES} more" if len(names) > LISTED_DEVICES else ""
    listed = ", ".join(clean(name, 64) for name in names[:LISTED_DEVICES])
    return f"; of {listed}{more}" if of_threads else f"; of {listed}{more} and whatever else comes there"
