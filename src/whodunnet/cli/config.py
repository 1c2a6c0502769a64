"""The option --config and the file that is read without it: thresholds that a user sets."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

import click

from whodunnet.errors import UsageError
from whodunnet.model.text import clean
from whodunnet.rules.overrides import NONE, Overrides, parse_overrides

DEFAULT: Final = Path("/etc/whodunnet/config.toml")
"""Of the file system that whodunnet itself runs in, also where it judges a node from within a container."""
LIMIT_BYTES: Final = 64 << 10
"""Every threshold there is takes a third of it. Of a long line the parser makes a key whose parts take it minutes."""
LINE_BYTES: Final = 1000
HELP: Final = f"Thresholds in place of the rules' own.  [default: {DEFAULT}, if it exists]"


class ConfigFile(click.ParamType[Overrides]):
    """Read when the command line is: a wrong file is said before the window, not after it."""

    name = "file"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Overrides:  # noqa: ARG002
        return value if isinstance(value, Overrides) else read_config(Path(str(value)))


def configured(_context: click.Context, _parameter: click.Parameter, given: Overrides | None) -> Overrides:
    """What --config says, else the default file; there need not be one."""
    if given is not None:
        return given
    if DEFAULT.is_fifo():
        raise UsageError(f"{DEFAULT} is a pipe, and nobody asked for one: give it with --config")
    try:
        return read_config(DEFAULT)
    except FileNotFoundError:
        return NONE


def read_config(path: Path) -> Overrides:
    """Thresholds of a file. Raises UsageError; FileNotFoundError if there is none."""
    source = clean(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
        if len(data) > LIMIT_BYTES:
            raise UsageError(f"{source} is longer than {LIMIT_BYTES >> 10} KiB, and so no configuration")
        if max(map(len, data.splitlines()), default=0) > LINE_BYTES:
            raise UsageError(f"{source} has a line of more than {LINE_BYTES:,} bytes, and so is no configuration")
        return parse_overrides(tomllib.loads(data.decode()), source)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, a number or nesting beyond Python's bounds
        raise UsageError(f"{source} is not understood: {clean(str(error))}") from error


config_option = click.option("--config", type=ConfigFile(), callback=configured, metavar="FILE", help=HELP)
"""For every command that judges."""
