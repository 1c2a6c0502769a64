"""Rows of the table of tracked connections: one owner each, with what it opened and what it really has open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Workload
from whodunnet.report.flow_subject import FlowView, Subject, subject_label
from whodunnet.report.flow_sums import Asked, Reading, Sum, sources_by_netns
from whodunnet.report.pod_names import PodNames, find_command, may_be_pod
from whodunnet.report.quantity import count

FlowSort = Literal["entries", "growth", "unreplied"]
FLOW_SORTS: tuple[FlowSort, ...] = ("entries", "growth", "unreplied")
DESTINATIONS = 3
ANSWERS = 3
OPENERS = 3
_OF_OWNERS = ("workload", "pod", "source")


class FlowAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that a destination was translated to. replied: of its entries."""

    endpoint: Endpoint
    workload: Workload | None
    entries: int
    replied: int


class FlowDestination(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of one owner to one destination, as it was asked for.

    workload: who has that address, on this node or by --pods. open_sockets: of TCP, that lead there now.
    answers: the busiest endpoints behind it, if it is not answered by itself; answers_total: how many there are.
    """

    protocol: str
    endpoint: Endpoint
    workload: Workload | None
    entries: int
    unreplied: int
    open_sockets: int | None
    answers: tuple[FlowAnswer, ...]
    answers_total: int


class FlowRow(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of one owner, destination, state, protocol or namespace.

    states: of TCP; others: of other protocols, by protocol; both only of the namespace whose table was read.
    inferred: of the entries, those without a socket that are this owner's because nobody else came and went there.
    open_sockets: TCP connections that the owner opened itself and really has open. entries_per_socket: its TCP entries
    for each of them; None if there are none, or it is not known. growth: None without an earlier reading.
    destinations, and in the view by destination answers and openers: the largest, and how many there are.
    find_command: finds the name of a pod elsewhere.
    """

    label: str
    subject: Subject | None
    entries: int
    states: dict[str, int]
    others: dict[str, int]
    unreplied: int | None
    inferred: int
    open_sockets: int | None
    entries_per_socket: float | None
    growth: int | None
    destinations: tuple[FlowDestination, ...] = ()
    destinations_total: int = 0
    answers: tuple[FlowAnswer, ...] = ()
    answers_total: int = 0
    openers: dict[str, int] = {}
    openers_total: int = 0
    find_command: str | None = None


class Book:
    """Sums by row, now and at the earlier reading."""

    def __init__(self, reading: Reading, earlier: Reading | None, by: FlowView, pods: PodNames) -> None:
        self._reading, self._by, self._pods = reading, by, pods
        self._now = reading.sums(by, pods)
        self._earlier = None if earlier is None or earlier.conntrack.dump_failure else earlier.sums(by, pods)
        for key, row in (self._earlier or {}).items():
            self._now.setdefault(key, Sum(subject=row.subject))  # it had entries and has none any more
        self._sources = sources_by_netns(self._now.values()) if by == "source" else Counter[int]()

    def ranked(self, sort: FlowSort) -> list[str]:
        """Keys of all rows, largest first, then by name."""

        def rank(key: str) -> tuple[int | str, ...]:
            row = self._now[key]
            last = (-row.entries, -row.unreplied, subject_label(row.subject), key)
            match sort:
                case "growth":
                    return (-(self._growth([key]) or 0), *last)
                case "unreplied":
                    return (-row.unreplied, *last)
                case "entries":
                    return last

        return sorted(self._now, key=rank)

    def row(self, key: str) -> FlowRow:
        """One owner with everything that is known of it."""
        now = self._now[key]
        subject = self._subject(now)
        open_sockets = self._reading.opened(self._by, now, self._sources)
        address = subject.address if subject.kind == "remote" and not subject.pods else None
        return FlowRow(
            label=subject_label(subject),
            subject=subject,
            entries=now.entries,
            states=dict(now.states.most_common()),
            others=dict(now.others.most_common()),
            unreplied=now.unreplied if self._was_read(now) else None,
            inferred=now.inferred,
            open_sockets=open_sockets,
            entries_per_socket=round(now.tcp_entries / open_sockets, 2) if open_sockets else None,
            growth=self._growth([key]),
            destinations=tuple(self._destinations(now)) if self._by not in ("destination", "netns") else (),
            destinations_total=len(now.asked) if self._by != "destination" else 0,
            answers=self._answers(now, asked_of(subject)) if self._by == "destination" else (),
            answers_total=len(now.answers) if self._by == "destination" else 0,
            openers=dict(now.openers.most_common(OPENERS)),
            openers_total=len(now.openers),
            find_command=find_command(address) if address is not None and may_be_pod(address) else None,
        )

    def rest(self, keys: Sequence[str]) -> FlowRow | None:
        """All these in one row; None if there are none."""
        if not keys:
            return None
        total = Sum()
        for key in keys:
            total.add(self._now[key])
        return FlowRow(
            label=count(len(keys), "other"),
            subject=None,
            entries=total.entries,
            states=dict(total.states.most_common()),
            others=dict(total.others.most_common()),
            unreplied=total.unreplied if self._was_read(total) else None,
            inferred=total.inferred,
            open_sockets=None,
            entries_per_socket=None,
            growth=self._growth(keys),
        )

    def _subject(self, row: Sum) -> Subject:
        """With whoever was seen with sockets to the destinations of any of its entries."""
        candidates = tuple(workload for workload, _ in row.candidates.most_common())
        return msgspec.structs.replace(row.subject, candidates=candidates)

    def _was_read(self, row: Sum) -> bool:
        """Whether more than the number of its entries is known."""
        return row.entries == 0 or bool(row.asked or row.states or row.others)

    def _growth(self, keys: Iterable[str]) -> int | None:
        if self._earlier is None:
            return None
        return sum(self._now[key].entries - (self._earlier[key].entries if key in self._earlier else 0) for key in keys)

    def _destinations(self, row: Sum) -> Iterator[FlowDestination]:
        for asked, entries in row.asked.most_common(DESTINATIONS):
            protocol, endpoint = asked
            yield FlowDestination(
                protocol=protocol,
                endpoint=endpoint,
                workload=self._reading.name_of(endpoint.address, self._pods),
                entries=entries,
                unreplied=row.silent[asked],
                open_sockets=self._reading.opened_to(row, protocol, endpoint) if self._by in _OF_OWNERS else None,
                answers=self._answers(row, asked),
                answers_total=sum(1 for one, _ in row.answers if one == asked),
            )

    def _answers(self, row: Sum, asked: Asked) -> tuple[FlowAnswer, ...]:
        """The busiest endpoints behind a destination."""
        behind = [(entries, endpoint) for (one, endpoint), entries in row.answers.items() if one == asked]
        behind.sort(key=lambda found: (-found[0], str(found[1])))
        return tuple(
            FlowAnswer(
                endpoint=endpoint,
                workload=self._reading.name_of(endpoint.address, self._pods),
                entries=entries,
                replied=row.answered[asked, endpoint],
            )
            for entries, endpoint in behind[:ANSWERS]
        )


def asked_of(subject: Subject) -> Asked:
    """The destination that a row stands for."""
    assert subject.protocol is not None
    assert subject.destination is not None
    return subject.protocol, subject.destination
