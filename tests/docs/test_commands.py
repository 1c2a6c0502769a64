"""docs/commands.md against the command line."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import click
import pytest

from whodunnet.cli.judging import FINDING, HEALTHY, UNJUDGED
from whodunnet.cli.main import VERBS, whodunnet

from .pages import code_of, headings, rows, section, text_of
from .verbs import commands

PAGE = "docs/commands.md"
VERB = pytest.mark.parametrize("verb", commands())


def command_of(verb: str) -> click.Command:
    return commands()[verb]


def heading_of(verb: str) -> list[str]:
    words = ["whodunnet", *verb.split()]
    return next(h.split() for h in headings(text_of(PAGE)) if h.split()[: len(words)] == words)


def part_of(verb: str) -> str:
    return section(text_of(PAGE), " ".join(heading_of(verb)))


def options_of(command: click.Command) -> list[click.Option]:
    return [p for p in command.params if isinstance(p, click.Option) and "--help" not in p.opts]


@VERB
def test_every_option_is_documented_and_every_documented_option_exists(verb: str) -> None:
    table = [re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row[0]) for row in rows(part_of(verb)) if row[0].startswith("`-")]
    assert {option for row in table for option in row} == {o for p in options_of(command_of(verb)) for o in p.opts}


@VERB
def test_every_choice_and_default_is_documented(verb: str) -> None:
    documented = {row[0]: row for row in rows(part_of(verb))}
    for option in options_of(command_of(verb)):
        row = next(row for name, row in documented.items() if option.opts[0] in name)
        if option.show_default and not option.is_flag and option.name != "form":
            assert str(option.default) == row[1].strip("`")
        for choice in option.type.choices if isinstance(option.type, click.Choice) else ():
            assert f"`{choice}`" in " ".join(row[1:])


@VERB
def test_every_argument_and_exit_status_is_documented(verb: str) -> None:
    arguments = [
        p.make_metavar(click.Context(command_of(verb)))
        for p in command_of(verb).params
        if p.param_type_name == "argument"
    ]
    assert heading_of(verb)[1 + len(verb.split()) :] == arguments
    assert "Exit status:" in part_of(verb)


def test_every_exit_status_of_diagnose_is_explained() -> None:
    table = [row[0] for row in rows(section(text_of(PAGE), "whodunnet diagnose").partition("Exit status:")[2])]
    assert table == [str(status) for status in (HEALTHY, FINDING, UNJUDGED)]


def test_the_options_of_all_commands_are_documented() -> None:
    context = click.Context(whodunnet, help_option_names=["-h", "--help"])
    shown = set(code_of(text_of(PAGE)))
    names = {o for p in whodunnet.get_params(context) for o in p.opts}
    assert names == {"-V", "--version", "-h", "--help"}
    assert not [name for name in names if not any(name in code for code in shown)]


def test_a_verb_is_a_file_of_its_own() -> None:
    assert all(Path(str(import_module(f"whodunnet.cli.{verb}").__file__)).stem == verb for verb in VERBS)
