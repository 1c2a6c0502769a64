"""The page of a rule: typeset on a terminal, the markdown itself when piped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whodunnet.report.layout import WIDEST

if TYPE_CHECKING:
    from rich.console import Console


def render_page(markdown: str, console: Console) -> None:
    """Markdown reads well as it is; links keep their address in both forms."""
    if not console.is_terminal:
        console.out(markdown.rstrip("\n"), highlight=False)
        return
    from rich.markdown import Markdown

    console.print(Markdown(markdown, hyperlinks=False), width=min(console.width, WIDEST))
