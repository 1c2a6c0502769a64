"""What the texts about kept-alive connections call people, places and times."""

from __future__ import annotations

from whodunnet.model.connection_pairs import one_server_of
from whodunnet.model.workload import Workload
from whodunnet.rules.identity import endpoint_text, short_name
from whodunnet.rules.idle_timeouts import Limit
from whodunnet.rules.keepalive_reuses import Client


def peer_text(client: Client) -> str:
    """The endpoint as it was asked for, and who that is where somebody is known."""
    place, server = endpoint_text(client.server), server_of(client)
    return place if server is None else f"{short_name(server)} at {place}"


def limit_text(limit: Limit | None) -> str:
    return "times that differ" if limit is None else seconds_text(limit.seconds)


def seconds_text(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"


def server_of(client: Client) -> Workload | None:
    """Who accepts; None where its pairs do not agree."""
    return one_server_of(client.pairs)
