"""The sheet: the only code that prints a report. It cleans, wraps with hanging indents, and never wraps a command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from whodunnet.model.text import clean

if TYPE_CHECKING:
    from rich.console import Console

Part = str | tuple[str, str]
"""A piece of a line: its text, or its text with a rich style."""

WIDEST = 120
_NARROWEST_COLUMN = 24
_LONGEST_PROSE = 4096
_CHUNK = re.compile(r"\S+(?:(?:(?<=\d)|(?<=\d [hd])) [^\s(]\S*)*")  # a number stays with its unit, "3 h 18 min" whole


class Sheet:
    """Lines on one console from one left margin. Whatever is written, is cleaned first."""

    def __init__(self, console: Console, margin: int = 0) -> None:
        self.console = console
        self.width = min(console.width, WIDEST)
        self._margin = margin

    def indented(self, columns: int) -> Sheet:
        """The same sheet with its margin further right."""
        return Sheet(self.console, self._margin + columns)

    def write(self, *parts: Part, lead: Part = "", hang: int = 0) -> None:
        """One paragraph; `lead` stands before its first line, the others start `hang` columns to the right."""
        start = styled(lead)
        if hang:
            start.append(" " * max(hang - start.cell_len, 1 if start.plain else 0))
        room = max(self.width - self._margin - hang, _NARROWEST_COLUMN)
        for line in wrap(styled(*parts), room, self.console):
            self._print(start, line)
            start = Text(" " * hang)

    def heading(self, title: str) -> None:
        """A blank line and a title."""
        self.blank()
        self.write((title, "bold"))

    def command(self, command: str, indent: int = 0) -> None:
        """A shell command alone on its line, whole, ready to copy."""
        line = Text(clean(command, len(command)), style="cyan")
        self._print(Text(" " * indent), line)

    def rule(self) -> None:
        """A line across, between things that have nothing to do with each other."""
        self.blank()
        self.write(("─" * (self.width - self._margin), "dim"))

    def blank(self) -> None:
        self.console.print(Text(""))

    def _print(self, start: Text, line: Text) -> None:
        whole = Text.assemble(" " * self._margin, start, line)
        whole.rstrip()
        self.console.print(whole, soft_wrap=True)


def styled(*parts: Part) -> Text:
    """Cleaned parts as one text; nothing in them is read as markup."""
    text = Text()
    for part in parts:
        content, style = (part, "") if isinstance(part, str) else part
        text.append(clean(content, _LONGEST_PROSE), style=style)
    return text


def wrap(text: Text, room: int, console: Console) -> Iterator[Text]:
    """Lines of at most `room` cells, at least one; a word that is longer than a line is folded."""
    start = end = None
    for chunk in _CHUNK.finditer(text.plain):
        if start is not None and text[start : chunk.end()].cell_len > room:
            yield from _fold(text[start:end], room, console)
            start = None
        start = chunk.start() if start is None else start
        end = chunk.end()
    yield from _fold(text[start:end] if start is not None else Text(""), room, console)


def _fold(line: Text, room: int, console: Console) -> Iterator[Text]:
    if line.cell_len <= room:
        yield line
    else:
        yield from line.wrap(console, room, overflow="fold")
