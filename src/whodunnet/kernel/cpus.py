"""Sets of CPUs as the kernel writes them: lists such as "0-3,8" and masks such as "ff,00000000" (lib/bitmap.c)."""

from __future__ import annotations

import re
from typing import Final

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import read_bytes, shown
from whodunnet.kernel.roots import Roots

CPUS_MAX: Final = 8192  # CONFIG_NR_CPUS with MAXSMP
_LIST: Final = re.compile(rb"[0-9]{1,5}(?:-[0-9]{1,5})?(?:,[0-9]{1,5}(?:-[0-9]{1,5})?)*")
_MASK: Final = re.compile(rb"[0-9a-f]{1,8}(?:,[0-9a-f]{8})*")


def parse_list(data: bytes, source: str) -> tuple[int, ...]:
    """The CPUs of a list, in order; an empty list has none. Raises MalformedError naming source."""
    text = data.strip()
    if not text:
        return ()
    if _LIST.fullmatch(text) is None:
        raise MalformedError(f"{source}: should be a list of CPUs and is {shown(data)}")
    found: set[int] = set()
    for part in text.split(b","):
        first, _, last = part.partition(b"-")
        found.update(_range(int(first), int(last or first), source))
    return tuple(sorted(found))


def parse_mask(data: bytes, source: str) -> tuple[int, ...]:
    """The CPUs of a mask, in order. Raises MalformedError naming source."""
    text = data.strip()
    if _MASK.fullmatch(text) is None or len(text) > CPUS_MAX:
        raise MalformedError(f"{source}: should be a mask of CPUs and is {shown(data)}")
    bits = int(text.replace(b",", b""), 16)
    return tuple(cpu for cpu in range(bits.bit_length()) if bits >> cpu & 1)


def read_online(roots: Roots) -> tuple[int, ...]:
    """CPUs that are online. Raises UnreadableError."""
    return _read(roots, "online")


def read_possible(roots: Roots) -> tuple[int, ...]:
    """CPUs that could ever be brought up, one at least. Raises UnreadableError."""
    found = _read(roots, "possible")
    if not found:
        raise MalformedError(f"{roots.sys / 'devices/system/cpu/possible'}: should name a CPU and is empty")
    return found


def _read(roots: Roots, which: str) -> tuple[int, ...]:
    path = roots.sys / "devices/system/cpu" / which
    return parse_list(read_bytes(path), str(path))


def _range(first: int, last: int, source: str) -> range:
    if last >= CPUS_MAX or first > last:
        raise MalformedError(f"{source}: CPUs {first} to {last} are no CPUs of one machine")
    return range(first, last + 1)
