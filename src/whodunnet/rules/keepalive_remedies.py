"""What to do about a mismatch, each with its price: the fix, two ways around it, and what only moves the limit."""

from __future__ import annotations

from whodunnet.model.finding import Remedy
from whodunnet.rules.keepalive_evidence import connect_seconds
from whodunnet.rules.keepalive_reuses import ON_THE_WAY, UNEVEN, UNSEEN, Reuse
from whodunnet.rules.keepalive_words import seconds_text

SAFE_SHARE = 0.8
"""Of the server's limit: a client that closes by then does not meet its close, however its timers run."""


def remedies_of(reuse: Reuse, fix: str) -> list[Remedy]:
    client = reuse.client
    cost = connect_seconds(client)
    each = "one connect for each call" if cost is None else f"each call takes a connect: {cost * 1000:.2f} ms here"
    steps = [_expiry(reuse, fix)]
    if reuse.shape in (UNSEEN, UNEVEN):
        return steps
    steps += [
        Remedy(
            action="fix-application",
            do="Or let the client try again on a new connection if no byte of the answer has come",
            command=None,
            effect="the failure is not seen; the first try still costs a round trip",
            risk="only for requests that may be done twice (idempotent): the server may have done the first",
        ),
        Remedy(
            action="fix-application",
            do="Or use each connection once (Connection: close)",
            command=None,
            effect="nothing is idle, so nothing is used too late",
            risk=f"{each}, with TLS its handshake on top; more connections are opened and tracked",
        ),
    ]
    return [*steps, _keep_alive() if reuse.shape == ON_THE_WAY else _raise()]


def _expiry(reuse: Reuse, fix: str) -> Remedy:
    limit = reuse.client.limit
    below = ""
    if reuse.shape == ON_THE_WAY:
        below = f", sooner than the shortest that failed ({seconds_text(reuse.idle[0].mean)})"
    elif limit is not None:
        safe = f"{SAFE_SHARE * limit.least:.1f} s"
        below = f", for instance after {safe}, where the server does after {seconds_text(limit.seconds)}"
    return Remedy(
        action="fix-application",
        do=f"{fix}{below}",
        command=None,
        effect="ends it: what the other side has given up is never used again",
        risk="a call after a longer pause makes a new connection",
    )


def _raise() -> Remedy:
    return Remedy(
        action="tune",
        do="Raise the server's idle timeout above that of every client's pool",
        command=None,
        effect="no fix where a pool has no expiry: it moves the limit, and calls after longer pauses fail as before",
        risk="the server holds more idle connections",
    )


def _keep_alive() -> Remedy:
    return Remedy(
        action="tune",
        do="Or send TCP keep-alive (SO_KEEPALIVE, TCP_KEEPIDLE) at shorter intervals than what lies between remembers",
        command=None,
        effect="what lies between keeps the connection, and one that is dead is noticed",
        risk="packets while nothing is asked",
    )
