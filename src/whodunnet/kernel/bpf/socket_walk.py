"""Runs bpf/sockets.bpf.c: one pass over every socket of the kernel, decoded into model words.

The layouts are those of bpf/sockets.h, from which the binding is compiled.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from whodunnet.kernel.bpf.objects import BpfObject, closed_on_error
from whodunnet.kernel.bpf.socket_records import (
    decode_address,
    decode_dropping,
    decode_group,
    decode_names,
    decode_stuck,
    state_name,
)
from whodunnet.kernel.support import Support
from whodunnet.model.sockets import AcceptQueue, DroppingSocket, Endpoint, Holding, NameSocket, SocketGroup, StuckSocket
from whodunnet.model.text import clean

CLOCK_MONOTONIC_COARSE = 6  # include/uapi/linux/time.h
STEP_NS = 500_000
STEP_SOCKETS = 1024
STUCK_SLOTS = 16_384
MARKS_MANY = 49_152
LISTENER_LIMIT = 4096
DROPPING_LIMIT = 4096
NAMES_LIMIT = 1024
CHURN_FLOOR = 20_000
"""With more sockets than this, a surplus below one in a hundred is taken for connections that came and went."""


class Owner(NamedTuple):
    """A process as the walk met it; started_seconds is on the boot clock."""

    comm: str
    started_seconds: float
    netns: int


class Hashed(NamedTuple):
    """Sum over the user sockets of the established hash that share namespace and state."""

    netns: int
    state: str
    without_file: bool
    sockets: int
    memory_bytes: int


class Pass(NamedTuple):
    """What one pass found."""

    groups: list[SocketGroup]
    owners: dict[int, Owner]
    stuck: tuple[StuckSocket, ...]
    stuck_total: int
    accept_queues: tuple[AcceptQueue, ...]
    time_wait: int
    request_sockets: int
    other_sockets: int
    other_memory_bytes: int
    lost: int
    netns_total: int
    listeners_cut: bool
    dropping: tuple[DroppingSocket, ...]
    dropping_cut: bool
    names: tuple[NameSocket, ...]
    names_cut: bool
    longest_step_seconds: float


class SocketWalk:
    """The loaded programs; each `read` is one pass. Passes remember what the one before saw (for `unchanged`)."""

    def __init__(self, support: Support) -> None:
        """Raises UnreadableError where the programs do not load."""
        self._bpf = BpfObject("sockets", support)
        with closed_on_error(self._bpf):
            self._walk = self._bpf.data(".data.walk", "struct walk")
        self._walk.pid_level_above = support.pid_namespace_depth
        self._walk.step_ns = STEP_NS
        self._walk.step_sockets = STEP_SOCKETS
        self._walk.hz = ticks_per_second()

    def close(self) -> None:
        self._bpf.close()

    def read(self) -> Pass:
        """One pass: first what processes have open, then the hash in bounded steps."""
        walk = self._walk
        self._forget()
        self._reset()
        self._bpf.run("list_tables")
        self._bpf.iterate("socket_files")
        hashed = self._walk_tables(detailed=False)
        groups = self._groups()
        return Pass(
            groups=groups + self._unheld(groups, hashed),
            owners=self._owners(),
            stuck=self._stuck(),
            stuck_total=walk.stuck_total,
            accept_queues=self._accept_queues(),
            time_wait=walk.time_wait,
            request_sockets=walk.request_sockets,
            other_sockets=walk.other_sockets,
            other_memory_bytes=walk.other_memory_bytes,
            lost=self._lost(),
            netns_total=walk.netns_total,
            listeners_cut=walk.listeners_total > LISTENER_LIMIT,
            dropping=self._dropping(),
            dropping_cut=walk.dropping_total > DROPPING_LIMIT,
            names=self._names(),
            names_cut=walk.names_total > NAMES_LIMIT,
            longest_step_seconds=walk.longest_step_ns / 1e9,
        )

    def _lost(self) -> int:
        walk = self._walk
        unlisted_listeners = max(walk.listeners_total - LISTENER_LIMIT, 0)
        return int(
            walk.moved_chains + walk.long_chains + walk.not_deduplicated + walk.other_owners
            + walk.uncounted + walk.unlisted + unlisted_listeners
        )  # fmt: skip

    def _reset(self) -> None:
        walk, ffi = self._walk, self._bpf.ffi
        start = ffi.offsetof("struct walk", "netns_total")
        ffi.memmove(
            ffi.cast("char *", walk) + start,
            bytes(ffi.sizeof("struct walk") - start),
            ffi.sizeof("struct walk") - start,
        )
        walk.pass_number += 1

    def _forget(self) -> None:
        """Make room in the maps that remember earlier passes: only the last one matters."""
        walk = self._walk
        if walk.not_deduplicated:
            self._bpf.entries("seen", "unsigned long long", "unsigned int", remove=True)
        if walk.marks_used > MARKS_MANY:
            count, keys, values = self._bpf.entries("marks", "unsigned long long", "struct mark")
            stale = [keys[i] for i in range(count) if values[i].pass_number < walk.pass_number]
            self._bpf.delete("marks", "unsigned long long", stale)
            walk.marks_used = count - len(stale)

    def _groups(self) -> list[SocketGroup]:
        groups: list[SocketGroup] = []
        first_pass = self._walk.pass_number == 1
        for name in ("groups", "merged_groups"):
            count, keys, values = self._bpf.entries(name, "struct group_key", "struct group", remove=True)
            for i in range(count):
                groups.append(decode_group(self._bpf.ffi, keys[i], values[i], first_pass))
        return groups

    def _walk_tables(self, detailed: bool) -> list[Hashed]:
        walk = self._walk
        walk.detailed = detailed
        for table in range(min(walk.tables_total, len(walk.tables))):
            walk.table, walk.bucket = table, 0
            while self._bpf.run("walk_table"):
                pass
        count, keys, values = self._bpf.entries("hashed", "struct hashed_key", "struct hashed", remove=True)
        return [
            Hashed(
                keys[i].netns,
                state_name(keys[i].state),
                bool(keys[i].without_file),
                values[i].sockets,
                values[i].memory_bytes,
            )
            for i in range(count)
        ]

    def _unheld(self, groups: list[SocketGroup], hashed: list[Hashed]) -> list[SocketGroup]:
        """What the hash has more than all processes together; on a busy node small differences are churn."""
        total = sum(h.sockets for h in hashed)
        surplus = sum(n for n, _ in surplus_by_state(groups, hashed).values())
        if not surplus or (total > CHURN_FLOOR and surplus * 100 < total):
            return []
        detailed = self._walk_tables(detailed=True)
        return unheld_groups(groups, detailed)

    def _owners(self) -> dict[int, Owner]:
        count, keys, values = self._bpf.entries("owners", "unsigned int", "struct owner", remove=True)
        return {
            keys[i]: Owner(
                comm=clean(self._bpf.ffi.string(values[i].comm).decode(errors="replace")),
                started_seconds=values[i].start_boottime_ns / 1e9,
                netns=values[i].netns,
            )
            for i in range(count)
        }

    def _stuck(self) -> tuple[StuckSocket, ...]:
        if not self._walk.stuck_total:
            return ()
        count, _, values = self._bpf.entries("stuck_sample", "unsigned int", "struct stuck", STUCK_SLOTS)
        written = (values[i] for i in range(count) if values[i].pass_number == self._walk.pass_number)
        return tuple(decode_stuck(self._bpf.ffi, item) for item in written)

    def _accept_queues(self) -> tuple[AcceptQueue, ...]:
        wanted = min(self._walk.listeners_total, LISTENER_LIMIT)
        if not wanted:
            return ()
        count, _, values = self._bpf.entries("listeners", "unsigned int", "struct listener", LISTENER_LIMIT)
        return tuple(
            AcceptQueue(
                owner_pid=item.pid,
                netns=item.netns,
                local=Endpoint(decode_address(self._bpf.ffi, item.address, item.family), item.port),
                waiting=item.waiting,
                limit=item.limit,
                shared=bool(item.shared),
                requests=item.requests,
            )
            for item in (values[i] for i in range(min(count, wanted)))
        )

    def _dropping(self) -> tuple[DroppingSocket, ...]:
        wanted = min(self._walk.dropping_total, DROPPING_LIMIT)
        if not wanted:
            return ()
        count, _, values = self._bpf.entries("dropping_sockets", "unsigned int", "struct dropping", DROPPING_LIMIT)
        return tuple(decode_dropping(self._bpf.ffi, values[i]) for i in range(min(count, wanted)))

    def _names(self) -> tuple[NameSocket, ...]:
        wanted = min(self._walk.names_total, NAMES_LIMIT)
        if not wanted:
            return ()
        count, _, values = self._bpf.entries("name_sockets", "unsigned int", "struct dropping", NAMES_LIMIT)
        return tuple(decode_names(self._bpf.ffi, values[i]) for i in range(min(count, wanted)))


def surplus_by_state(groups: list[SocketGroup], hashed: list[Hashed]) -> dict[tuple[int, str], tuple[int, int]]:
    """Per (netns, state): how many sockets and bytes the hash has beyond those that processes have open."""
    rest: dict[tuple[int, str], tuple[int, int]] = {}
    for h in hashed:
        if not h.without_file:
            rest[h.netns, h.state] = (h.sockets, h.memory_bytes)
    for g in groups:
        if g.protocol == "tcp" and g.holding == "descriptor" and g.netns is not None and (g.netns, g.state) in rest:
            sockets, memory = rest[g.netns, g.state]
            rest[g.netns, g.state] = (sockets - g.sockets, memory - g.memory_bytes)
    return {key: (n, max(memory, 0)) for key, (n, memory) in rest.items() if n > 0}


def unheld_groups(groups: list[SocketGroup], hashed: list[Hashed]) -> list[SocketGroup]:
    """Groups for sockets with a file in no descriptor table, and for the kernel's own that hold their namespace."""
    found: list[tuple[Holding, int, str, int, int]] = [
        ("no-descriptor", netns, state, n, memory)
        for (netns, state), (n, memory) in surplus_by_state(groups, hashed).items()
    ]
    found += [("kernel", h.netns, h.state, h.sockets, h.memory_bytes) for h in hashed if h.without_file]
    return [
        SocketGroup(
            netns=netns,
            protocol="tcp",
            state=state,
            role="unconnected",
            holding=holding,
            sockets=n,
            memory_bytes=memory,
        )
        for holding, netns, state, n, memory in found
    ]


def ticks_per_second() -> int:
    """The kernel's HZ, which it tells nobody: the coarse clocks have the resolution of one tick (clock_getres(2))."""
    return round(1 / time.clock_getres(CLOCK_MONOTONIC_COARSE))
