"""Kinds, rules and steps as data: every name in them exists, and every rule has a place."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from string import Formatter

import pytest

from whodunnet.cli.main import VERBS
from whodunnet.rules.catalogue import catalogue
from whodunnet.why.forms import Form, Kind, Step, any_kind, forms, kinds

KIND = pytest.mark.parametrize("kind", kinds().kinds.values(), ids=list(kinds().kinds))
VALUES = {"address", "peer", "port", "end", "source", "server", "name", "text"}
"""What next_steps can fill in."""
HOSTILE = shlex.quote("$(reboot); 'x'")


def steps() -> list[Step]:
    of_kinds = [step for kind in kinds().kinds.values() for step in kind.next]
    return [*of_kinds, *kinds().elsewhere, *kinds().longer]


@KIND
def test_every_rule_and_shape_that_a_kind_names_exists(kind: Kind) -> None:
    for name in (*kind.flow, *kind.owner, *kind.node):
        rule, _, shape = name.partition("/")
        assert rule in catalogue(), f"there is no rule {rule}"
        assert not shape or shape in catalogue()[rule].shapes, f"{rule} has no shape {shape}"


@KIND
def test_a_kind_names_each_rule_and_shape_once(kind: Kind) -> None:
    named = [*kind.flow, *kind.owner, *kind.node]
    assert len(named) == len(set(named))


def test_every_rule_has_a_kind_or_is_said_to_have_none() -> None:
    placed = {rule for kind in kinds().kinds.values() for rule in kind.rules}
    assert not placed & set(kinds().without_kind)
    assert placed | set(kinds().without_kind) == set(catalogue())


def test_every_form_has_a_kind_and_every_kind_a_form() -> None:
    assert {form.kind for form in forms().forms} == set(kinds().kinds)


def test_where_no_error_was_given_every_rule_is_asked() -> None:
    assert set(any_kind().rules) == set(catalogue())


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.command)
def test_a_step_has_only_values_that_are_known(step: Step) -> None:
    for text in (step.do, step.command):
        assert {name for _, name, _, _ in Formatter().parse(text) if name} <= VALUES


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.command)
def test_a_value_stays_one_word_of_the_shell(step: Step) -> None:
    command = step.command.format(**dict.fromkeys(VALUES, HOSTILE))
    bare = step.command.format(**dict.fromkeys(VALUES, "x"))
    assert len(shlex.split(command)) == len(shlex.split(bare))


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.command)
def test_a_step_that_is_a_command_of_ours_is_understood(step: Step) -> None:
    words = shlex.split(step.command)
    if words[0] == "whodunnet":
        assert words[1] in VERBS
        command = import_module(f"whodunnet.cli.{words[1]}").command
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words[2:] if word.startswith("--")} <= known


def test_a_shape_goes_before_its_rule() -> None:
    kind = Kind(means="", flow=("a/here",), owner=(), node=("a", "b"), next=())
    assert [kind.scope("a", "here"), kind.scope("a", "there"), kind.scope("b", None)] == ["flow", "node", "node"]
    assert kind.scope("c", "here") is None
    assert kind.rules == ("a", "b")


def test_what_judges_a_kind_is_what_looks_at_one_connection() -> None:
    assert kinds().kinds["refused"].exact == ("connect-refused",)
    assert kinds().kinds["kernel-table-full"].exact == ("conntrack-table",)
    assert kinds().kinds["own-limit"].exact == ()


@pytest.mark.parametrize("form", forms().forms, ids=lambda form: f"{form.product} {form.kind}")
def test_nothing_is_repeated_without_a_bound(form: Form) -> None:
    """What may be long and comes again and again would make a text slow."""
    pattern = form.pattern.pattern
    assert not re.search(r"(?<!\\)[*+]", re.sub(r"\[[^\]]*\]", "", pattern))
