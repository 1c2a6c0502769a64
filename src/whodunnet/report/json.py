"""The diagnosis as one JSON document (schema whodunnet/diagnosis/v1)."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import Any

import msgspec

from whodunnet.model.diagnosis import Diagnosis
from whodunnet.report.quantity import utc

_SURROGATE = re.compile("[\ud800-\udfff]")


def render_json(diagnosis: Diagnosis) -> str:
    """Keys in the order of the contract, times in UTC, unknown as null."""
    return encode(diagnosis)


def encode(document: object) -> str:
    """Any model value as indented JSON in ASCII: it survives every locale, and no control character is printed raw."""
    plain = _plain(msgspec.to_builtins(document, builtin_types=(datetime,)))
    text = json.dumps(plain, allow_nan=False).replace("\x7f", "\\u007f")
    return msgspec.json.format(text, indent=2)  # three times as fast as the indentation of json.dumps


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {_plain(str(k)): _plain(v) for k, v in value.items()}
        case list() | tuple():
            return [_plain(v) for v in value]
        case datetime():
            return utc(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case float():
            return _rounded(value)
        case str():
            return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
        case _:
            return value


def _rounded(value: float) -> float | None:
    """Six decimals (a microsecond, a byte of a MiB), six digits below a thousandth; not a number is unknown."""
    if not math.isfinite(value):
        return None
    return round(value, 6) if abs(value) >= 1e-3 else float(f"{value:.6g}")
