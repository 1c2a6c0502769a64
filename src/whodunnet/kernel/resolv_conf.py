"""/etc/resolv.conf as a process sees it (resolv.conf(5); glibc resolv/res_init.c, musl src/network/resolvconf.c).

It is a text of whoever made the container, and may be anything: a pipe, a link out of it, megabytes.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.files import unreadable
from whodunnet.kernel.roots import Roots
from whodunnet.model.text import clean

FILE_BYTES_MAX: Final = 65_536
SERVERS_MAX: Final = 3
"""MAXNS: no C library asks more."""
SEARCH_MAX: Final = 32
"""What Kubernetes allows; musl and glibc before 2.26 take 6 or 256 characters."""
NAME_MAX: Final = 255
_OPTIONS: Final = {"ndots": 15, "timeout": 30, "attempts": 5}
"""RES_MAXNDOTS, RES_MAXRETRANS, RES_MAXRETRY: what is more counts as these."""
_DEFAULTS: Final = {"ndots": 1, "timeout": 5, "attempts": 2}


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says; fields as in model.resolvers.ResolvConf."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout_seconds: int = 5
    attempts: int = 2
    left_out: int = 0


def parse_resolv_conf(data: bytes) -> Parsed:
    """Lines that are not understood are passed over, as a resolver does."""
    servers: list[str] = []
    search: list[str] = []
    options = dict(_DEFAULTS)
    left_out = 0
    for line in data[:FILE_BYTES_MAX].decode(errors="replace").splitlines():
        if line[:1].isspace():
            continue
        word, *words = line.split() or [""]
        if word == "nameserver" and words:
            address = canonical(words[0])
            if address is None or len(servers) >= SERVERS_MAX:
                left_out += 1
            else:
                servers.append(address)
        elif word in ("search", "domain"):
            search = words  # the last one counts
        elif word == "options":
            options |= _options(words)
    kept = [clean(name, NAME_MAX) for name in search[:SEARCH_MAX] if name != "."]
    return Parsed(
        servers=tuple(servers),
        search=tuple(kept),
        ndots=options["ndots"],
        timeout_seconds=options["timeout"],
        attempts=options["attempts"],
        left_out=left_out + max(len(search) - SEARCH_MAX, 0),
    )


def canonical(text: str) -> str | None:
    """An address as the kernel's tables have it: no scope, IPv4 if it is mapped; None if it is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def read_resolv_conf(roots: Roots, pid: int) -> Parsed:
    """That of one process. Raises UnreadableError.

    Links are followed as that process would, and nothing is opened that could make us wait or is no file.
    """
    path = _place(roots, pid)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnreadableError(f"{path} is no regular file")
            return parse_resolv_conf(os.read(descriptor, FILE_BYTES_MAX))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unreadable(path, error, "CAP_SYS_PTRACE") from error


def _place(roots: Roots, pid: int) -> str:
    """The file itself, links followed; where there are none, as in most containers, without looking at each part."""
    top = f"{roots.proc}/{pid}/root"
    place = f"{top}/etc/resolv.conf"
    try:
        if stat.S_ISDIR(os.lstat(f"{top}/etc").st_mode) and not stat.S_ISLNK(os.lstat(place).st_mode):
            return place
    except OSError:
        return place
    return str(Roots.below(Path(top)).resolve(Path(place)))


def _options(words: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        name, _, number = word.partition(":")
        if name in _OPTIONS and number.isascii() and number.isdigit() and len(number) < 10:
            found[name] = min(int(number), _OPTIONS[name])
    return found
