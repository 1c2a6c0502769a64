"""Neighbours of one network namespace, counted by device and state (RTM_GETNEIGH, rtnetlink(7); net/core/neighbour.c).

Needs no right inside of the namespace.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Final, NamedTuple

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.route import RouteSocket, picked

RTM_GETNEIGH = 30
STATES: Final = {
    0x01: "incomplete", 0x02: "reachable", 0x04: "stale", 0x08: "delay", 0x10: "probe", 0x20: "failed",
    0x40: "noarp", 0x80: "permanent", 0x00: "none",
}  # fmt: skip
"""NUD_* of uapi linux/neighbour.h."""
_PERMANENT, _LEARNED = 0x80, 0x10  # NUD_PERMANENT, NTF_EXT_LEARNED
UNANSWERED: Final = frozenset({"incomplete", "failed"})
_ADDRESS = frozenset({1})  # NDA_DST
_NDMSG = struct.Struct("=BxxxiHBB")  # family, device, state, flags, type


class Neighbour(NamedTuple):
    """One entry. exempt: it does not count against the thresholds (neigh_update_gc_list; since Linux 5.0)."""

    device: int
    state: str
    exempt: bool


class Counted(NamedTuple):
    """How many there are of each device and state.

    asked: addresses without an answer, by device. cut: there are more.
    """

    entries: Counter[Neighbour]
    asked: dict[int, list[bytes]]
    cut: bool


class NeighbourSocket(RouteSocket):
    """A socket for rtnetlink in the network namespace the calling thread is in."""

    def count(self, family: int, at_most: int) -> Counted:
        """What there is, read no further than so many. family: AF_INET or AF_INET6. Raises UnreadableError."""
        found, asked = Counter[Neighbour](), dict[int, list[bytes]]()
        for position, body in enumerate(self.dump(RTM_GETNEIGH, _NDMSG.pack(family, 0, 0, 0, 0))):
            if position >= at_most:
                return Counted(found, asked, cut=True)
            entry = decode_neighbour(body)
            found[entry] += 1
            if entry.state in UNANSWERED:
                asked.setdefault(entry.device, []).append(decode_address(body))
        return Counted(found, asked, cut=False)


def decode_neighbour(message: bytes | memoryview) -> Neighbour:
    """One answer to RTM_GETNEIGH, after struct nlmsghdr, without its address. Raises MalformedError."""
    if len(message) < _NDMSG.size:
        raise MalformedError(f"rtnetlink: a neighbour message has {len(message)} bytes")
    _, device, state, flags, _ = _NDMSG.unpack_from(message)
    return Neighbour(device, STATES.get(state, "other"), bool(state & _PERMANENT or flags & _LEARNED))


def decode_address(message: bytes | memoryview) -> bytes:
    """The address in one such answer: 4 or 16 bytes. Raises MalformedError."""
    address = bytes(picked(message, _NDMSG.size, _ADDRESS).get(1, b""))
    if len(address) not in (4, 16):
        raise MalformedError(f"rtnetlink: the address of a neighbour has {len(address)} bytes")
    return address
