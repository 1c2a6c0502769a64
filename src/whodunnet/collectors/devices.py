"""A provider's own limits on this machine, as the drivers of its network devices count them."""

from __future__ import annotations

import socket
from collections.abc import Collection
from itertools import islice
from typing import ClassVar

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.ethtool import Ethtool
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.bounds import INT64_MAX
from whodunnet.model.devices import Device, Devices

DRIVERS = frozenset({"ena"})
"""Only these are asked for statistics: elsewhere firmware may take its time, with the lock of all devices held."""
ALLOWANCES = (
    "bw_in_allowance_exceeded",
    "bw_out_allowance_exceeded",
    "pps_allowance_exceeded",
    "conntrack_allowance_exceeded",
    "linklocal_allowance_exceeded",
    "conntrack_allowance_available",
)
"""As drivers/net/ethernet/amazon/ena/ena_ethtool.c calls them; an older driver or machine lacks some."""
DEVICES_LIMIT = 4096


class DevicesCollector:
    """Asks the devices of our network namespace, or in a container of the host's."""

    name: ClassVar[str] = "devices"

    def __init__(self, roots: Roots, support: Support, drivers: Collection[str] = DRIVERS) -> None:
        """drivers: whose statistics are read; other than DRIVERS in tests only."""
        self._roots = roots
        self._support = support
        self._wanted = drivers
        self._drivers: dict[tuple[int, str], str | None] = {}

    def collect(self) -> Devices:
        """One reading. Raises UnreadableError."""
        place = namespaces.elsewhere(self._roots)
        return self._read() if place is None else namespaces.inside(place, None, self._read)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _read(self) -> Devices:
        """The namespace that the calling thread is in. What a device is driven by is asked once in its life."""
        every = _every()
        found: dict[str, Device] = {}
        unread = others = 0
        before, self._drivers = self._drivers, {}
        with Ethtool() as ethtool:
            for index, name in islice(every, DEVICES_LIMIT):
                try:
                    driver = before[index, name] if (index, name) in before else ethtool.driver(name)
                    self._drivers[index, name] = driver
                    if driver is not None and driver in self._wanted:
                        found[name] = Device(driver=driver, allowances=allowances(ethtool.statistics(name)))
                    else:
                        others += 1
                except MalformedError:
                    raise
                except UnreadableError:
                    unread += 1
        left_out = max(len(every) - DEVICES_LIMIT, 0)
        return Devices(by_name=found, others=others, unread=unread, left_out=left_out)


def allowances(statistics: dict[str, int]) -> dict[str, int]:
    """Those of a driver's statistics that are about a provider's limits."""
    return {name: min(statistics[name], INT64_MAX) for name in ALLOWANCES if name in statistics}


def _every() -> list[tuple[int, str]]:
    try:
        return socket.if_nameindex()
    except OSError as error:
        raise UnreadableError(f"the network devices cannot be listed: {error.strerror}") from error
