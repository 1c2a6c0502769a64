"""whodunnet explain: a rule's page in the terminal."""

from __future__ import annotations

from importlib.resources import files

import click

from whodunnet.errors import UsageError
from whodunnet.rules.catalogue import catalogue


@click.command()
@click.argument("rule", metavar="RULE")
def command(rule: str) -> None:
    """Show the page of one rule: what it claims, reads and compares, and how to repeat it by hand."""
    if rule not in catalogue():
        raise UsageError(f"there is no rule {rule!r}; there are: {', '.join(catalogue())}")
    from whodunnet.report.console import make_console
    from whodunnet.report.page import render_page

    render_page((files("whodunnet") / "pages" / f"{rule}.md").read_text(encoding="utf-8"), make_console())
