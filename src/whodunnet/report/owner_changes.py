"""Owners of sockets at two moments: who is new, who is gone, who holds more or less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from whodunnet.model.sockets import Sockets
from whodunnet.model.text import clean
from whodunnet.model.workload import Workload
from whodunnet.report.lasting import Key, Lasting, Side, marks
from whodunnet.report.owner import By, Owner, owner_label, workload_label
from whodunnet.report.owners import Sum, sums, whole
from whodunnet.report.quantity import count

Change = Literal["new", "gone", "grew", "shrank", "changed", "same"]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner holds, or how much more of it: TCP sockets with their memory and states.

    others: sockets of other protocols by protocol.
    """

    sockets: int
    memory_bytes: int
    unread_bytes: int
    unsent_bytes: int
    states: dict[str, int]
    others: dict[str, int]


class OwnerChange(msgspec.Struct, frozen=True, kw_only=True):
    """One owner at both moments. before, after: None where it had no socket. difference: after less before.

    change: by memory, then by sockets; "changed" if only something else differs.
    restarted: another container (or pod) of the same name than before; None where nothing could tell.
    """

    label: str
    change: Change
    owner: Owner | None
    restarted: bool | None
    before: Held | None
    after: Held | None
    difference: Held


class OwnerChanges(msgspec.Struct, frozen=True, kw_only=True):
    """rows: the largest changes of memory, then of sockets; rest: all further changes in one row."""

    rows: tuple[OwnerChange, ...]
    rest: OwnerChange | None
    unchanged: int


Sums = Mapping[Owner, Sum]


def compare_owners(
    before: tuple[Side, Sockets], after: tuple[Side, Sockets], lasting: Lasting, by: By, top: int
) -> OwnerChanges:
    """Every owner of either moment, the largest change first; those beyond `top` are summed."""
    found = tuple(sums(sockets, side.workloads, by) for side, sockets in (before, after))
    owners: dict[Key, tuple[list[Owner], list[Owner]]] = {}
    for side, parts in enumerate(found):
        for owner in parts:
            owners.setdefault(lasting.key(owner, side), ([], []))[side].append(owner)
    every = [_row(_label(*pair), pair, found) for pair in owners.values()]
    ranked = sorted((row for row in every if row.change != "same"), key=_rank)
    return OwnerChanges(
        rows=tuple(ranked[:top]),
        rest=_rest(ranked[top:]) if ranked[top:] else None,
        unchanged=len(every) - len(ranked),
    )


def _rank(row: OwnerChange) -> tuple[int | str, ...]:
    """Most memory more or less first, then most sockets, then by name."""
    more = row.difference
    return (-abs(more.memory_bytes), -abs(more.sockets), row.label)


def _row(label: str, pair: tuple[Sequence[Owner], Sequence[Owner]], found: Sequence[Sums]) -> OwnerChange:
    before, after = (_held(whole(parts, own)) if own else None for parts, own in zip(found, pair, strict=True))
    more = _difference(before, after)
    newest = pair[1] or pair[0]
    return OwnerChange(
        label=label,
        change=_change(before, after, more),
        owner=newest[0] if len(newest) == 1 else None,
        restarted=_restarted(*pair),
        before=before,
        after=after,
        difference=more,
    )


def _rest(rows: Sequence[OwnerChange]) -> OwnerChange:
    """All these owners in one row."""
    before, after = _total(row.before for row in rows), _total(row.after for row in rows)
    more = _difference(before, after)
    return OwnerChange(
        label=f"{len(rows):,} others",
        change=_change(before, after, more),
        owner=None,
        restarted=None,
        before=before,
        after=after,
        difference=more,
    )


def _held(part: Sum) -> Held:
    return Held(
        sockets=part.sockets,
        memory_bytes=part.memory_bytes,
        unread_bytes=part.unread_bytes,
        unsent_bytes=part.unsent_bytes,
        states=dict(part.states.most_common()),
        others=dict(part.others.most_common()),
    )


_NOTHING = _held(Sum())


def _total(parts: Iterable[Held | None]) -> Held:
    total = Sum()
    for part in filter(None, parts):
        total.add(
            Sum(
                sockets=part.sockets,
                memory_bytes=part.memory_bytes,
                unread_bytes=part.unread_bytes,
                unsent_bytes=part.unsent_bytes,
                states=Counter(part.states),
                others=Counter(part.others),
            )
        )
    return _held(total)


def _difference(before: Held | None, after: Held | None) -> Held:
    then, now = before or _NOTHING, after or _NOTHING
    return Held(
        sockets=now.sockets - then.sockets,
        memory_bytes=now.memory_bytes - then.memory_bytes,
        unread_bytes=now.unread_bytes - then.unread_bytes,
        unsent_bytes=now.unsent_bytes - then.unsent_bytes,
        states=_more(then.states, now.states),
        others=_more(then.others, now.others),
    )


def _more(then: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Only what differs, the largest difference first."""
    more = {name: now.get(name, 0) - then.get(name, 0) for name in {**now, **then}}
    return dict(sorted(((n, v) for n, v in more.items() if v), key=lambda item: (-abs(item[1]), item[0])))


def _change(before: Held | None, after: Held | None, more: Held) -> Change:
    if before is None or after is None:
        return "gone" if after is None else "new"
    first = more.memory_bytes or more.sockets
    if first:
        return "grew" if first > 0 else "shrank"
    return "same" if before == after else "changed"


def _restarted(then: Sequence[Owner], now: Sequence[Owner]) -> bool | None:
    before, after = ({mark for owner in owners for mark in marks(owner)} for owners in (then, now))
    return not before & after if before and after else None


def _label(then: Sequence[Owner], now: Sequence[Owner]) -> str:
    """As the newer snapshot names it; several owners that cannot be told apart over time get the name they share."""
    owners = now or then
    if len(owners) == 1:
        return owner_label(owners[0])
    first = owners[0]
    if first.unread_pid is not None:
        return "processes that vanished or could not be read"
    if first.workload and first.workload.process:
        place = msgspec.structs.replace(first.workload, process=None, netns=None)
        within = f" in {workload_label(place)}" if place != Workload() else ""
        return f"{clean(first.workload.process.comm)} ({len(owners):,} processes){within}"
    if first.netns is not None:
        return f"{owner_label(first)} and {count(len(owners) - 1, 'other namespace')}"
    return f"{owner_label(first)} and {len(owners) - 1:,} of the same name"
