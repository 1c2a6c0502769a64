"""Changes of tracked connections: one that is translated both ways, and one of IPv6 that nobody translates."""

from __future__ import annotations

from typing import Any

from whodunnet.model.flow_event import FlowEvent
from whodunnet.model.sockets import Endpoint


def translated(port: int, port_after: int, **rest: Any) -> FlowEvent:
    """A pod begins a connection to a Service. Its port, and which one it has for the server."""
    return FlowEvent(
        kind="new",
        family=4,
        protocol="tcp",
        source=Endpoint("10.1.0.2", port),
        destination=Endpoint("10.96.0.1", 80),
        answered_by=Endpoint("10.2.0.2", 8080),
        source_as=Endpoint("10.2.0.1", port_after),
        state="syn-sent",
        **rest,
    )


def as_it_is(protocol: str, port: int | None, to_port: int | None, **rest: Any) -> FlowEvent:
    """What is gone without ever having had a state."""
    source, destination = Endpoint("fd00:1::2", port), Endpoint("fd00:2::2", to_port)
    return FlowEvent(
        kind="gone",
        family=6,
        protocol=protocol,
        source=source,
        destination=destination,
        answered_by=destination,
        source_as=source,
        state="none",
        **rest,
    )
