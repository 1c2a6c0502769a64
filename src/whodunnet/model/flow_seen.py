"""What all readings of sockets of one window show together: who was seen with sockets to where, and who kept them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from whodunnet.model.flow_sockets import (
    KeyOf,
    Opened,
    by_destination,
    connected_to,
    keys_of,
    opened_by,
    representatives_of,
)
from whodunnet.model.sockets import Sockets
from whodunnet.model.vouching import Destination
from whodunnet.model.workload import Workload, Workloads


class Seen(msgspec.Struct, frozen=True):
    """by_pid, key_of: of the newest reading. ever: the most sockets that each owner had to a destination.

    connected: whatever sockets led to. constant: the same number in every reading. representative: a process of each.
    """

    by_pid: Mapping[int, Workload]
    key_of: KeyOf
    ever: dict[Destination, dict[str, int]]
    connected: set[Destination]
    constant: Opened
    representative: dict[str, Workload]


def seen_in(sockets: Sequence[Sockets], workloads: Workloads, then: Sequence[Workloads | None]) -> Seen:
    """sockets: newest last. then: who had which pid at each of them; if not given, whoever has it now."""
    by_pid: Mapping[int, Workload] = workloads.by_pid
    key_of = keys_of(by_pid)
    representative: dict[str, Workload] = {}
    connected: set[Destination] = set()
    ever: Opened = {}
    constant: Opened = {}
    for n, sample in enumerate(sockets):
        named = then[n] if then else None
        by_pid = workloads.by_pid if named is None else workloads.by_pid | named.by_pid
        key_of = keys_of(by_pid)
        representative |= representatives_of(sample, by_pid, key_of)
        connected |= connected_to(sample)
        now = opened_by(sample, key_of)
        ever |= {opened: count for opened, count in now.items() if count > ever.get(opened, 0)}
        # The same number in every reading: such connections do not come and go. One that opens has not come yet.
        kept = opened_by(sample, key_of, opening=False)
        constant = kept if n == 0 else {o: c for o, c in kept.items() if constant.get(o) == c}
    return Seen(by_pid, key_of, by_destination(ever), connected, constant, representative)
