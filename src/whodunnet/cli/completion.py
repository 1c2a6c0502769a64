"""whodunnet completion: the script by which a shell completes commands, options and values."""

from __future__ import annotations

import re

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", metavar="SHELL", type=click.Choice(tuple(SHELLS)))
def command(shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and values: bash, zsh or fish.

    \b
    For this shell only, or for all when written into its configuration:
      bash  source <(whodunnet completion bash)              # ~/.bashrc
      zsh   source <(whodunnet completion zsh)               # ~/.zshrc, after compinit
      fish  whodunnet completion fish | source               # ~/.config/fish/config.fish

    Exit status: 0.
    """
    root = click.get_current_context().find_root()
    click.echo(script(shell, root.command, root.info_name or ""), nl=False)


def script(shell: str, cli: click.Command, program: str) -> str:
    """The script for a program as it was called; a name that no shell could call is the usual one."""
    name = program if re.fullmatch(r"\w[\w.-]*", program, re.ASCII) else "whodunnet"
    variable = f"_{re.sub('[.-]', '_', name)}_COMPLETE".upper()
    # click's own for bash would start a bash to ask for its version first; ours starts nothing.
    return ShellComplete.source(SHELLS[shell](cli, {}, name, variable))
