"""The commands as a user calls them."""

from __future__ import annotations

from importlib import import_module

import click

from whodunnet.cli.main import VERBS


def commands() -> dict[str, click.Command]:
    """By the words behind whodunnet: "diagnose", "lab run"."""
    return {words: command for verb in sorted(VERBS) for words, command in under(verb).items()}


def under(verb: str) -> dict[str, click.Command]:
    """The verb itself, or the commands of one that is a group."""
    command: click.Command = import_module(f"whodunnet.cli.{verb}").command
    if not isinstance(command, click.Group):
        return {verb: command}
    return {f"{verb} {name}": inner for name, inner in command.commands.items() if not inner.hidden}


def called_by(line: str) -> click.Command | None:
    """The command of a line that begins behind whodunnet; None where there is no such command."""
    verb, *words = line.split()
    if verb not in VERBS:
        return None
    command: click.Command = import_module(f"whodunnet.cli.{verb}").command
    if isinstance(command, click.Group) and words:
        return command.commands.get(words[0])
    return command
