"""Chosen counters of one network namespace from snmp, netstat and snmp6 together (net/ipv4/proc.c, net/ipv6/proc.c).

A node has hundreds of namespaces with four hundred counters each, so that only what is wanted becomes a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import integer, read_bytes
from whodunnet.kernel.roots import Roots

Values = dict[str, int]
Names = Mapping[str, Sequence[str]]
"""Section -> names of its counters, "Udp" -> "RcvbufErrors". What snmp6 calls Udp6InErrors is of section Udp6."""

_MAX = 2**63 - 1


class Chosen:
    """The counters that are wanted, by section; it remembers where a kernel has them in its lines.

    known: those that were met so far, at 0 or not.
    """

    def __init__(self, names: Names) -> None:
        self.known: set[str] = set()
        self._names = {section.encode(): tuple(names[section]) for section in names}
        self._six = {f"{section}{name}".encode(): f"{section}.{name}" for section in names for name in names[section]}
        self.places = lru_cache(maxsize=64)(self._places)
        self._sixes: set[int] = set()

    def of_lines(self, data: bytes, source: str) -> Values:
        """From snmp or netstat: each section is a line of names and a line of values, both beginning with its name.

        Counters at 0 are left out, and what this kernel lacks. Raises MalformedError.
        """
        found: Values = {}
        for header, values in pairwise(data.split(b"\n")):
            section, colon, names = header.partition(b":")
            if not colon or section not in self._names or not values.startswith(section + b":"):
                continue
            found |= self._picked(section, names, values[len(section) + 1 :], source)
        return found

    def of_pairs(self, data: bytes, source: str) -> Values:
        """From snmp6: a line for each counter; as above."""
        words = data.split()
        if len(words) != 2 * data.count(b"\n") or not data.isascii():
            raise MalformedError(f"{source} has something else than names and numbers")
        if len(words) not in self._sixes:  # lines come with the first message of a type
            self._sixes.add(len(words))
            self.known |= {self._six[name] for name in words[::2] if name in self._six}
        return {
            self._six[name]: _number(value, source)
            for name, value in zip(words[::2], words[1::2], strict=True)
            if value != b"0" and name in self._six
        }

    def _picked(self, section: bytes, names: bytes, line: bytes, source: str) -> Values:
        size, places = self.places(section, names)
        values = line.split()
        if len(values) != size:
            raise MalformedError(f"{source}: section {section.decode()} has {size} names and {len(values)} values")
        return {name: _number(values[place], source) for place, name in places if values[place] != b"0"}

    def _places(self, section: bytes, names: bytes) -> tuple[int, tuple[tuple[int, str], ...]]:
        """How many names a line has, and where which of the wanted are: the same in every namespace."""
        there = names.split()
        wanted = {name.encode(): f"{section.decode()}.{name}" for name in self._names[section]}
        found = tuple((place, wanted[name]) for place, name in enumerate(there) if name in wanted)
        self.known |= {name for _, name in found}
        return len(there), found


def _number(value: bytes, source: str) -> int:
    return min(integer(value, source, "a counter"), _MAX) if value[:1] != b"-" else 0


def read_net_counters(roots: Roots, chosen: Chosen, task: str) -> Values:
    """Those of the namespace in which `task` is (a pid, "thread-self"). Raises UnreadableError, MalformedError.

    A kernel without IPv6 has no snmp6. Any process may be read: no ptrace right is asked (fs/proc/proc_net.c).
    """
    found: Values = {}
    for name in ("net/netstat", "net/snmp"):
        path = roots.proc.joinpath(task, name)
        found |= chosen.of_lines(read_bytes(path), str(path))
    path = roots.proc.joinpath(task, "net/snmp6")
    try:
        return found | chosen.of_pairs(read_bytes(path), str(path))
    except MalformedError:
        raise
    except UnreadableError as error:
        if error.code != "missing-file":
            raise
        return found
