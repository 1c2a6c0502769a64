"""Machines of systemd-nspawn, from what systemd-machined notes in /run/systemd/machines (src/machine/machine.c)."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from whodunnet.attribution.cgroups import machine_of_scope
from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.roots import Roots

_LIMIT_BYTES: Final = 1 << 16
_NSPAWN: Final = "systemd-nspawn"
_MICROSECONDS: Final = 1_000_000


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One registered machine. unit: its scope or service."""

    name: str
    unit: str | None
    service: str | None
    started: datetime | None


class Machines:
    """The registered machines of one node."""

    def __init__(self, roots: Roots) -> None:
        self._directory = roots.run / "systemd/machines"

    def started(self, name: str) -> datetime | None:
        """When a machine of nspawn was registered, None if it is not."""
        machine = self._read(name)
        return machine.started if machine is not None else None

    def of_scope(self, path: str) -> str | None:
        """The machine of nspawn whose scope is just this cgroup (v1, where nspawn makes no cgroups below)."""
        name = machine_of_scope(path)
        machine = self._read(name) if name is not None else None
        return name if machine is not None and machine.unit == Path(path).name else None

    def _read(self, name: str) -> Machine | None:
        path = self._directory / name
        with suppress(UnreadableError):
            machine = parse_machine(read_bytes(path, _LIMIT_BYTES))
            return machine if (machine.name, machine.service) == (name, _NSPAWN) else None
        return None


def parse_machine(data: bytes) -> Machine:
    """A machine's file, an environment file (machine_save); what is missing is None, the name then "". Never raises."""
    lines = (line.partition("=") for line in data.decode(errors="replace").splitlines())
    # Only names of units have characters that are escaped or quoted (cescape, shell_maybe_quote).
    values = {name: value.strip('"').replace("\\\\", "\\") for name, _, value in lines if value}
    return Machine(
        name=values.get("NAME", ""),
        unit=values.get("UNIT") or values.get("SCOPE"),
        service=values.get("SERVICE"),
        started=_moment(values.get("REALTIME", "")),
    )


def _moment(text: str) -> datetime | None:
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(int(text) / _MICROSECONDS, UTC)
    return None
