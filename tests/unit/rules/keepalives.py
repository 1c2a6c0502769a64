"""Clients and servers with idle timeouts in a few words, and what is said of them."""

from __future__ import annotations

from typing import Any

from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.catalogue import catalogue

from .endings import SERVER, Times, accepted, initiated
from .nodes import answers, findings

RULE = "keepalive-mismatch"
ENTRY = catalogue()[RULE]
FAILURES, FORGOTTEN = int(ENTRY.limit("min_failures")), int(ENTRY.limit("min_forgotten"))
LATE = {5.3: 4, 6.4: 5}
"""Pauses before writes that failed, where the server waits for 5 s."""


def closed(
    seconds: float = 5.0, n: int = 20, *, here: bool = True, to: Endpoint = SERVER, **other: Any
) -> list[ConnectionGroup]:
    """The server closes so many after this time. here: it is on this node."""
    client = initiated("closed-by-peer", {seconds: n}, to=to, **other)
    return [client, accepted("closed-here", {seconds: n}, at=to, **other)] if here else [client]


def failed(times: Times, *, to: Endpoint = SERVER, **other: Any) -> ConnectionGroup:
    """Written to after the server's close, and reset; times: how long it had been quiet before."""
    return initiated("reset-received", times, to=to, **{"state": "close-wait", **other})


def reset(times: Times, **other: Any) -> ConnectionGroup:
    """Reset while neither side had closed."""
    return initiated("reset-received", times, **other)


def late_data(n: int, **other: Any) -> ConnectionGroup:
    """Resets that the server's end answered data with, after it had closed."""
    return accepted("late-data", n, **{"state": "time-wait", "owner_pid": None, "comm": "", **other})


def said(node: Recording) -> list[tuple[str | None, str, str]]:
    return [(f.shape, f.severity, f.confidence) for f in findings(node, RULE)]


def cleared(node: Recording) -> Cleared:
    (answer,) = answers(node, RULE)
    assert isinstance(answer, Cleared)
    return answer


def not_checked(node: Recording) -> NotChecked:
    (answer,) = answers(node, RULE)
    assert isinstance(answer, NotChecked)
    return answer
