"""Settings of a network namespace below /proc/sys/net (Documentation/networking/ip-sysctl.rst, admin-guide/sysctl).

The files are those of the network namespace that the calling thread is in (net_ctl_header_lookup, net/sysctl_net.c).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import read_bytes, shown, unreadable
from whodunnet.kernel.roots import Roots

_NUMBERS = re.compile(rb"\s*-?[0-9]{1,20}(?:\s+-?[0-9]{1,20}){0,7}\s*")
_RANGES = re.compile(rb"[0-9]{1,5}(?:-[0-9]{1,5})?(?:,[0-9]{1,5}(?:-[0-9]{1,5})?)*")
_OF_NO_DEVICE = frozenset({"all", "default", "lo"})
_MAX = 2**63 - 1
_AT_MOST_BYTES = 256


def parse_numbers(data: bytes, source: str) -> tuple[int, ...]:
    """Parse a sysctl of one number or a few. Raises MalformedError naming source."""
    if _NUMBERS.fullmatch(data) is None:
        raise MalformedError(f"{source}: should be numbers and is {shown(data)}")
    return tuple(max(min(int(word), _MAX), -_MAX) for word in data.split())


def parse_ports(data: bytes, source: str) -> tuple[tuple[int, int], ...]:
    """Parse a list of ports as "80,8000-8100", first and last of each. Raises MalformedError naming source."""
    words = data.strip()
    if not words:
        return ()
    if _RANGES.fullmatch(words) is None:
        raise MalformedError(f"{source}: should be ports and is {shown(data)}")
    ends = [word.split(b"-") for word in words.split(b",")]
    return tuple((int(end[0]), int(end[-1])) for end in ends)


def read_numbers(roots: Roots, name: str) -> tuple[int, ...] | None:
    """The sysctl `name` ("net.core.somaxconn"), None if this kernel has it not. Raises UnreadableError."""
    return _numbers(f"{roots.proc}/sys/{name.replace('.', '/')}")


def read_reserved_ports(roots: Roots) -> tuple[tuple[int, int], ...]:
    """ip_local_reserved_ports: first and last of each range, in order. Raises UnreadableError."""
    path = roots.proc / "sys/net/ipv4/ip_local_reserved_ports"
    return parse_ports(read_bytes(path), str(path))


def read_device_names(roots: Roots) -> list[str]:
    """Devices with settings of IPv4, without lo. Raises UnreadableError."""
    path = roots.proc / "sys/net/ipv4/conf"
    try:
        return sorted(set(os.listdir(path)) - _OF_NO_DEVICE)  # noqa: PTH208 - names, not paths
    except OSError as error:
        raise unreadable(str(path), error) from error


def read_of_devices(roots: Roots, names: Iterable[str], setting: str) -> dict[str, int]:
    """One setting of net.ipv4.conf for each of these devices; one that went meanwhile is left out."""
    found: dict[str, int] = {}
    for name in names:
        # Not by its sysctl name: a device may be called eth0.100.
        numbers = _numbers(f"{roots.proc}/sys/net/ipv4/conf/{name}/{setting}")
        if numbers is not None:
            found[name] = numbers[-1]
    return found


def _numbers(path: str) -> tuple[int, ...] | None:
    """In one read, which is all of it: there are dozens of files for each of hundreds of namespaces."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, _AT_MOST_BYTES)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    return parse_numbers(data, path)
