"""A listener whose queue of half-open connections is full: SYNs are dropped, or answered by cookies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from whodunnet.model.counter_window import CounterWindow, counter_window
from whodunnet.model.finding import Answer, Cleared, Confidence, Evidence, Finding, NotChecked, Party, Remedy
from whodunnet.model.kernel_log import KernelLog, LogLine
from whodunnet.model.snapshot import Recording
from whodunnet.model.text import shorten_bytes
from whodunnet.rules import remedies
from whodunnet.rules.catalogue import Entry
from whodunnet.rules.identity import party, short_name
from whodunnet.rules.listeners import Listener, listeners
from whodunnet.rules.namespace_counts import once_of, unknown
from whodunnet.rules.queue_evidence import (
    at_text,
    counted,
    digest,
    listener_party,
    nowhere,
    seen,
    tenant,
    who_listens,
)

RULE = "syn-queue"
DROPPED: Final = "TcpExt.TCPReqQFullDrop"
COOKIES: Final = "TcpExt.TCPReqQFullDoCookies"
SENT, ANSWERED = "TcpExt.SyncookiesSent", "TcpExt.SyncookiesRecv"
LINE: Final = "syn-flooding"
_PORT = re.compile(r"on port (?:\S*:)?([0-9]{1,5})\. ")
REASONS = {"dropped": "SynQueueDrops", "cookies": "SynQueueCookies"}


class Flooded(NamedTuple):
    """A namespace in which a queue was full for so many SYNs, within the window. answered: cookies that came back."""

    netns: int
    dropped: int
    cookies: int
    sent: int
    answered: int

    @property
    def shape(self) -> str:
        """Dropped SYNs hurt whoever sent them; cookies let real clients in."""
        return "dropped" if self.dropped >= self.cookies else "cookies"


def judge(recording: Recording, entry: Entry) -> Sequence[Answer]:
    """One finding for each namespace."""
    window = counter_window(recording)
    if window is None:
        return [once_of(recording, RULE, "SYNs for which a queue was full", DROPPED, COOKIES)]
    risen = [window.rise(name) for name in (DROPPED, COOKIES, SENT, ANSWERED)]
    every = [Flooded(netns, *(rise.get(netns, 0) for rise in risen)) for netns in window.rises]
    found = sorted(
        (one for one in every if _is_bad(one, entry)), key=lambda one: (-one.dropped - one.cookies, one.netns)
    )
    if not found:
        return [_cleared(window, entry)]
    known = listeners(recording)
    most = int(entry.limit("listed_namespaces"))
    return [_finding(one, known, recording, window, entry) for one in found[:most]]


def _is_bad(one: Flooded, entry: Entry) -> bool:
    """SYNs were dropped; or cookies sent, most of which nobody answered.

    With net.ipv4.tcp_syncookies=2 every client gets a cookie, and each of them answers.
    """
    if one.dropped >= entry.limit("min_syns"):
        return True
    return one.cookies >= entry.limit("min_syns") and one.answered < entry.limit("answered_share") * one.sent


def _listener(one: Flooded, known: Sequence[Listener], recording: Recording, window: CounterWindow) -> Listener | None:
    """Whose queue it is: seen full, else the only one there, else that of the port in the log; None if not sure.

    Who listens at a port by IPv4 and by IPv6 is one.
    """
    here = [listener for listener in known if listener.netns == one.netns]
    full = [listener for listener in here if any(fill.full_of_requests for fill in listener.fills)]
    if full:
        return full[0] if len(full) == 1 else None
    ports = {_port(line) for line in _lines(recording, window)}
    of_log = [listener for listener in here if listener.local.port in ports]
    for some in (here if all(listener.complete for listener in here) else [], of_log):
        if len({(listener.pid, listener.local.port) for listener in some}) == 1:
            return some[0]
    return None


def _lines(recording: Recording, window: CounterWindow) -> list[LogLine]:
    """Lines about full queues that the kernel wrote within the window. It writes one for each listener, once."""
    log = recording.last(KernelLog)
    begin, end = window.begin.boot_seconds, window.end.boot_seconds
    return [
        line
        for line in (log.lines if log else ())
        if line.kind == LINE and line.boot_seconds is not None and begin <= line.boot_seconds <= end
    ]


def _port(line: LogLine) -> int | None:
    found = _PORT.search(line.text)
    return int(found[1]) if found else None


def _finding(
    one: Flooded, known: Sequence[Listener], recording: Recording, window: CounterWindow, entry: Entry
) -> Finding:
    listener, shape = _listener(one, known, recording, window), entry.shapes[one.shape]
    inside = tenant(recording, one.netns)
    place = short_name(inside) if inside is not None else f"network namespace {one.netns}"
    words = {
        "who": who_listens(listener) if listener is not None else f"A listener in {place}",
        "peer": f" at {at_text(listener.local)}" if listener is not None else "",
        "dropped": f"{one.dropped:,}",
        "cookies": f"{one.cookies:,}",
        "answered": f"{one.answered:,}",
        "seconds": f"{window.seconds:.1f}",
    }
    title = shape.title.format(**words)
    effect = "its queue of half-open connections is full; who sends them was not seen"
    victim = (
        Party(role="victim", netns=one.netns, effect=effect)
        if inside is None
        else party("victim", inside, effect=effect)
    )
    return Finding(
        id=f"{RULE}:{digest(one.shape, one.netns)}",
        rule=RULE,
        reason=REASONS[one.shape],
        severity="warning",
        claim=entry.claim,
        confidence=_confidence(listener),
        shape=one.shape,
        summary=shorten_bytes(title, 80),
        title=title,
        last_seen=window.end.wall,
        parties=(listener_party("victim", listener, effect) if listener is not None else victim,),
        evidence=tuple(_evidence(one, listener, recording, window, entry)),
        would_explain=entry.would_explain if one.shape == "dropped" else (),
        remedies=tuple(_remedies(one, listener, shape.fix)),
        explanation=tuple(line.format(**words) for line in shape.explanation),
    )


def _confidence(listener: Listener | None) -> Confidence:
    """The counter proves that it was so; it is surer whose queue it was if that was seen full."""
    return "proven" if listener is not None and any(fill.full_of_requests for fill in listener.fills) else "likely"


def _evidence(
    one: Flooded, listener: Listener | None, recording: Recording, window: CounterWindow, entry: Entry
) -> list[Evidence]:
    floor = entry.limit("min_syns")
    found = []
    if one.dropped:
        found.append(counted(window, DROPPED, one.netns, "SYNs dropped, as the queue was full", limit=floor))
    if one.cookies:
        found.append(counted(window, COOKIES, one.netns, "SYNs answered by a cookie, as it was full", limit=floor))
        found.append(counted(window, ANSWERED, one.netns, "Cookies that came back, which are real clients"))
    if listener is not None:
        full = [fill for fill in listener.fills if fill.requests is not None]
        if full:
            fill = max(full, key=lambda f: f.requests or 0)
            statement = f"Half-open connections of {at_text(listener.local)}, most in any reading"
            found.append(
                seen(
                    fill.at, statement, fill.requests or 0, "connections", listener.local.port, limit=fill.limit,
                    comparison=">=" if fill.full_of_requests else "of",
                )
            )  # fmt: skip
    for line in _lines(recording, window)[:1]:
        found.append(
            Evidence(
                statement="The kernel's line about it, written once for each listener, has the port",
                value=_port(line), unit="", source="kernel log", at=window.end.wall, boot_seconds=line.boot_seconds,
                repeat="dmesg | grep 'SYN flooding'",
            )
        )  # fmt: skip
    return found


def _remedies(one: Flooded, listener: Listener | None, fix: str) -> list[Remedy]:
    sport = f" sport = {listener.local.port}" if listener is not None else ""
    steps = [
        remedies.CAPTURE,
        Remedy(
            action="capture",
            do="See from which addresses half-open connections come (of a flood they are invented)",
            command=f"ss -Htn state syn-recv{sport}  # in its network namespace",
            effect="tells few sources from many",
            risk="none",
        ),
    ]
    if one.shape == "dropped":
        steps.append(
            Remedy(
                action="tune", do="Let the kernel send cookies in that namespace, so that real clients get in",
                command="sysctl -w net.ipv4.tcp_syncookies=1  # in its network namespace",
                effect="SYNs are answered without a place in the queue", risk="some TCP options are lost meanwhile",
            )
        )  # fmt: skip
    return [*steps, remedies.fix(fix)]


def _cleared(window: CounterWindow, entry: Entry) -> Cleared | NotChecked:
    if not {DROPPED, COOKIES} & set(window.last.known):
        return unknown(RULE, DROPPED)
    if nothing_read := nowhere(RULE, window.last, window):
        return nothing_read
    reach = (
        f"{entry.limit('min_syns'):.0f} or more SYNs for which a queue was full within {window.seconds:.1f} s, in each "
        f"of {len(window.rises):,} namespaces: dropped, or answered by cookies that mostly do not come back"
    )
    if window.missing or window.unread:
        reach += f"; {window.missing + window.unread:,} namespaces were not read, or were new"
    return Cleared(
        rule=RULE,
        sensitivity=reach,
        evidence=(
            counted(window, DROPPED, None, "SYNs dropped, as a queue was full, in all namespaces"),
            counted(window, COOKIES, None, "SYNs answered by a cookie, as it was full"),
        ),
    )
