"""The sample of the devices collector: what a provider's network driver counts about the provider's own limits."""

from __future__ import annotations

import msgspec

from whodunnet.model.bounds import Count


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One network device whose driver may count limits.

    allowances: by the driver's own name, since the device was last reset. "..._allowance_exceeded": packets that were
        over a limit ("conntrack_", "linklocal_": dropped; "pps_", "bw_in_", "bw_out_": queued or dropped).
        "conntrack_allowance_available": connections that may still be tracked. Empty where the driver counts none.
    """

    driver: str
    allowances: dict[str, Count] = {}


class Devices(msgspec.Struct, frozen=True, tag="devices", kw_only=True, omit_defaults=True):
    """Devices of one network namespace, the host's, by name; only those of drivers that are known to count limits.

    others: devices of other drivers, or of none, whose statistics are not read. unread: known drivers that did not
    answer. left_out: devices beyond the collector's bound.
    """

    by_name: dict[str, Device] = {}
    others: Count = 0
    unread: Count = 0
    left_out: Count = 0
