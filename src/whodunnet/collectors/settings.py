"""What each network namespace is set to, as far as a rule compares with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import ClassVar, Final

import msgspec

from whodunnet.collectors.namespace_counters import unless_unreadable
from whodunnet.kernel import namespaces
from whodunnet.kernel.namespaces import Visitor, Way
from whodunnet.kernel.procfs.net_settings import (
    read_device_names,
    read_numbers,
    read_of_devices,
    read_reserved_ports,
)
from whodunnet.kernel.roots import Roots
from whodunnet.model.settings import NAMES, DeviceSettings, NamespaceSettings, Settings

NAMESPACES_LIMIT: Final = 4096
DEVICES_LIMIT: Final = 256
"""In one namespace; each has two files."""
EVERY_SECONDS: Final = 30.0


class SettingsCollector:
    """Reads sysctls from inside of every reachable network namespace, every EVERY_SECONDS."""

    name: ClassVar[str] = "settings"

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._newest: tuple[float, Settings] | None = None

    @property
    def newest(self) -> Settings | None:
        """The last reading, for others."""
        return self._newest[1] if self._newest else None

    def collect(self) -> Settings:
        """One reading, or the last one if it is new enough. Raises UnreadableError."""
        now = time.monotonic()
        if self._newest is None or now - self._newest[0] >= EVERY_SECONDS:
            self._newest = now, self._read()
        return msgspec.structs.replace(self._newest[1], read_seconds_ago=round(now - self._newest[0], 3))

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _read(self) -> Settings:
        found, own = namespaces.find(self._roots), namespaces.own(self._roots)
        ways = {own: Way(), **found.ways}
        by_netns: dict[int, NamespaceSettings] = {}
        read = partial(read_here, self._roots)
        with Visitor() as visitor:
            for inum, way in islice(ways.items(), NAMESPACES_LIMIT):
                place = way.mount or self._roots.proc / str(way.pid) / "ns/net"
                visit = read if inum == own else partial(visitor.inside, place, inum, read)
                settings = unless_unreadable(visit)
                if settings is not None:
                    by_netns[inum] = settings
        return Settings(by_netns=by_netns, netns_unread=len(ways) - len(by_netns) + found.unidentified)


def read_here(roots: Roots) -> NamespaceSettings:
    """Those of the namespace that the calling thread is in. Raises UnreadableError."""
    values = {name: numbers for name in NAMES if (numbers := read_numbers(roots, name)) is not None}
    names = read_device_names(roots)
    reserved = unless_unreadable(partial(read_reserved_ports, roots)) or ()
    return NamespaceSettings(
        values=values,
        ports_reserved=_within(reserved, values.get("net.ipv4.ip_local_port_range", ())),
        devices=_devices(roots, names[:DEVICES_LIMIT], values),
        devices_left_out=max(len(names) - DEVICES_LIMIT, 0),
    )


def _devices(roots: Roots, names: Sequence[str], values: dict[str, tuple[int, ...]]) -> dict[str, DeviceSettings]:
    """What of each is not as usual."""
    usual = values.get("net.ipv4.conf.default.rp_filter", (0,))[-1], values.get("net.ipv4.ip_forward", (0,))[-1]
    filters, forwards = (read_of_devices(roots, names, name) for name in ("rp_filter", "forwarding"))
    found = {}
    for name in filters.keys() & forwards.keys():
        own = (filters[name], forwards[name])
        rp_filter, forwarding = (mine if mine != theirs else None for mine, theirs in zip(own, usual, strict=True))
        found[name] = DeviceSettings(rp_filter=rp_filter, forwarding=forwarding)
    return dict(sorted(found.items()))


def _within(reserved: Sequence[tuple[int, int]], ports: tuple[int, ...]) -> int:
    """How many ports of the range are reserved."""
    if len(ports) != 2:
        return 0
    first, last = ports
    return sum(max(min(end, last) - max(begin, first) + 1, 0) for begin, end in reserved)
