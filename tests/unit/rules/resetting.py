"""Connections that are closed in the usual way, cut by their server, or reset after its close."""

from __future__ import annotations

from typing import Any

from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.sockets import Endpoint

from .endings import accepted, initiated
from .tracking import OTHER_POD

RULE = "resets"
TELLING = accepted("late-data", 1, state="time-wait", at=Endpoint(OTHER_POD, 443))
"""A kernel that tells of a reset after a complete close."""


def closed(n: int, seconds: float = 0.01, **other: Any) -> list[ConnectionGroup]:
    """By the server after its answer, as both ends have it."""
    return [initiated("closed-by-peer", {seconds: n}, **other), accepted("closed-here", {seconds: n})]


def cut(n: int, seconds: float = 0.01) -> list[ConnectionGroup]:
    """By the server's process, as both ends have it."""
    return [initiated("reset-received", {seconds: n}), accepted("reset-sent", {seconds: n})]


def early(n: int, seconds: float = 0.0, **other: Any) -> ConnectionGroup:
    """A reset after the server's close."""
    return initiated("reset-received", {seconds: n}, state="close-wait", **other)
