"""Driver of a network device and its statistics, by the ethtool ioctls (uapi linux/ethtool.h, net/ethtool/ioctl.c).

All of it is of the network namespace that the calling thread was in when the socket was made. Any user may ask.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from array import array
from typing import Final, Literal, NamedTuple, Self

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import shown

STRINGS_MAX = 4096
"""Statistics that a device may have; ena has 20 and eleven more for each queue."""

_SIOCETHTOOL: Final = 0x8946
_GDRVINFO: Final = 0x03
_GSTRINGS: Final = 0x1B
_GSTATS: Final = 0x1D
_GSSET_INFO: Final = 0x37
_GLINKSETTINGS: Final = 0x4C
_SS_STATS: Final = 1
_NAME_BYTES: Final = 16  # IFNAMSIZ
_STRING_BYTES: Final = 32  # ETH_GSTRING_LEN
_DRVINFO_BYTES: Final = 196  # struct ethtool_drvinfo
_IFREQ: Final = struct.Struct("@16sP16x")
_SSET_INFO: Final = struct.Struct("=IIQI")
_STRINGS: Final = struct.Struct("=III")
_STATS: Final = struct.Struct("=II")
_LINE: Final = struct.Struct("=IIBBBBBBBbBBBB28x")  # struct ethtool_link_settings, without its masks
_MASKS_MAX: Final = 127
_UNKNOWN_SPEED: Final = 0xFFFFFFFF  # SPEED_UNKNOWN
_DUPLEX: Final[dict[int, Literal["half", "full"]]] = {0: "half", 1: "full"}
_NOT_OFFERED: Final = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL)


class Line(NamedTuple):
    """What a device agreed on with the other end of its cable; None where it does not know."""

    speed_mbps: int | None
    duplex: Literal["half", "full"] | None


class Ethtool:
    """A socket to ask by; use it in a `with` block."""

    def __init__(self) -> None:
        """Raises UnreadableError."""
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        except OSError as error:
            raise UnreadableError(f"no socket to ask network devices by: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def driver(self, device: str) -> str | None:
        """Name of the driver, None where the device has none (lo). Raises UnreadableError."""
        data = struct.pack("=I", _GDRVINFO).ljust(_DRVINFO_BYTES, b"\0")
        answer = self._ask(device, data)
        return None if answer is None else parse_name(answer[4 : 4 + _STRING_BYTES], device)

    def statistics(self, device: str) -> dict[str, int]:
        """The driver's own counters by their own names. Raises UnreadableError.

        The kernel writes as many as there are, whatever room it was told: there is room for twice the most.
        """
        number = self._number(device)
        if number == 0:
            return {}
        room = 2 * STRINGS_MAX
        names = self._ask(device, _STRINGS.pack(_GSTRINGS, _SS_STATS, number) + bytes(room * _STRING_BYTES))
        values = self._ask(device, _STATS.pack(_GSTATS, number) + bytes(room * 8))
        if names is None or values is None:
            return {}
        return parse_statistics(names, values, number, device)

    def line(self, device: str) -> Line | None:
        """Speed and duplex; None where a device has none. Raises UnreadableError."""
        room = bytes(_LINE.size + 3 * _MASKS_MAX * 4)
        # The kernel answers a request with a wrong number of mask words by the right one, below 0.
        asked = self._ask(device, struct.pack("=I", _GLINKSETTINGS) + room[4:])
        if asked is None:
            return None
        words = -_LINE.unpack_from(asked)[9]
        if not 0 < words <= _MASKS_MAX:
            raise MalformedError(f"{shown(os.fsencode(device))} says its modes have {words} words")
        request = _LINE.pack(_GLINKSETTINGS, 0, 0, 0, 0, 0, 0, 0, 0, words, 0, 0, 0, 0)
        answer = self._ask(device, request + room[_LINE.size :])
        return None if answer is None else parse_line(answer)

    def _number(self, device: str) -> int:
        answer = self._ask(device, _SSET_INFO.pack(_GSSET_INFO, 0, 1 << _SS_STATS, 0))
        if answer is None:
            return 0
        _, _, mask, number = _SSET_INFO.unpack(answer)
        if not mask & 1 << _SS_STATS:
            return 0
        if number > STRINGS_MAX:
            raise MalformedError(f"{shown(os.fsencode(device))} says it has {number} statistics, over {STRINGS_MAX}")
        return int(number)

    def _ask(self, device: str, request: bytes) -> bytes | None:
        """The kernel's answer in place of the request, None if the device does not offer it. Raises UnreadableError."""
        name = os.fsencode(device)
        if not 0 < len(name) < _NAME_BYTES:
            raise MalformedError(f"a network device cannot be called {shown(name)}")
        data = array("B", request)
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, _IFREQ.pack(name, data.buffer_info()[0]))
        except OSError as error:
            if error.errno in _NOT_OFFERED:
                return None
            if error.errno == errno.ENODEV:
                raise UnreadableError(f"network device {shown(name)} is gone", "vanished") from error
            raise UnreadableError(f"network device {shown(name)} does not answer: {error.strerror}") from error
        return data.tobytes()


def parse_statistics(names: bytes, values: bytes, number: int, device: str) -> dict[str, int]:
    """struct ethtool_gstrings and struct ethtool_stats, of `number` each; of equal names the last one's value.

    Raises MalformedError naming the device.
    """
    what = shown(os.fsencode(device))
    if len(names) < _STRINGS.size or len(values) < _STATS.size:
        raise MalformedError(f"statistics of {what}: the answer is shorter than its header")
    named, valued = _STRINGS.unpack_from(names)[2], _STATS.unpack_from(values)[1]
    if (named, valued) != (number, number):
        raise MalformedError(f"statistics of {what}: {number} announced, {named} names and {valued} values came")
    if len(names) < _STRINGS.size + number * _STRING_BYTES or len(values) < _STATS.size + number * 8:
        raise MalformedError(f"statistics of {what}: the answer is shorter than {number} of them")
    found = struct.unpack_from(f"={number}Q", values, _STATS.size)
    places = range(_STRINGS.size, _STRINGS.size + number * _STRING_BYTES, _STRING_BYTES)
    return {parse_name(names[at : at + _STRING_BYTES], device): value for at, value in zip(places, found, strict=True)}


def parse_line(answer: bytes) -> Line:
    """struct ethtool_link_settings. Raises MalformedError."""
    if len(answer) < _LINE.size:
        raise MalformedError(f"link settings of a network device have {len(answer)} bytes")
    _, speed, duplex, *_ = _LINE.unpack_from(answer)
    return Line(None if speed in (0, _UNKNOWN_SPEED) else speed, _DUPLEX.get(duplex))


def parse_name(field: bytes, device: str) -> str:
    """A fixed field with a name in ASCII, ended by a zero if it is shorter. Raises MalformedError naming the device."""
    name = field.partition(b"\0")[0]
    if not name.isascii():
        raise MalformedError(f"{shown(os.fsencode(device))}: a name in its driver's answer is {shown(name)}")
    return name.decode("ascii")
