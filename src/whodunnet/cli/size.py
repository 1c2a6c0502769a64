"""The option type for sizes: 200MB, 1GiB."""

from __future__ import annotations

import re

import click

UNITS = {
    "": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
    "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9,
}  # fmt: skip


class Size(click.ParamType[int]):
    """Bytes as an integer; a number without a unit is bytes."""

    name = "size"

    def __init__(self, least_bytes: int) -> None:
        self.least_bytes = least_bytes

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s?([A-Za-z]*)", str(value), re.ASCII)
        if match is None or match[2] not in UNITS:
            self.fail(f"{value!r} is no size; write for example 500MB or 1GiB", param, ctx)
        size = int(float(match[1]) * UNITS[match[2]])
        if size < self.least_bytes:
            self.fail(f"{value!r} is less than a recording needs ({self.least_bytes / 1e6:g}MB)", param, ctx)
        return size
