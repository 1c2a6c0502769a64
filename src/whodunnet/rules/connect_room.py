"""Connects that find no room: the table of tracked connections of the namespace they begin or end in is full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from whodunnet.model.finding import Evidence
from whodunnet.model.flow_owners import is_loopback
from whodunnet.model.snapshot import Recording
from whodunnet.rules import table_evidence
from whodunnet.rules.connect_failures import Case
from whodunnet.rules.connect_tries import Tries
from whodunnet.rules.table_window import TableWindow, table_window

FULL_NOW = 0.9
"""Of the table, in the newest reading: entries come and go while nobody new finds room."""


class Room(msgspec.Struct, frozen=True):
    """A network namespace, other than the node's own, whose table was full within the window."""

    netns: int
    window: TableWindow

    def evidence(self) -> Iterator[Evidence]:
        """What the kernel counts there, and what it wrote."""
        last = self.window.last
        entries = last.table.counts.get(self.netns)
        if entries and last.limit is not None:
            yield table_evidence.child(last, self.netns, entries)
        yield from table_evidence.log_lines(self.window, self.netns)


def lack_of_room(case: Case, tries: Sequence[Tries], recording: Recording) -> Room | None:
    """Where all of these clients are, or their server is; None where others there lose far fewer of their SYNs."""
    window = table_window(recording)
    full = window.others_without_room() if window is not None else frozenset()
    clients = {t.pair.client.netns for t in case.tries}
    servers = {t.pair.server_end.netns for t in case.tries}
    for ends in (clients, servers):
        for netns in ends & full:
            if window is None or netns is None or len(ends) != 1:
                continue
            beside = _beside(netns, case, tries)
            if _concerns_all(beside, case) if beside else _is_full_now(window, netns):
                return Room(netns, window)
    return None


def _beside(netns: int, case: Case, tries: Sequence[Tries]) -> list[Tries]:
    """What else begins or ends there."""
    told = {id(t) for t in case.tries}
    found = (t for t in tries if id(t) not in told and netns in (t.pair.client.netns, t.pair.server_end.netns))
    return [t for t in found if t.made and not is_loopback(t.pair.server.address or "")]


def _is_full_now(window: TableWindow, netns: int) -> bool:
    """Where there is nothing to compare with, a moment without room is not enough."""
    limit = window.last.limit
    return limit is not None and window.last.table.counts.get(netns, 0) >= FULL_NOW * limit


def _concerns_all(beside: Sequence[Tries], case: Case) -> bool:
    """A table without room drops whatever is new: a server that alone does not answer has another reason."""
    return 2 * sum(t.silent + t.slow for t in beside) >= case.share * sum(t.made for t in beside)
