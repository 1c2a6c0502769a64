"""/proc/<task>/net/protocols: what each protocol holds, and whether it is under pressure (net/core/sock.c)."""

from __future__ import annotations

import msgspec

from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.files import integer, read_bytes, shown
from whodunnet.kernel.roots import Roots

_PRESSURE: dict[bytes, bool | None] = {b"yes": True, b"no": False, b"NI": None}
_WANTED = (b"protocol", b"sockets", b"memory", b"press")


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """One row. The row TCP stands for IPv4, IPv6 and MPTCP: they share memory and flag.

    memory_pages: None where the protocol keeps no account (printed as -1).
    pressure: the kernel's memory pressure flag, None where the protocol has none (printed as NI).
    """

    sockets: int
    memory_pages: int | None
    pressure: bool | None


def parse_protocols(data: bytes, source: str) -> dict[str, Protocol]:
    """Rows by protocol name, columns found by their heading. Raises MalformedError naming source and row."""
    header, *rows = data.split(b"\n")
    titles = header.split()
    if missing := [title.decode() for title in _WANTED if title not in titles]:
        raise MalformedError(f"{source}: the heading lacks {', '.join(missing)}")
    return dict(_row(row, titles, source) for row in rows if row.strip())


def read_protocols(roots: Roots, task: str = "self") -> dict[str, Protocol]:
    """Read protocols as the network namespace of `task` shows them. Raises UnreadableError."""
    path = roots.proc / task / "net/protocols"
    return parse_protocols(read_bytes(path), str(path))


def _row(row: bytes, titles: list[bytes], source: str) -> tuple[str, Protocol]:
    words = row.split()
    # A protocol of a foreign module may have blanks in its name; no other column can.
    surplus = len(words) - len(titles)
    if surplus < 0:
        raise MalformedError(f"{source}: a row has {len(words)} of {len(titles)} columns: {shown(row)}")
    name = b" ".join(words[: surplus + 1]).decode(errors="replace")
    cells = dict(zip(titles[1:], words[surplus + 1 :], strict=True))
    return name, _protocol(cells, f"{source} row {name!r}")


def _protocol(cells: dict[bytes, bytes], source: str) -> Protocol:
    if missing := [title.decode() for title in _WANTED[1:] if title not in cells]:
        raise MalformedError(f"{source}: no column {', '.join(missing)} after the name")
    memory = integer(cells[b"memory"], source, "memory")
    if cells[b"press"] not in _PRESSURE:
        raise MalformedError(f"{source}: press should be yes, no or NI and is {shown(cells[b'press'])}")
    return Protocol(
        sockets=integer(cells[b"sockets"], source, "sockets"),
        memory_pages=None if memory < 0 else memory,
        pressure=_PRESSURE[cells[b"press"]],
    )
