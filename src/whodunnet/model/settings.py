"""The sample of the settings collector: what each network namespace is set to, as far as a rule compares with it."""

from __future__ import annotations

from typing import Final

import msgspec

from whodunnet.model.bounds import Count, Seconds, Signed

NAMES: Final[tuple[str, ...]] = (
    "net.ipv4.ip_local_port_range", "net.ipv4.tcp_tw_reuse", "net.ipv4.tcp_tw_recycle", "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    "net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter",
    "net.ipv6.conf.all.forwarding", "net.core.somaxconn",
)  # fmt: skip
"""All of one namespace each. Kernels from 4.12 on have no tcp_tw_recycle, those without IPv6 none of it."""

STRICT: Final = 1
LOOSE: Final = 2
"""Of rp_filter: the way back must be by the same device, or by any; 0 is off."""


class DeviceSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """net.ipv4.conf.DEVICE; None where it is as in conf.default (rp_filter), or as ip_forward (forwarding)."""

    rp_filter: Signed | None = None
    forwarding: Signed | None = None


class NamespaceSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One network namespace.

    values: by sysctl name (NAMES), the numbers it holds; what this kernel has not is left out.
    ports_reserved: ports of ip_local_port_range that ip_local_reserved_ports takes out of it.
    devices: all but lo, up to the collector's bound. devices_left_out: beyond it.
    """

    values: dict[str, tuple[Signed, ...]] = {}
    ports_reserved: Count = 0
    devices: dict[str, DeviceSettings] = {}
    devices_left_out: Count = 0

    def number(self, name: str) -> int | None:
        """The last number of a setting, which is the largest of three; None where this kernel has not that."""
        found = self.values.get(name)
        return found[-1] if found else None

    @property
    def ports(self) -> int | None:
        """How many ports a connect may take towards one destination; None where it is not known."""
        found = self.values.get("net.ipv4.ip_local_port_range")
        return None if found is None or len(found) != 2 else max(found[1] - found[0] + 1 - self.ports_reserved, 0)

    def rp_filter(self, device: str) -> int | None:
        """What is in force: the larger of the device's own and conf.all (IN_DEV_RPFILTER)."""
        common = self.number("net.ipv4.conf.all.rp_filter")
        own = self.devices[device].rp_filter
        own = self.number("net.ipv4.conf.default.rp_filter") if own is None else own
        return None if common is None or own is None else max(common, own)


class Settings(msgspec.Struct, frozen=True, tag="settings", kw_only=True, omit_defaults=True):
    """Settings of every reachable network namespace.

    by_netns: by inode number of the namespace. netns_unread: known, but their settings could not be read.
    read_seconds_ago: they change rarely, and are not read for each snapshot.
    """

    by_netns: dict[Count, NamespaceSettings] = {}
    netns_unread: Count = 0
    read_seconds_ago: Seconds = 0.0
