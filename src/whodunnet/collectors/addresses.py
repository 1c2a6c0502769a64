"""The addresses collector: which address is in which network namespace, of all that can be entered.

Needs CAP_SYS_ADMIN for other namespaces than our own, and CAP_SYS_PTRACE to find those of other users' processes.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import ClassVar

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.namespaces import Visitor, Way
from whodunnet.kernel.netlink.route import InterfaceAddress, Link, RouteSocket
from whodunnet.kernel.roots import Roots
from whodunnet.model.addresses import Addresses, DeviceAddress

NAMESPACES_LIMIT = 4096
ADDRESSES_PER_NETNS = 16_384
ADDRESSES_LIMIT = 65_536

_LOOPBACK_6 = bytes(15) + b"\1"


class AddressesCollector:
    """Asks every reachable network namespace for its addresses, from inside of it."""

    name: ClassVar[str] = "addresses"

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    def collect(self) -> Addresses:
        """One reading. Raises UnreadableError if the list of processes cannot be read."""
        found = namespaces.find(self._roots)
        own = namespaces.own(self._roots)
        ways = {own: Way(), **found.ways}
        by_netns: dict[int, tuple[DeviceAddress, ...]] = {}
        unread, left_out, room = found.unidentified + max(0, len(ways) - NAMESPACES_LIMIT), 0, ADDRESSES_LIMIT
        with Visitor() as visitor:
            for inum, way in islice(ways.items(), NAMESPACES_LIMIT):
                try:
                    addresses, cut = read_here(room) if inum == own else self._read(visitor, inum, way, room)
                except MalformedError:
                    raise
                except UnreadableError:
                    unread += 1
                    continue
                left_out += cut
                room -= len(addresses)
                if addresses:
                    by_netns[inum] = addresses
        return Addresses(by_netns=by_netns, netns_unread=unread, left_out=left_out)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _read(self, visitor: Visitor, inum: int, way: Way, room: int) -> tuple[tuple[DeviceAddress, ...], int]:
        """Addresses of one namespace, by its process, else by its mount. Raises UnreadableError."""
        places = [self._roots.proc / str(way.pid) / "ns/net"] if way.pid is not None else []
        places += [way.mount] if way.mount is not None else []
        for place in places[:-1]:
            try:
                return visitor.inside(place, inum, partial(read_here, room))
            except MalformedError:
                raise
            except UnreadableError:
                continue
        return visitor.inside(places[-1], inum, partial(read_here, room))


def read_here(room: int) -> tuple[tuple[DeviceAddress, ...], int]:
    """Addresses of the namespace the calling thread is in, and how many more there are at least.

    room: how many may be kept. Raises UnreadableError, MalformedError.
    """
    at_most = min(room, ADDRESSES_PER_NETNS)
    with RouteSocket() as netlink:
        found = netlink.addresses(ADDRESSES_PER_NETNS)
    kept = [address for address in found if not _is_everywhere(address.packed)]
    left_out = max(0, len(kept) - at_most, len(found) - ADDRESSES_PER_NETNS)
    links = _links() if kept[:at_most] else {}
    return tuple(_device_address(address, links) for address in kept[:at_most]), left_out


def _links() -> dict[int, Link]:
    """By a socket of its own: that of a dump which was not read to its end takes no other request."""
    with RouteSocket() as netlink:
        return netlink.links(ADDRESSES_PER_NETNS)


def _is_everywhere(packed: bytes) -> bool:
    """Whether it is loopback, or IPv6 link-local: those say nothing of who has them."""
    if len(packed) == 4:
        return packed[0] == 127
    return packed == _LOOPBACK_6 or (packed[0] == 0xFE and packed[1] & 0xC0 == 0x80)


def _device_address(address: InterfaceAddress, links: Mapping[int, Link]) -> DeviceAddress:
    link = links.get(address.device) or Link(address.device, f"if{address.device}", None, up=True)  # gone since
    family = socket.AF_INET if len(address.packed) == 4 else socket.AF_INET6
    return DeviceAddress(
        address=socket.inet_ntop(family, address.packed),
        prefix_length=address.prefix_length,
        device=link.name,
        kind=link.kind,
        up=link.up,
    )
