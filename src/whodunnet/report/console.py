"""The console a report is printed on: colour and width as the terminal has them, plain when there is none."""

from __future__ import annotations

import io
import os
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 100


def make_console(file: IO[str] | None = None) -> Console:
    """COLUMNS and NO_COLOR are respected; a terminal that cannot show a character gets a question mark for it."""
    from rich.console import Console

    class PipedConsole(Console):
        def on_broken_pipe(self) -> None:
            """Rich would end with 1, which means a finding."""
            raise BrokenPipeError

    file = sys.stdout if file is None else file
    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(errors="replace")
    console = PipedConsole(file=file, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdecimal():
        console.width = PIPED_WIDTH
    return console
