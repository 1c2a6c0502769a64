"""The table of errors beside this file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple


class Case(NamedTuple):
    """An error and what it says. source, destination: as Side prints them; empty where nobody is named."""

    product: str
    kind: str
    text: str
    source: str = ""
    destination: str = ""
    name: str = ""


CASES = tuple(
    Case(*row) for row in tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["cases"]
)
