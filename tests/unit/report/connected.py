"""How connections of the invented node of `tracked` began and ended in ten seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from whodunnet.model.connections import ConnectionGroup, Connections, Span, idle_bounds
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import AnySample, Recording, Snapshot
from whodunnet.model.sockets import Endpoint

from . import tracked
from .tracked import API, BACKENDS, BEGIN, HERE, HOST, MIXED, NODE, SERVICE, WEB

SECONDS = 10.0
WEB_ADDRESS, API_ADDRESS, FAR = "10.244.1.12", "10.244.1.13", "10.244.3.77"
REDIS, GRAFANA, SECURE = Endpoint("198.51.100.7", 6379), Endpoint("10.244.1.13", 9), Endpoint(HERE, 443)


def span(seconds: float, connections: int) -> Span:
    """In the idle class that it falls into."""
    for number in range(512):
        since, until = idle_bounds(number)
        if until is None or seconds < until:
            return Span(since, until, connections, seconds * connections)
    raise AssertionError(seconds)


def end(connections: int, ending: str, seconds: float | None = 0.01, **fields: Any) -> ConnectionGroup:
    """Of the web's container, which asks the API; all of one time, or of none."""
    usual = {
        "netns": WEB, "role": "initiated", "state": "established", "server": BACKENDS[0], "client": WEB_ADDRESS,
        "owner_pid": 20, "comm": "web",
    }  # fmt: skip
    spans = {"spans": () if seconds is None else (span(seconds, connections),)}
    return msgspec.convert({**usual, **spans, **fields, "ending": ending, "connections": connections}, ConnectionGroup)


def accepted(connections: int, ending: str, seconds: float | None = 0.01, **fields: Any) -> ConnectionGroup:
    """The other end of the same."""
    usual = {"netns": API, "role": "accepted", "owner_pid": 30, "comm": "api"}
    return end(connections, ending, seconds, **{**usual, **fields})


def connecting(connections: int, ending: str, seconds: float | None = 0.01, **fields: Any) -> ConnectionGroup:
    return end(connections, ending, seconds, state="syn-sent", **fields)


def opened(**fields: Any) -> ConnectionGroup:
    """462, of which five had to send their SYN twice."""
    spans = (Span(0.000128, 0.000192, 457, 457 * 0.00016), Span(0.786432, 1.048576, 5, 5 * 1.02))
    return end(462, "opened", **{"spans": spans, **fields})


def groups() -> tuple[ConnectionGroup, ...]:
    agent: dict[str, Any] = {"netns": HOST, "owner_pid": 41, "comm": "agent", "client": HERE}
    secure: dict[str, Any] = {"netns": HOST, "server": SECURE, "client": FAR, "owner_pid": 40, "comm": "kubelet"}
    return (
        opened(),
        connecting(5, "syn-retransmitted", 1.0),
        end(412, "closed-by-peer", 5.002),
        end(18, "closed-by-peer", 0.04),
        end(32, "closed-here", 20.0),
        end(12, "reset-received", 5.6, state="close-wait"),
        end(9, "reset-sent", None, state="close-wait"),
        accepted(412, "closed-here", 5.001),
        accepted(18, "closed-here", 0.04),
        accepted(32, "closed-by-peer", 20.0),
        end(30, "opened", 0.0002, server=SERVICE),
        end(30, "closed-here", 0.01, server=SERVICE),
        accepted(2, "closed-by-peer", 0.02, client="10.244.1.14"),
        connecting(40, "refused", server=GRAFANA, **agent),
        connecting(3, "timed-out", 131.0, server=REDIS, **agent),
        connecting(18, "syn-retransmitted", 7.0, server=REDIS, **agent),
        connecting(5, "given-up", 0.5, server=REDIS, **agent),
        accepted(30, "closed-by-peer", 0.01, **secure),
        accepted(2, "reset-received", 0.3, **secure),
        accepted(1, "timed-out", 900.0, **secure),
        accepted(4, "late-data", None, state="fin-wait-2", **secure),
        end(7, "closed-here", None, client=None, netns=MIXED, owner_pid=None, comm="scraper", server=SERVICE),
    )


def recording(found: tuple[ConnectionGroup, ...] | None = None, **rest: Any) -> Recording:
    """rest: other samples, or fields of the newest sample of connections."""
    fields = {name: rest.pop(name) for name in list(rest) if name in Connections.__struct_fields__}
    usual = {"groups": groups() if found is None else found, "watched_seconds": SECONDS}
    begin, newest = Connections(groups=(), watched_seconds=0.0), Connections(**{**usual, **fields})
    others: dict[str, AnySample] = tracked.reading(tracked.table()) | rest
    moments = [Moment(wall=BEGIN + timedelta(seconds=s), boot_seconds=100.0 + s) for s in (0.0, SECONDS)]
    samples: list[AnySample] = [begin, newest]
    return Recording(
        node=NODE,
        snapshots=tuple(
            Snapshot(at=at, samples={"connections": sample, **others})
            for at, sample in zip(moments, samples, strict=True)
        ),
    )
