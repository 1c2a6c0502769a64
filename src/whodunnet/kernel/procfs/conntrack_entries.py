"""/proc/net/nf_conntrack: tracked connections as text (net/netfilter/nf_conntrack_standalone.c, ct_seq_show).

Slow for many, but it walks the table with softirqs on, and over empty buckets ten times as fast as ctnetlink does.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.conntrack_groups import (
    ASSURED,
    DNAT,
    OFFLOADED,
    REPLIED,
    SNAT,
    STATES,
    Entry,
)
from whodunnet.kernel.procfs.files import read_bytes, shown
from whodunnet.kernel.roots import Roots

LIMIT_BYTES = 8 << 20
_OFFLOADS = {"[OFFLOAD]", "[HW_OFFLOAD]"}
_TUPLE_FIELDS = ("src", "dst", "sport", "dport", "srckey", "dstkey", "zone-orig")

Tuple = dict[str, str]


def read_entries(roots: Roots, task: str = "self") -> tuple[list[Entry], int]:
    """Entries of the network namespace of `task` (a pid, "self", "thread-self"), and the number of malformed lines.

    Raises UnreadableError: missing-file also in a kernel without CONFIG_NF_CONNTRACK_PROCFS.
    """
    path = roots.proc / task / "net/nf_conntrack"
    return parse_entries(read_bytes(path, LIMIT_BYTES, "CAP_DAC_READ_SEARCH"), str(path))


def parse_entries(data: bytes, source: str) -> tuple[list[Entry], int]:
    """Every entry, one a line, and the number of lines that are none."""
    entries, malformed = [], 0
    for line in data.split(b"\n"):
        if not line:
            continue
        try:
            entries.append(parse_entry(line, source))
        except MalformedError:
            malformed += 1
    return entries, malformed


def parse_entry(line: bytes, source: str) -> Entry:
    """One line. Raises MalformedError naming source."""
    try:
        return _entry(line.decode().split())
    except (ValueError, KeyError, IndexError, OSError) as error:  # UnicodeDecodeError is a ValueError
        raise MalformedError(f"{source}: a line is no entry ({error!r}): {shown(line)}") from error


def _entry(words: list[str]) -> Entry:
    protocol, rest = int(words[3]), words[4:]
    if not 0 <= protocol <= 255:
        raise ValueError(f"protocol {protocol}")
    tuples = list(_tuples(rest))
    original, reply = tuples[0], tuples[1]
    flags = _flags(rest)
    remaining = int(rest[0]) if rest[0].isdigit() else None
    source, destination, answered_by, source_as = (
        _packed(found[name]) for found in (original, reply) for name in ("src", "dst")
    )
    if len({len(address) for address in (source, destination, answered_by, source_as)}) != 1:
        raise ValueError("addresses of different families")
    port, answered_port = _port(original, "dport", "dstkey"), _port(reply, "sport", "srckey")
    flags |= DNAT if (answered_by, answered_port) != (destination, port) else 0
    flags |= SNAT if source_as != source else 0
    return Entry(
        source=source,
        destination=destination,
        answered_by=answered_by if flags & DNAT else bytes(len(source)),
        source_as=source_as if flags & SNAT else bytes(len(source)),
        destination_port=port,
        answered_port=answered_port if flags & DNAT else 0,
        protocol=protocol,
        state=_state(protocol, rest, remaining),
        flags=flags,
        zone=_zone(rest, original),
        remaining_seconds=remaining,
    )


def _packed(address: str) -> bytes:
    """Raises OSError."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _tuples(words: list[str]) -> Iterator[Tuple]:
    """The two tuples, each from its "src=" on."""
    found: Tuple = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in _TUPLE_FIELDS:
            continue
        if name == "src" and found:
            yield found
            found = {}
        found[name] = value
    yield found


def _flags(words: list[str]) -> int:
    """ct_seq_show writes one of the last three: what is offloaded is not called assured, whatever it is."""
    marks = {word for word in words if word.startswith("[")}
    flags = 0 if "[UNREPLIED]" in marks else REPLIED
    flags |= ASSURED if "[ASSURED]" in marks else 0
    return flags | (OFFLOADED if marks & _OFFLOADS else 0)


def _state(protocol: int, words: list[str], remaining: int | None) -> int:
    """Number of the state, which comes after the time if there is one."""
    if protocol not in STATES:
        return 0
    word = words[0 if remaining is None else 1]
    name = word.lower().replace("_", "-")
    return STATES[protocol].index(name) if "=" not in word and name in STATES[protocol] else 0


def _port(found: Tuple, port: str, key: str) -> int:
    """Of GRE the key; 0 for what has neither."""
    number = int(found[port]) if port in found else int(found.get(key, "0"), 16)
    if not 0 <= number <= 65535:
        raise ValueError(f"port {number}")
    return number


def _zone(words: list[str], original: Tuple) -> int:
    zones = [word.partition("=")[2] for word in words if word.startswith("zone=")]
    number = int(zones[0] if zones else original.get("zone-orig", "0"))
    if not 0 <= number <= 65535:
        raise ValueError(f"zone {number}")
    return number
