"""The command whodunnet: one verb a file, loaded when it is called."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from whodunnet import __version__
from whodunnet.errors import RecordingError, UsageError, WhodunnetError
from whodunnet.model.text import clean

VERBS = {
    "compare": "Show what changed between two recordings, or two moments of one.",
    "connections": "Show who connected to whom, how long that took, and how it ended.",
    "conntrack": "Show who opened the connections that this node tracks, or watch them come and go.",
    "completion": "Print the script by which a shell completes commands and options.",
    "diagnose": "Watch this node for a moment and say who is breaking its network.",
    "explain": "Show the page of one rule.",
    "plot": "Draw who had how much over the time of a recording.",
    "record": "Keep what this node shows, to judge it later or elsewhere.",
    "replay": "Judge a recording.",
    "lab": "Make a fault real on this machine, and see what whodunnet says about it.",
    "list": "List rules and collectors, what each needs, and whether it can run here.",
    "schema": "Print the JSON Schema of what the other commands print.",
    "stalls": "Show each time that received packets wait for a CPU, and who holds it meanwhile.",
    "sockets": "Show who owns the sockets of this node and what they hold.",
    "why": "Say what on this node explains an error, a pod's or an endpoint's trouble.",
}
EXIT_UNJUDGED = 2
INTERRUPTED = "interrupted before there was an answer"
TRACEBACK = "WHODUNNET_TRACEBACK"
"""In the environment as 1: an error of whodunnet itself is raised as it is, for who mends it."""
OF_NO_MEMORY = (
    (ImportError, "failed to map"),
    (ImportError, "annot allocate memory"),
    (ImportError, "Out of memory"),
    (SystemError, "without exception set"),
    (SystemError, "without setting an exception"),
)


class ReaderGoneError(Exception):
    """Whoever reads our output has seen enough."""


class Verbs(click.Group):
    """Imports a verb's module only when that verb is called, so that --version costs nothing."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click would end with 1, which means a finding
            raise ReaderGoneError from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = import_module(f"whodunnet.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(VERBS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        verbs = [CompletionItem(name, help=text) for name, text in sorted(VERBS.items()) if name.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        is_verb = bool(args) and not args[0].startswith("-")
        if is_verb and args[0] not in VERBS and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no command {args[0]!r}; there are: {', '.join(sorted(VERBS))}")
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="whodunnet %(version)s")
def whodunnet() -> None:
    """Who is breaking this node's network, and how do we know?

    Reads what the kernel already counts, names the process, container and pod behind it, and says what was ruled out
    and what could not be checked. Changes nothing on the node. Exit status: 0 healthy, 1 finding, 2 could not judge.
    """


def run() -> None:
    """Every failure is one sentence on standard error and exit status 2. Raises MemoryError, which whodunnet.cli.start
    answers: nothing is unwound then that could fail in its turn."""
    try:
        raise SystemExit(whodunnet(standalone_mode=False))
    except (click.Abort, KeyboardInterrupt):
        _stop(INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as help_text:
        click.echo(help_text.format_message())
        raise SystemExit(EXIT_UNJUDGED) from None
    except click.NoSuchOption as error:
        options = [name for p in error.ctx.command.params for name in p.opts] if error.ctx else []
        _stop(f"there is no option {error.option_name}; there are: {', '.join([*options, '--help'])}")
    except click.ClickException as error:
        _stop(error.format_message())
    except ReaderGoneError:  # do not let the interpreter complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_UNJUDGED) from None
    except (UsageError, RecordingError) as error:
        _stop(str(error))
    except WhodunnetError as error:
        _stop(f"cannot judge this node: {error}")
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from None
        _stop(f"{error.filename or 'output'}: {error.strerror}")
    except Exception as error:  # Python's own exit status would be 1, which means a finding
        if _is_out_of_memory(error):
            raise MemoryError from None
        if isinstance(error.__cause__, KeyboardInterrupt):  # before 3.12 Python so wraps what __set_name__ raises
            click.echo(err=True)  # below the key that was pressed, as click does it for one that is not wrapped
            _stop(INTERRUPTED)
        if os.environ.get(TRACEBACK) == "1":
            raise
        _stop(_own_fault(error))


def _is_out_of_memory(error: Exception) -> bool:
    """Also where it shows as a module that cannot be loaded, or as Python's own confusion: in their words."""
    if isinstance(error, MemoryError):
        return True
    for kind, words in OF_NO_MEMORY:  # noqa: SIM110 - Python complains of a generator that it has no memory to run
        if type(error) is kind and words in str(error):
            return True
    return False


def _own_fault(error: Exception) -> str:
    """The sentence for what should not happen."""
    what = clean(f"{type(error).__name__}: {error}")
    return f"an error of whodunnet itself: {what}; please report it, with the recording or the output of whodunnet list"


def _stop(text: str) -> None:
    with suppress(OSError):  # nobody can be told where standard error is full or gone
        click.echo(f"whodunnet: {text}", err=True)
    raise SystemExit(EXIT_UNJUDGED)
