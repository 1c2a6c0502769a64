"""/proc/kallsyms: which function of the kernel an address is in (kernel/kallsyms.c)."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.roots import Roots
from whodunnet.model.text import clean

_LIMIT_BYTES = 64 << 20  # a kernel with all its modules has some 20 MB
_FARTHEST_BYTES = 1 << 20  # no function is that long: what is farther from any symbol is in none
_NAME_LIMIT = 128
_LINE = re.compile(rb"^([0-9a-f]{1,16}) [tTwW] (\S+)(?:[ \t]+\[(\S+)\])?[ \t]*$", re.MULTILINE)


class Symbols:
    """Names of functions by address."""

    def __init__(self, addresses: array[int], names: list[bytes]) -> None:
        """addresses: in rising order, with the name of each."""
        self._addresses, self._names = addresses, names

    def __len__(self) -> int:
        return len(self._names)

    def name(self, address: int) -> str | None:
        """The function that the address is in, with its module if it is of one; None if it is in none."""
        at = bisect_right(self._addresses, address) - 1
        if at < 0 or address - self._addresses[at] > _FARTHEST_BYTES:
            return None
        return clean(self._names[at].decode(errors="replace"), _NAME_LIMIT)

    def spans(self, address: int) -> bool:
        """Whether there are symbols on both sides."""
        return bool(self._names) and self._addresses[0] <= address <= self._addresses[-1]


def read_symbols(roots: Roots) -> Symbols:
    """Of the running kernel. Raises UnreadableError where it hides them."""
    path = roots.proc / "kallsyms"
    return parse_symbols(read_bytes(path, _LIMIT_BYTES), str(path))


def parse_symbols(data: bytes, source: str) -> Symbols:
    """Parse /proc/kallsyms. Raises MalformedError, UnreadableError where all addresses are 0 (kallsyms_show_value)."""
    found: dict[int, bytes] = {}
    for address, name, module in _LINE.findall(data):
        found.setdefault(int(address, 16), b"%s [%s]" % (name, module) if module else name)
    if not found:
        raise MalformedError(f"{source}: no line is a function")
    if len(found) == 1 and 0 in found:
        raise UnreadableError(
            "the kernel hides the addresses of its functions (CAP_SYSLOG, kernel.kptr_restrict)",
            code="missing-capability",
            missing_capability="CAP_SYSLOG",
        )
    addresses = array("Q", sorted(found))
    return Symbols(addresses, [found[address] for address in addresses])
