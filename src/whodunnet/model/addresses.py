"""The sample of the addresses collector: which address is in which network namespace."""

from __future__ import annotations

import msgspec

from whodunnet.model.bounds import Count

IPVS_KIND = "dummy"
IPVS_DEVICE = "kube-ipvs0"


class DeviceAddress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One address of one device (rtnetlink(7): RTM_GETADDR with the link it is on).

    address: without scope; never of 127.0.0.0/8 or ::1, which every namespace has.
    kind: of the device, as ip-link(8) names it ("veth", "bridge", "dummy"); None for hardware and for lo.
    """

    address: str
    prefix_length: Count
    device: str
    kind: str | None = None
    up: bool = True

    @property
    def of_service(self) -> bool:
        """A Service's address, which kube-proxy in IPVS mode puts on a device of the node: nobody there has it."""
        return self.kind == IPVS_KIND and self.device == IPVS_DEVICE


class Addresses(msgspec.Struct, frozen=True, tag="addresses", kw_only=True, omit_defaults=True):
    """Addresses by inode number of the network namespace.

    netns_unread: known namespaces whose addresses could not be read. left_out: addresses beyond the collector's bound.
    """

    by_netns: dict[Count, tuple[DeviceAddress, ...]] = {}
    netns_unread: Count = 0
    left_out: Count = 0

    def namespaces(self) -> dict[str, tuple[int, ...]]:
        """Inode numbers of the namespaces that have an address, by address; without those of Services."""
        found: dict[str, dict[int, None]] = {}
        for netns, addresses in self.by_netns.items():
            for a in addresses:
                if not a.of_service:
                    found.setdefault(a.address, {})[netns] = None
        return {address: tuple(inodes) for address, inodes in found.items()}
