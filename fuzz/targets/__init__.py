"""All targets, by the module that has them: a child imports, and so instruments, only what it needs."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from fuzz.target import Target

ROOMS: Final = ("procfs", "machine", "nodes", "netlink", "records", "trees", "attribution", "recordings", "words")


def targets_of(room: str) -> tuple[Target, ...]:
    """Targets of one module, in its order. Their names begin with that of the module."""
    found: tuple[Target, ...] = import_module(f"fuzz.targets.{room}").TARGETS
    return found


def all_targets() -> tuple[Target, ...]:
    return tuple(target for room in ROOMS for target in targets_of(room))


def find_target(name: str) -> Target:
    """Raises KeyError."""
    return {target.name: target for target in targets_of(room_of(name))}[name]


def room_of(name: str) -> str:
    """Raises KeyError."""
    return {room: room for room in ROOMS}[name.partition("-")[0]]
