"""The forms of errors and the kinds of faults as data: messages.toml and kinds.toml, checked while they are read."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from whodunnet.rules.catalogue import catalogue

Scope = Literal["flow", "owner", "node"]
SCOPES: tuple[Scope, ...] = ("flow", "owner", "node")

_NUMBER = (
    r"(?:(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)|\[[0-9a-f:.]{2,45}(?:%[\w.-]{1,15})?\]"
    r"|(?<![\w:.])(?=[0-9a-f:.]{2,45})[0-9a-f]{0,4}:[0-9a-f:.]{1,44}(?:%[\w-]{1,15})?)"
)
_HOST = r"(?<![\w.-])\w[\w.-]{0,252}(?<![.-])"
_PORT = r"(?<!\d)\d{1,5}(?!\d)"
_AFTER = r"(?:\[[^\]\s\[]{2,60}\]|[\w.:%-]{1,253}):\d{1,5}(?!\w|:\d)"
_END = rf"(?<![\w.:%\[-]){_AFTER}"  # not within a word: each is tried once, however long it is
_PARTS = {"{number}": _NUMBER, "{host}": _HOST, "{port}": _PORT, "{end}": _END, "{end_after}": _AFTER}


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to look next: plain words and a command, with {values} of the error in it."""

    do: str
    command: str


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of fault, in plain words, and the rules that could have made it, by scope (kinds.toml)."""

    means: str
    flow: tuple[str, ...]
    owner: tuple[str, ...]
    node: tuple[str, ...]
    next: tuple[Step, ...]

    @property
    def rules(self) -> tuple[str, ...]:
        """Each once, the likeliest first."""
        named = (*self.flow, *self.owner, *self.node)
        return tuple(dict.fromkeys(name.partition("/")[0] for name in named))

    @property
    def exact(self) -> tuple[str, ...]:
        """Those without whose answer nothing is judged: of one connection, or else of the node."""
        found = tuple(dict.fromkeys(name.partition("/")[0] for name in self.flow if "/" not in name))
        return found or self.rules

    def scope(self, rule: str, shape: str | None) -> Scope | None:
        """How far a finding reaches; None if it makes no such error. A shape goes before its rule."""
        for name in (f"{rule}/{shape}", rule):
            for scope in SCOPES:
                if name in getattr(self, scope):
                    return scope
        return None


class Kinds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """elsewhere: steps if an end is not on this node. longer: if nothing was seen. without_kind: rules of no error.

    at_destination: rules that judge whoever listens there, and so only what is on this node.
    """

    elsewhere: tuple[Step, ...]
    longer: tuple[Step, ...]
    without_kind: tuple[str, ...]
    at_destination: tuple[str, ...]
    kinds: dict[str, Kind]


class Form(msgspec.Struct, frozen=True):
    """One way in which a product writes a kind of fault."""

    product: str
    kind: str
    pattern: re.Pattern[str]


class Forms(msgspec.Struct, frozen=True):
    """All patterns, compiled, in the order in which they are tried."""

    forms: tuple[Form, ...]
    places: tuple[re.Pattern[str], ...]
    names: tuple[re.Pattern[str], ...]
    products: tuple[tuple[str, re.Pattern[str]], ...]


class _Raw(msgspec.Struct, forbid_unknown_fields=True):
    forms: tuple[tuple[str, str, str], ...]
    places: tuple[str, ...]
    names: tuple[str, ...]
    products: tuple[tuple[str, str], ...]


@cache
def kinds() -> Kinds:
    """Every kind by its id."""
    return msgspec.convert(_read("kinds.toml"), Kinds)


@cache
def any_kind() -> Kind:
    """What stands for an error that nobody told: every rule, once, by owner wherever a kind has it by flow or owner."""
    every = kinds().kinds.values()
    owner = dict.fromkeys(name for kind in every for name in (*kind.flow, *kind.owner))
    node = dict.fromkeys(name for kind in every for name in kind.node if name not in owner)
    named = {name.partition("/")[0] for name in (*owner, *node)}
    rest = [rule for rule in catalogue() if rule not in named]
    means = "no error was given: whatever concerns it is looked for"
    return Kind(means=means, flow=(), owner=(*owner, *rest), node=(*node,), next=())


@cache
def forms() -> Forms:
    """Every form, place, name and product."""
    raw = msgspec.convert(_read("messages.toml"), _Raw)
    return Forms(
        forms=tuple(Form(product, kind, compiled(pattern)) for product, kind, pattern in raw.forms),
        places=tuple(map(compiled, raw.places)),
        names=tuple(map(compiled, raw.names)),
        products=tuple((product, compiled(pattern)) for product, pattern in raw.products),
    )


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of messages.toml with its words in braces filled in."""
    for word, part in _PARTS.items():
        pattern = pattern.replace(word, part)
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE | re.ASCII)


def _read(name: str) -> dict[str, object]:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
