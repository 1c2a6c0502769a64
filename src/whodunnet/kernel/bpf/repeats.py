"""Runs bpf/retransmissions.bpf.c: segments that were sent again, decoded into model words.

The layouts are those of bpf/retransmissions.h, from which the binding is compiled.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from whodunnet.kernel.bpf.objects import BpfObject, closed_on_error
from whodunnet.kernel.bpf.socket_records import decode_address
from whodunnet.kernel.bpf.socket_walk import ticks_per_second
from whodunnet.kernel.support import Support
from whodunnet.model.retransmissions import Destination, RepeatOwner
from whodunnet.model.text import clean

PROGRAMS = ("retransmit", "end_socket")
ROOM = 4096
"""Destinations that the program has room for."""
FULL, KEPT = 3072, 2048
"""With more destinations than the first, those that repeated something last are kept, up to the second."""
OWNERS_LIMIT = 16
"""Of one destination, in a sample."""
WORTH_SUMMING = 10
"""With so many segments repeated to one destination, open sockets are gone through: how many were sent there."""


class Repeats(NamedTuple):
    """What was summed since the programs were attached."""

    destinations: list[Destination]
    elsewhere: int
    inside: int
    other: int
    untracked: int
    forgotten: int
    missed: int


class RepeatWatch:
    """The attached programs."""

    def __init__(self, support: Support) -> None:
        """Raises UnreadableError where the programs do not load or attach."""
        self._bpf = BpfObject("retransmissions", support)
        self._forgotten = 0
        with closed_on_error(self._bpf):
            self._watch = self._bpf.data(".data.watch", "struct repeat_watch")
            self._watch.hz = ticks_per_second()
            self._watch.pid_level_above = support.pid_namespace_depth
            self._bpf.run("find_place")
            self._bpf.attach("end_socket")  # first: the next socket at an address would be taken for one that ended
            self._bpf.iterate("meet_sockets")
            self._bpf.attach("retransmit")
        self.attached_at = time.monotonic()

    def close(self) -> None:
        self._bpf.close()

    def read(self) -> Repeats:
        """Everything since the start."""
        count, keys, values = self._entries()
        if any(is_worth_a_look(values[i]) for i in range(count)):
            self._bpf.iterate("add_open")
            count, keys, values = self._entries()
        owners = self._owners() if count else {}
        ffi = self._bpf.ffi
        found = [decode(ffi, keys[i], values[i], owners.get(bytes_of(ffi, keys[i]), ())) for i in range(count)]
        self._make_room(count, keys, values)
        return Repeats(
            destinations=found,
            elsewhere=int(self._watch.elsewhere),
            inside=int(self._watch.inside),
            other=int(self._watch.other),
            untracked=int(self._watch.untracked),
            forgotten=self._forgotten,
            missed=sum(self._bpf.misses(program) for program in PROGRAMS),
        )

    def _entries(self) -> Any:
        if not self._watch.destinations:
            return 0, (), ()
        return self._bpf.entries("destinations", "struct destination_key", "struct destination")

    def _owners(self) -> dict[bytes, list[RepeatOwner]]:
        """By the bytes of the key of their destination."""
        count, keys, values = self._bpf.entries("owners", "struct repeat_owner_key", "struct repeat_owner")
        found: dict[bytes, list[RepeatOwner]] = {}
        for i in range(count):
            owner = RepeatOwner(keys[i].pid, values[i].repeated, values[i].again_full)
            found.setdefault(bytes_of(self._bpf.ffi, keys[i].to), []).append(owner)
        return found

    def _make_room(self, count: int, keys: Any, values: Any) -> None:
        if count <= FULL:
            return
        newest_first = sorted(range(count), key=lambda i: -values[i].last_ns)
        left_out = [keys[i] for i in newest_first[KEPT:]]
        self._bpf.delete("destinations", "struct destination_key", left_out)
        self._forgotten += len(left_out)
        gone = {bytes_of(self._bpf.ffi, key) for key in left_out}
        count, keys, _ = self._bpf.entries("owners", "struct repeat_owner_key", "struct repeat_owner")
        without = [keys[i] for i in range(count) if bytes_of(self._bpf.ffi, keys[i].to) in gone]
        self._bpf.delete("owners", "struct repeat_owner_key", without)


def is_worth_a_look(value: Any) -> bool:
    """Whether so much was repeated there that open sockets are gone through."""
    return bool(sum(value.repeated) >= WORTH_SUMMING or value.again_full > 0)


def bytes_of(ffi: Any, key: Any) -> bytes:
    return bytes(ffi.buffer(ffi.addressof(key)))


def decode(ffi: Any, key: Any, value: Any, owners: Iterable[RepeatOwner] = ()) -> Destination:
    """One entry of the map."""
    fast, timeouts, probes, closed = value.repeated
    return Destination(
        netns=key.netns,
        remote=decode_address(ffi, key.remote, key.family),
        port=key.port,
        accepted=bool(key.accepted),
        fast=fast,
        timeouts=timeouts,
        probes=probes,
        closed=closed,
        full=value.full,
        sent=value.sent,
        duplicates=value.duplicates,
        sockets=value.sockets,
        again_full=value.again_full,
        again_small=value.again_small,
        heard=value.again_heard,
        refused=value.again_refused,
        sacked=value.again_sacked,
        stuck=value.stuck,
        passed=value.passed,
        mss=value.mss or None,
        path_mtu=value.path_mtu or None,
        device=clean(ffi.string(value.device).decode(errors="replace")) or None,
        device_mtu=value.device_mtu or None,
        owners=tuple(sorted(owners, key=lambda owner: owner.pid)[:OWNERS_LIMIT]),
        first_seconds=round(value.first_ns / 1e9, 3),
        last_seconds=round(value.last_ns / 1e9, 3),
    )
