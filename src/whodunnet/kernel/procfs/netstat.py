"""/proc/<task>/net/netstat and snmp: counters of one network namespace (net/ipv4/proc.c, mptcp/mib.c)."""

from __future__ import annotations

import re
from collections.abc import Container
from functools import lru_cache

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.roots import Roots

Section = dict[str, int]
_NUMBERS = re.compile(rb"[0-9 -]*")


def parse_netstat(data: bytes, source: str, section: str = "TcpExt", only: Container[str] | None = None) -> Section:
    """Counters of one section ("TcpExt", "IpExt", "MPTcpExt", of snmp "Tcp") by name, since the namespace was made.

    A section is a line of names and a line of values, both beginning with its name. only: the counters to keep; those
    that this kernel lacks are left out. Raises MalformedError naming source and section.
    """
    start = section.encode() + b":"
    lines = [line[len(start) :] for line in data.split(b"\n") if line.startswith(start)]
    if len(lines) != 2:
        raise MalformedError(f"{source}: section {section} has {len(lines)} lines instead of names and values")
    # Checked as a whole: a node has hundreds of namespaces with 130 counters each.
    if not lines[0].isascii() or _NUMBERS.fullmatch(lines[1]) is None:
        raise MalformedError(f"{source}: section {section} has something else than names and numbers")
    names, values = _names(lines[0]), lines[1].split()
    if len(names) != len(values):
        raise MalformedError(f"{source}: section {section} has {len(names)} names and {len(values)} values")
    try:
        return {n: int(v) for n, v in zip(names, values, strict=True) if only is None or n in only}
    except ValueError as error:
        raise MalformedError(f"{source}: section {section}: {error}") from error


def read_netstat(
    roots: Roots, task: str = "self", section: str = "TcpExt", only: Container[str] | None = None
) -> Section:
    """Read one section for the network namespace of `task` (a pid, "self", "thread-self"). Raises UnreadableError.

    A process of somebody else may be read: the kernel asks for no ptrace right here (fs/proc/proc_net.c).
    """
    path = roots.proc.joinpath(task, "net/netstat")
    return parse_netstat(read_bytes(path), str(path), section, only)


def read_snmp(roots: Roots, task: str = "self", section: str = "Tcp", only: Container[str] | None = None) -> Section:
    """As read_netstat, from the file with the older counters."""
    path = roots.proc.joinpath(task, "net/snmp")
    return parse_netstat(read_bytes(path), str(path), section, only)


@lru_cache(maxsize=8)
def _names(line: bytes) -> tuple[str, ...]:
    """The names, which are the same in every namespace."""
    return tuple(line.decode().split())
