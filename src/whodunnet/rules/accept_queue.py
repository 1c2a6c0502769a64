"""A listener whose accept queue is full: it accepts nothing, or too slowly, or its queue is too small."""

from __future__ import annotations

from collections.abc import Sequence

from whodunnet.model.counter_window import CounterWindow, counter_window
from whodunnet.model.counters import Counters
from whodunnet.model.finding import Answer, Cleared, Confidence, Evidence, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Sockets
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.files_spent import files_spent
from whodunnet.rules.listeners import Listener, listeners
from whodunnet.rules.namespace_counts import unknown
from whodunnet.rules.queue_evidence import NETSTAT, at_text, counted, nowhere, seen, who_listens
from whodunnet.rules.queue_findings import REASONS, RULE, Overfull, compose, compose_unseen

OVERFLOWS = "TcpExt.ListenOverflows"
SHAPES = tuple(REASONS)
"""The surest first."""


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each listener; one more for each namespace with overflows of which nobody is seen to be it."""
    window, every = counter_window(recording), listeners(recording)
    overflows = window.rise(OVERFLOWS) if window is not None else {}
    found, spent = [], files_spent(recording)
    for listener in every:
        accepted = _accepted(listener, window)
        judged = _shape(listener, overflows.get(listener.netns), accepted, entry)
        if judged is not None:
            shape, confidence = judged
            denied = spent and not listener.halted and shape in ("stuck", "slow")
            confidence = "possible" if denied else confidence
            found.append(Overfull(listener, shape, confidence, overflows.get(listener.netns), accepted, denied))
    named = {one.listener.netns for one in found}
    unseen = {netns: n for netns, n in overflows.items() if n >= entry.limit("min_overflows") and netns not in named}
    if not found and not unseen:
        return [_nothing(recording, window, every, entry)]
    found.sort(key=_order)
    most = int(entry.limit("listed_listeners"))
    findings = [compose(one, window, entry) for one in found[:most]]
    if window is not None:
        most_first = sorted(unseen.items(), key=lambda item: (-item[1], item[0]))[:most]
        findings += [compose_unseen(netns, n, recording, window, entry) for netns, n in most_first]
    return findings


def _order(one: Overfull) -> tuple[bool, int, int, int]:
    """Of one namespace, which has one number for all its listeners, the surest first."""
    return one.confidence == "possible", -(one.overflows or 0), one.listener.netns, SHAPES.index(one.shape)


def _accepted(listener: Listener, window: CounterWindow | None) -> int | None:
    """How many it took out of its queue between its first and last reading, at most; None where that is not known.

    The kernel counts what it puts into the queues of a namespace (PassiveOpens, tcp_create_openreq_child): more than
    that, and what waited at first, nobody can have accepted.
    """
    first, last = listener.fills[0], listener.fills[-1]
    if window is None or (first.at, last.at) != (window.begin, window.end):
        return None
    admitted = window.rise("Tcp.PassiveOpens").get(listener.netns)
    return None if admitted is None else max(admitted + first.waiting - last.waiting, 0)


def _shape(
    listener: Listener, overflows: int | None, accepted: int | None, entry: Entry
) -> tuple[str, Confidence] | None:
    """What is wrong with it and how sure that is; None if nothing is. overflows: of its namespace."""
    overflowed = (overflows or 0) >= entry.limit("min_overflows")
    readings, now = len(listener.fills), listener.fills[-1]
    if listener.halted:
        return "stuck", "proven"
    if readings < 2:
        return ("full", "possible") if listener.full and now.waiting >= entry.limit("min_waiting") else None
    worth_it = bool(overflows) or now.waiting >= entry.limit("min_waiting")
    if now.full and worth_it and _took_nothing(listener, accepted):
        if _is_long(listener, entry):
            return "stuck", "proven"
        return "full", "likely" if overflowed else "possible"
    often = listener.always_full or (readings > 2 and 2 * listener.full >= readings)
    if often and (overflowed or (overflows is None and listener.always_full)):
        return "slow", "proven" if overflowed and _alone(listener) and accepted else "likely"
    if overflowed and (listener.full or _alone(listener)):
        return "small", "likely"
    return ("full", "possible") if listener.always_full and worth_it else None


def _alone(listener: Listener) -> bool:
    """What its namespace counts is all its own."""
    return listener.sole and not listener.several


def _took_nothing(listener: Listener, accepted: int | None) -> bool:
    """Whether it accepted nothing from the first reading to the last. Who waits may be gone by a reset, too."""
    if accepted == 0 and not listener.several:
        return True
    return listener.took_nothing and not (accepted and _alone(listener))


def _is_long(listener: Listener, entry: Entry) -> bool:
    """Whether it has accepted nothing for long enough: seen so, or by how long ago the youngest came."""
    age = int(entry.limit("stuck_age"))
    seen_for = listener.fills[-1].at.boot_seconds - listener.fills[0].at.boot_seconds
    return seen_for >= age or listener.full_for(age)


def _nothing(
    recording: Recording, window: CounterWindow | None, every: Sequence[Listener], entry: Entry
) -> Cleared | NotChecked:
    samples = recording.series(Counters)
    assert samples  # the collector is required
    at, newest = samples[-1]
    if OVERFLOWS not in newest.known:
        return unknown(RULE, OVERFLOWS)
    if nothing_read := nowhere(RULE, newest, window):
        return nothing_read
    total = sum(values.get(OVERFLOWS, 0) for values in newest.by_netns.values())
    if window is None and total:
        reason = f"one reading cannot show a rise ({total:,} packets found a full queue since the namespaces were made)"
        return NotChecked(rule=RULE, code="not-collected", reason=f"{reason}: look for longer")
    evidence = [counted(window, OVERFLOWS, None, "Packets for which an accept queue was full, in all namespaces")] \
        if window is not None else [
            Evidence(
                statement="Packets for which an accept queue was full since the namespaces were made", value=total,
                unit="packets", source=f"{NETSTAT} ListenOverflows", at=at.wall, boot_seconds=at.boot_seconds,
                repeat="nstat -asz TcpExtListenOverflows",
            )
        ]  # fmt: skip
    reach = (
        f"any packet for which a queue was full since {newest.netns_read:,} namespaces were made"
        if window is None
        else _reach(window, entry)
    )
    return Cleared(
        rule=RULE, sensitivity=reach + _also(recording.last(Sockets)), evidence=(*evidence, *_fullest(every))
    )


def _fullest(every: Sequence[Listener]) -> list[Evidence]:
    if not every:
        return []
    most = max(every, key=lambda one: one.fullest.waiting / max(one.fullest.limit, 1))
    fill = most.fullest
    statement = f"Connections in the fullest accept queue, that of {who_listens(most)} at {at_text(most.local)}"
    return [seen(fill.at, statement, fill.waiting, "connections", most.local.port, limit=fill.limit, comparison="of")]


def _reach(window: CounterWindow, entry: Entry) -> str:
    floor = f"{entry.limit('min_overflows'):.0f} or more packets for which an accept queue was full"
    reach = f"{floor}, within the window of {window.seconds:.1f} s, in each of {len(window.rises):,} namespaces"
    if window.missing or window.unread:
        reach += f"; {window.missing + window.unread:,} namespaces were not read, or were new"
    return reach


def _also(sockets: Sockets | None) -> str:
    """What of queues themselves could be seen."""
    if sockets is None:
        return "; queues themselves were not read"
    reach = "; a queue that is full in each reading"
    return f"{reach}; there are more listeners than were read" if sockets.listeners_cut else reach
