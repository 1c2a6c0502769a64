"""whodunnet lab: make a fault real on this machine, and see what whodunnet says about it.

The lab itself is no part of the package, which starts no programs: this verb finds it and becomes it.
"""

from __future__ import annotations

import mmap
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NoReturn

import click
import msgspec

from whodunnet.cli.judging import show as show_diagnosis
from whodunnet.errors import UsageError
from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.text import clean

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "lab_files", PACKAGE / "lab.zip", PACKAGE.parents[1])
"""Of the wheel, of the bundle, of a checkout."""
CASES = "lab/faults"


class Verbs(click.Group):
    """Its unknown commands are answered as those of whodunnet itself."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands and not ctx.resilient_parsing:
            known = [name for name, command in sorted(self.commands.items()) if not command.hidden]
            raise click.UsageError(f"there is no command 'lab {args[0]}'; there are: {', '.join(known)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs)
def command() -> None:
    """Make a fault real on this machine, and see what whodunnet says about it."""


@command.command("list")
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output."
)
def list_command(form: str) -> None:
    """List the faults and look-alikes of the lab, and what each needs that is not here.

    Exit status: 0, or 2 if the lab is not here.
    """
    become(lab(), "list", "--format", form)


def complete_fault(_context: click.Context, _parameter: click.Parameter, begin: str) -> list[str]:
    """Cases that begin so, for the shell."""
    place = found()
    return [name for name in names(place) if name.startswith(begin)] if place else []


@command.command("run")
@click.argument("fault", metavar="FAULT", shell_complete=complete_fault)
@click.option("--keep", is_flag=True, help="Let the fault stay after the diagnosis, until Ctrl-C or Enter.")
@click.option(
    "--allow-global", is_flag=True, help="Allow a case that changes a limit of the whole machine for a while."
)
def run_command(fault: str, keep: bool, allow_global: bool) -> None:
    """Make FAULT real in namespaces of its own, diagnose it, say whether that was right, and clean up.

    Needs root. Everything that was made is gone afterwards, also after Ctrl-C or TERM. Exit status: 0 the diagnosis was
    right, 1 it was wrong, 2 there was none to judge.
    """
    place = lab()
    known = names(place)
    if fault not in known:
        near = [name for name in known if fault in name][:3] or get_close_matches(fault, known, 3, 0.5)
        meant = f"; near: {', '.join(near)}" if near else ""
        raise UsageError(f"there is no {fault!r} in the lab{meant}; whodunnet lab list shows all")
    options = [word for word, wanted in (("--keep", keep), ("--allow-global", allow_global)) if wanted]
    become(place, "run", *options, "--", fault)


@command.command("show", hidden=True)
def show_command() -> None:
    """Print a diagnosis, as JSON on standard input, as diagnose prints it."""
    diagnosis = parse_diagnosis(sys.stdin.buffer.read())
    show_diagnosis(diagnosis, "text", False, mmap.PAGESIZE, is_finding=False)


def parse_diagnosis(data: bytes) -> Diagnosis:
    """As diagnose --format json prints it. Raises UsageError."""
    from whodunnet.report.json import render_json

    try:
        diagnosis = msgspec.json.decode(data, type=Diagnosis)
        render_json(diagnosis)  # not every time that can be read can be told in UTC
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise UsageError(f"standard input should be a diagnosis in JSON: {clean(str(error))}") from error
    return diagnosis


def found() -> Path | None:
    """The directory or archive in which the package `lab` is."""
    return next((place for place in PLACES if names(place)), None)


def lab() -> Path:
    """Raises UsageError."""
    place = found()
    if place is None:
        raise UsageError("the lab is not in this installation: it comes with the wheel, the bundle and the sources")
    return place


def names(place: Path) -> list[str]:
    """Of all cases there; none if it is no place of the lab."""
    return sorted(module.name.replace("_", "-") for module in iter_modules([str(place / CASES)]))


def become(place: Path, *arguments: str) -> NoReturn:
    words, home = interpreter()
    environment = {**os.environ, **home, "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(place), os.environ.get("PYTHONPATH"))))
    environment["WHODUNNET"] = shlex.join(myself(words, os.environ))
    environment["LAB_PYTHON"] = shlex.join(["env", *(f"{k}={v}" for k, v in home.items()), *words] if home else words)
    sys.stdout.flush()
    os.execve(words[0], [*words, "-P", "-m", "lab.demo", *arguments], environment)


def interpreter() -> tuple[list[str], dict[str, str]]:
    """How this Python is started, and the variables that it needs for it: see tools/launcher.c for the bundle's."""
    if not re.fullmatch(r"/proc/self/fd/\d+", sys.prefix):
        return [sys.executable], {}
    loader = [f"{sys.prefix}/bin/whodunnet", "--inhibit-cache", "--library-path", f"{sys.prefix}/lib"]
    return [*loader, f"{sys.prefix}/bin/python", "-BPS", "-Xutf8"], {"PYTHONHOME": sys.prefix}


def myself(python: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command by which the lab calls this very whodunnet."""
    if bundle := environment.get("WHODUNNET_BUNDLE"):
        return [bundle]
    program = shutil.which(sys.argv[0])
    return [os.path.abspath(program)] if program else [*python, "-P", "-m", "whodunnet"]  # noqa: PTH100 - keeps a link's name
