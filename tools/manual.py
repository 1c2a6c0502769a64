"""Writes the manual page, whodunnet.1, from the commands themselves.

python tools/manual.py > whodunnet.1    needs the package to be installed, since the commands are read by importing them
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from whodunnet import __version__
from whodunnet.cli.main import VERBS, whodunnet

ROOT = Path(__file__).resolve().parent.parent
NAME = "who is breaking this Linux or Kubernetes node's network, and how do we know?"
EXIT_STATUS = {
    "0": "Healthy; or, of a command that does not judge, done.",
    "1": "A finding, of the severity given by --fail-on or above.",
    "2": "Could not judge: a required rule was not checked, something could not be read, the command line is wrong, or "
    "the run was interrupted.",
}
FILES = {
    "/etc/whodunnet/config.toml": "Thresholds in place of the rules' own, if it exists.",
    "/proc, /sys/fs/cgroup": "The kernel's counts, limits, processes and control groups.",
    "/sys/kernel/btf/vmlinux": "The kernel's types. Without them no BPF program is loaded, and sockets come from "
    "sock_diag and /proc.",
    "/dev/kmsg, /run/log/journal, /var/log/journal, /var/log": "The kernel log, whichever can be read first.",
    "/run/containerd": "containerd's notes, for the names of containers and pods.",
}
SEE_ALSO = ("ss(8)", "tcp(7)", "proc(5)", "sock_diag(7)", "bpf(2)", "capabilities(7)", "bash(1)", "zsh(1)", "fish(1)")


def page() -> str:
    """The whole page as roff (man macros)."""
    context = click.Context(whodunnet, info_name="whodunnet", help_option_names=["-h", "--help"])
    return "\n".join(_lines(context)) + "\n"


def _lines(context: click.Context) -> Iterator[str]:
    yield f'.TH WHODUNNET 1 "{_date()}" "whodunnet {roff(__version__)}" "User Commands"'
    yield from (".SH NAME", f"whodunnet \\- {roff(NAME)}")
    yield from (".SH SYNOPSIS", ".B whodunnet", roff("[-h|--help] [-V|--version]"))
    for verb, command in _commands(context):
        yield from (".br", f".B whodunnet {roff(verb)}", roff(" ".join(_usage(context, verb, command))))
    yield from (".SH DESCRIPTION", *_prose(whodunnet.help or ""))
    yield from (".SH OPTIONS", *_options(whodunnet, context))
    yield ".SH COMMANDS"
    for verb, command in _commands(context):
        yield from _verb(context, verb, command)
    yield from (".SH EXIT STATUS", *_entries(EXIT_STATUS))
    yield from (".SH FILES", *_entries(FILES))
    yield from (".SH SEE ALSO", ",\n".join(f".BR {roff(name)} ({number}" for name, number in _references()))


def _verb(context: click.Context, verb: str, command: click.Command) -> Iterator[str]:
    yield f'.SS "whodunnet {roff(verb)} {roff(" ".join(_usage(context, verb, command)))}"'
    yield from _prose(command.help or "")
    yield from _options(command, click.Context(command, parent=context, info_name=verb))


def _commands(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Each as it is called; of a verb that is a group, its commands."""
    for verb in sorted(VERBS):
        command = whodunnet.get_command(context, verb)
        assert command is not None
        inner = command.commands if isinstance(command, click.Group) else {}
        yield from ((f"{verb} {name}", inner[name]) for name in inner if not inner[name].hidden)
        if not inner:
            yield verb, command


def _usage(context: click.Context, verb: str, command: click.Command) -> list[str]:
    """The pieces of its usage line."""
    return command.collect_usage_pieces(click.Context(command, parent=context, info_name=verb))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record and (command is whodunnet or "--help" not in parameter.opts):
            yield from (".TP", f".B {roff(record[0])}", roff(record[1]))


def _entries(entries: dict[str, str]) -> Iterator[str]:
    for term, text in entries.items():
        yield from (".TP", f".B {roff(term)}", roff(text))


def _prose(text: str) -> Iterator[str]:
    """Paragraphs; one that click is told not to wrap (\\b) keeps its lines."""
    for position, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if position:
            yield ".PP"
        if "\b" in paragraph:
            yield from (".nf", *map(roff, paragraph.partition("\b")[2].strip("\n").splitlines()), ".fi")
        else:
            yield roff(" ".join(paragraph.split()))


def roff(text: str) -> str:
    """Text that roff prints as it is: no escape, no hyphen that may be a dash, no line that is a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("`", "\\(ga")
    escaped = escaped.replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    escaped = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in escaped)
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


def _references() -> Iterator[tuple[str, str]]:
    for reference in SEE_ALSO:
        name, _, number = reference.partition("(")
        yield name, number


def _date() -> str:
    """When this version came out, as the change log says; empty before that."""
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(rf"^## \[{re.escape(__version__)}\].*?(\d{{4}}-\d\d-\d\d)$", log, re.MULTILINE)
    return found[1] if found else ""


if __name__ == "__main__":
    sys.stdout.write(page())
