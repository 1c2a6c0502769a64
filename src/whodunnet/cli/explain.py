"""whodunnet explain: a rule's page in the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from whodunnet.cli.rule import complete_rule
from whodunnet.errors import UsageError
from whodunnet.rules.catalogue import catalogue

PAGES = Path(__file__).parent.with_name("pages")


@click.command()
@click.argument("rule", metavar="RULE", shell_complete=complete_rule)
def command(rule: str) -> None:
    """Show the page of one rule: what it claims, reads and compares, and how to repeat it by hand."""
    if rule not in catalogue():
        raise UsageError(f"there is no rule {rule!r}; there are: {', '.join(catalogue())}")
    from whodunnet.report.console import make_console
    from whodunnet.report.page import render_page

    render_page(PAGES.joinpath(f"{rule}.md").read_text(encoding="utf-8"), make_console())
