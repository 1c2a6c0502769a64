"""Recordings of how connections ended, for tests of the model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from whodunnet.model.connections import ConnectionGroup, Connections, Span
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot
from whodunnet.model.sockets import Endpoint

BOOT = datetime(2026, 3, 1, tzinfo=UTC)
SERVER = Endpoint("10.0.0.1", 80)
CLIENT = "10.0.0.2"


def moment(seconds: float) -> Moment:
    return Moment(wall=BOOT + timedelta(seconds=seconds), boot_seconds=seconds)


def ended(connections: int = 1, idle: float = 5.0, **fields: Any) -> ConnectionGroup:
    """One end of connections that were idle so long."""
    spans = (Span(idle, idle + 0.1, connections, connections * idle),)
    defaults = {
        "netns": 2, "role": "initiated", "ending": "closed-by-peer", "state": "established", "server": SERVER,
        "client": CLIENT, "connections": connections, "spans": spans,
    }  # fmt: skip
    return msgspec.convert(defaults | fields, ConnectionGroup)


def accepted(connections: int = 1, **fields: Any) -> ConnectionGroup:
    """The other end of the same."""
    return ended(connections, **{"netns": 1, "role": "accepted", "ending": "closed-here", **fields})


def recording(
    moments: Sequence[Sequence[ConnectionGroup]],
    *,
    apart: float = 2.0,
    watched: Sequence[float] | None = None,
    **also: AnySample,
) -> Recording:
    """Groups at each moment, as they were summed until then. also: other samples, the same at each."""
    snapshots = []
    for n, groups in enumerate(moments):
        seconds = watched[n] if watched is not None else n * apart
        samples: dict[str, AnySample] = {
            "connections": Connections(groups=tuple(groups), watched_seconds=seconds), **also,
        }  # fmt: skip
        snapshots.append(Snapshot(at=moment(1000 + n * apart), samples=samples))
    return Recording(node=Node(hostname="n", kernel="6.1", boot_id="b"), snapshots=tuple(snapshots))
