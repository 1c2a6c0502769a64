"""Runs bpf/connections.bpf.c: how connections begin and end, decoded into model words.

The layouts are those of bpf/connections.h, from which the binding is compiled.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from whodunnet.errors import MalformedError
from whodunnet.kernel.bpf.objects import BpfObject, closed_on_error
from whodunnet.kernel.bpf.socket_records import decode_address, state_name
from whodunnet.kernel.bpf.socket_walk import ticks_per_second
from whodunnet.kernel.support import Support
from whodunnet.model.connections import FIRST_IDLE_CLASSES, IDLE_STEPS, Ending, EndRole
from whodunnet.model.sockets import Endpoint
from whodunnet.model.text import clean

END_ROLES: tuple[EndRole, ...] = ("initiated", "accepted")
ENDINGS: tuple[Ending, ...] = (
    "opened", "closed-here", "closed-by-peer", "reset-sent", "reset-received", "timed-out", "broken", "refused",
    "rejected", "given-up", "not-sent", "syn-retransmitted", "late-data",
)  # fmt: skip
PROGRAMS = ("change_state", "receive_reset", "send_reset", "retransmit")
TABLES = ("ends_a", "ends_b")
UNDER_WAY_BITS = 28
"""As in connections.h."""
WAITING_SLOTS = 4
"""So many slots later a connect has waited for 0.8 to 1.1 s: its SYN is sent again after one (TCP_TIMEOUT_INIT)."""


class End(NamedTuple):
    """What is summed: one end of connections. The fields are those of model.connections.ConnectionGroup."""

    netns: int
    role: EndRole
    ending: Ending
    state: str
    server: Endpoint
    client: str | None
    owner_pid: int | None
    comm: str
    process_started_seconds: float
    last_word: bool
    unanswered: bool = False
    asked: bool = False


class EndTotal(NamedTuple):
    """One entry of a map: how many, and the sum of their times. span_class: None where they were merged."""

    end: End
    span_class: int | None
    connections: int
    seconds: float


class Ends(NamedTuple):
    """What came since the last reading, and, since the programs were attached, what was merged or lost."""

    fresh: list[EndTotal]
    merged: list[EndTotal]
    other: dict[Ending, int]
    untracked: int
    missed: int
    late_unassigned: int


class ConnectionEnds:
    """The attached programs; each `read` takes what came since the one before."""

    def __init__(self, support: Support) -> None:
        """Raises UnreadableError where the programs do not load or attach."""
        self._bpf = BpfObject("connections", support)
        self._table = 0
        with closed_on_error(self._bpf):
            self._watch = self._bpf.data(".data.watch", "struct watch")
            self._set_up(support)
        self.attached_at = time.monotonic()

    def close(self) -> None:
        self._bpf.close()

    def read(self) -> Ends:
        """The programs write to the other table from now on, and this one is emptied.

        Before Linux 6.17 waiting connects are gone through first. Raises UnreadableError if that fails: none is lost.
        """
        if some_wait(self._watch.under_way, time.monotonic_ns()):
            self._bpf.iterate("count_waiting")
        full = TABLES[self._table]
        self._table = 1 - self._table
        self._bpf.point("ends_now", TABLES[self._table])
        watch = self._watch
        return Ends(
            fresh=self._totals(full, remove=True),
            merged=self._totals("merged_ends", remove=False),
            other={word: int(watch.other[i]) for i, word in enumerate(ENDINGS) if watch.other[i]},
            untracked=int(watch.untracked),
            missed=sum(self._bpf.misses(program) for program in PROGRAMS),
            late_unassigned=int(watch.late_unassigned),
        )

    def _set_up(self, support: Support) -> None:
        self._watch.pid_level_above = support.pid_namespace_depth
        self._watch.hz = ticks_per_second()
        for row, (until, step), first in zip(self._watch.idle_steps, IDLE_STEPS, FIRST_IDLE_CLASSES, strict=True):
            row.until_ms, row.step_ms, row.first_class = round(until * 1000), round(step * 1000), first
        self._bpf.run("find_place")
        for program in PROGRAMS:
            self._bpf.attach(program)
        self._bpf.iterate("open_files")

    def _totals(self, table: str, remove: bool) -> list[EndTotal]:
        count, keys, values = self._bpf.entries(table, "struct end_key", "struct end", remove=remove)
        return [decode_total(self._bpf.ffi, keys[i], values[i]) for i in range(count)]


def some_wait(under_way: Sequence[int], now_ns: int) -> bool:
    """Whether any connect may have had to send its SYN again.

    under_way: connects by the slot of UNDER_WAY_BITS that they began in, modulo; now_ns: on the monotonic clock. Who
    has waited for a whole round of slots is missed for as long as it takes to begin anew, and seen after that.
    """
    now, slots = now_ns >> UNDER_WAY_BITS, len(under_way)
    young = {(now - ago) % slots for ago in range(WAITING_SLOTS)}
    return any(count > 0 for slot, count in enumerate(under_way) if slot not in young)


def decode_total(ffi: Any, key: Any, value: Any) -> EndTotal:
    """One entry of the maps. Raises MalformedError."""
    try:
        ending, role = ENDINGS[key.ending], END_ROLES[key.role]
    except IndexError as error:
        raise MalformedError("an end of connections has a number without a name: rebuild the package") from error
    end = End(
        netns=key.netns,
        role=role,
        ending=ending,
        state=state_name(key.state),
        server=Endpoint(decode_address(ffi, key.server_address, key.family), key.server_port),
        client=None if key.merged else decode_address(ffi, key.client_address, key.family),
        owner_pid=key.pid or None,
        comm=clean(ffi.string(value.comm).decode(errors="replace")),
        process_started_seconds=value.process_started_ns / 1e9 if key.pid else 0.0,
        last_word=bool(key.last_word),
        unanswered=bool(key.unanswered),
        asked=bool(key.asked),
    )
    unit = 1e6 if ending == "opened" else 1e3
    return EndTotal(end, None if key.merged else key.span_class, value.connections, value.time / unit)
