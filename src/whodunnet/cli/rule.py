"""Names of rules on the command line."""

from __future__ import annotations

import click

from whodunnet.rules.catalogue import catalogue


def complete_rule(_context: click.Context, _parameter: click.Parameter, begin: str) -> list[str]:
    """Rules that begin so, for the shell."""
    return [rule for rule in catalogue() if rule.startswith(begin)]
