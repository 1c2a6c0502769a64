"""A recording with a few values replaced: bytes alone would seldom be JSON, and hardly ever a snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

VALUES: Final[tuple[Any, ...]] = (
    0, 1, -1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.0, 0.1, -0.5, 1e15, 1e308, 5e-324, None, True, False, "",
    "x", "x" * 5000, "\u202e\x1b[31m", "\x00", "::1", "255.255.255.255", "999.1.1.1", "1" * 64,
    "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", [], {}, [0],
    "established", "tcp", "10.0.0.1",
)  # fmt: skip
_EDIT_BYTES: Final = 3
_ROOMS: Final = 65_536


def edited(lines: list[bytes], edits: bytes) -> bytes:
    """The lines with values replaced: each edit is a place, in two bytes, and the number of a value or a neighbour."""
    values = [json.loads(line) for line in lines]
    for at in range(0, len(edits) - _EDIT_BYTES + 1, _EDIT_BYTES):
        places = list(_places(values))
        holder, key = places[int.from_bytes(edits[at : at + 2], "big") * len(places) // _ROOMS]
        chosen = edits[at + 2]
        if chosen < len(VALUES):
            holder[key] = VALUES[chosen]
        elif chosen % 2:
            other, name = places[chosen * len(places) // 256]
            holder[key] = None if isinstance(other[name], dict | list) else other[name]
        elif isinstance(holder, dict):
            del holder[key]
        else:
            holder.append(deepcopy(holder[key]))
    return b"\n".join(json.dumps(value).encode() for value in values) + b"\n"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place that a value could stand in, outer ones first. Of what comes often, the first few."""
    keys = list(value) if isinstance(value, dict) else range(min(len(value), 8))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
