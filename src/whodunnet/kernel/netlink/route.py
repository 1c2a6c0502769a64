"""Devices and addresses of one network namespace through NETLINK_ROUTE (rtnetlink(7)). Needs no right inside of it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.socket import NetlinkSocket
from whodunnet.model.text import clean

NETLINK_ROUTE = 0
RTM_GETLINK = 18
RTM_GETADDR = 22
ATTEMPTS = 2

_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")
_MASK = struct.Struct("=I")
_TYPE_MASK = 0x3FFF  # NLA__TYPE_MASK
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_EXT_MASK, _IFLA_INFO_KIND = 3, 18, 29, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFF_UP = 1
_SKIP_STATISTICS = 8  # RTEXT_FILTER_SKIP_STATS
_SIZES = {socket.AF_INET: 4, socket.AF_INET6: 16}

_LINKS = (
    _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + _ATTRIBUTE.pack(8, _IFLA_EXT_MASK) + _MASK.pack(_SKIP_STATISTICS)
)
_ADDRESSES = _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)


class Link(NamedTuple):
    """A device. number: its index. name, kind: cleaned. kind: as ip-link(8) names it, None for hardware and for lo."""

    number: int
    name: str
    kind: str | None
    up: bool


class InterfaceAddress(NamedTuple):
    """An address of the device of that number. packed: 4 or 16 bytes."""

    device: int
    packed: bytes
    prefix_length: int


class RouteSocket(NetlinkSocket):
    """A socket for rtnetlink in the network namespace the calling thread is in."""

    def __init__(self) -> None:
        """Raises UnreadableError if the kernel gives no such socket."""
        super().__init__(NETLINK_ROUTE)

    def links(self, at_most: int) -> dict[int, Link]:
        """Devices by number, read no further than so many. Raises UnreadableError, MalformedError."""
        found: dict[int, Link] = {}
        for body in self.dump(RTM_GETLINK, _LINKS):
            link = decode_link(body)
            found[link.number] = link
            if len(found) >= at_most:
                break
        return found

    def addresses(self, at_most: int) -> list[InterfaceAddress]:
        """Addresses of IPv4 and IPv6, at most one more than so many; once again if they changed meanwhile.

        Raises UnreadableError, MalformedError.
        """
        for _ in range(ATTEMPTS):
            before = self.interrupted
            found: dict[InterfaceAddress, None] = {}
            for body in self.dump(RTM_GETADDR, _ADDRESSES):
                address = decode_address(body)
                if address is not None:
                    found[address] = None
                if len(found) > at_most:
                    return list(found)
            if self.interrupted == before:
                break
        return list(found)


def decode_link(message: bytes | memoryview) -> Link:
    """One answer to RTM_GETLINK, after struct nlmsghdr. Raises MalformedError."""
    if len(message) < _IFINFOMSG.size:
        raise MalformedError(f"rtnetlink: a link message has {len(message)} bytes")
    _, _, index, flags, _ = _IFINFOMSG.unpack_from(message)
    name, kind = "", None
    for number, value in attributes(message, _IFINFOMSG.size):
        if number == _IFLA_IFNAME:
            name = name_of(value)
        elif number == _IFLA_LINKINFO:
            kind = next((name_of(inner) for n, inner in attributes(value, 0) if n == _IFLA_INFO_KIND), None)
    return Link(index, name, kind, bool(flags & _IFF_UP))


def decode_address(message: bytes | memoryview) -> InterfaceAddress | None:
    """One answer to RTM_GETADDR, after struct nlmsghdr; None for another family than IP's. Raises MalformedError."""
    if len(message) < _IFADDRMSG.size:
        raise MalformedError(f"rtnetlink: an address message has {len(message)} bytes")
    family, prefix_length, _, _, index = _IFADDRMSG.unpack_from(message)
    size = _SIZES.get(family)
    if size is None:
        return None
    values = {n: bytes(value) for n, value in attributes(message, _IFADDRMSG.size) if n in (_IFA_ADDRESS, _IFA_LOCAL)}
    # IFA_ADDRESS is the other end where there is a pair (inet_fill_ifaddr, inet6_fill_ifaddr).
    packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS) or b""
    if len(packed) != size:
        raise MalformedError(f"rtnetlink: an address of family {family} has {len(packed)} bytes")
    return InterfaceAddress(index, packed, prefix_length)


def attributes(message: bytes | memoryview, offset: int) -> Iterator[tuple[int, memoryview]]:
    """Number and value of each attribute from an offset on; views of the message. Raises MalformedError."""
    view, end = memoryview(message), len(message)
    while offset < end:
        length, kind = _ATTRIBUTE.unpack_from(view, offset) if end - offset >= _ATTRIBUTE.size else (0, 0)
        if not _ATTRIBUTE.size <= length <= end - offset:
            raise MalformedError(f"rtnetlink: attribute at {offset} says {length} bytes, {end - offset} are there")
        yield kind & _TYPE_MASK, view[offset + _ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3


def picked(message: bytes | memoryview, offset: int, wanted: frozenset[int]) -> dict[int, memoryview]:
    """The values of some attributes, the last of each number: a fifth of the time of going through all of them.

    Raises MalformedError.
    """
    view, end, found = memoryview(message), len(message), {}
    unpack = _ATTRIBUTE.unpack_from
    while offset < end:
        length, kind = unpack(view, offset) if end - offset >= 4 else (0, 0)
        if not 4 <= length <= end - offset:
            raise MalformedError(f"rtnetlink: attribute at {offset} says {length} bytes, {end - offset} are there")
        number = kind & _TYPE_MASK
        if number in wanted:
            found[number] = view[offset + 4 : offset + length]
        offset += length + 3 & ~3
    return found


def name_of(value: memoryview) -> str:
    """A name, which ends with a zero byte and may hold any other one."""
    return clean(bytes(value).partition(b"\0")[0].decode(errors="replace"))
