"""Where to look next: the steps of an error's kind, with its addresses and names as single words of a shell."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter

from msgspec.structs import replace

from whodunnet.model.text import clean, shell_quote
from whodunnet.why.flow import Flow
from whodunnet.why.forms import Step, kinds
from whodunnet.why.sides import Side
from whodunnet.why.subject import Subject


def next_steps(subject: Subject, flow: Flow, *, explained: bool) -> Iterator[Step]:
    """Steps whose values are all known. explained: then it is not said where else to look."""
    if explained:
        return
    known = _values(subject)
    templates: list[tuple[Step, dict[str, str]]] = []
    for place in flow.places:
        if place.here is False and place.side.address is not None:
            there = known | {"address": shell_quote(place.side.address)}
            templates += [(step, there) for step in kinds().elsewhere]
    if not flow.is_elsewhere:
        templates += [(step, known) for step in kinds().longer if flow.pairs == () and flow.endpoints]
        templates += [(step, known) for step in subject.kind.next]
    found: dict[str, Step] = {}
    for step, values in templates:
        if _needed(step) <= values.keys():
            filled = replace(step, do=step.do.format(**values), command=step.command.format(**values))
            found.setdefault(filled.command, filled)
    yield from found.values()


def _needed(step: Step) -> set[str]:
    return {name for text in (step.do, step.command) for _, name, _, _ in Formatter().parse(text) if name}


def _values(subject: Subject) -> dict[str, str]:
    """What is known, each value as one word of a shell."""
    values: dict[str, str] = {"text": _arguments(subject)}
    side, source = subject.destination, subject.source
    if side is not None:
        values |= _of_side(side)
    if source is not None and source.address is not None:
        values["source"] = shell_quote(source.address)
    if subject.message is not None and subject.message.name is not None:
        values["name"] = shell_quote(subject.message.name)
    if side is not None and side.address is not None:
        values["server"] = shell_quote(side.address)
    return values


def _of_side(side: Side) -> dict[str, str]:
    values: dict[str, str] = {}
    if side.port is not None:
        values["port"] = str(side.port)
    if side.address is not None:
        values["address"] = shell_quote(side.address)
        values["peer"] = shell_quote(f"[{side.address}]" if ":" in side.address else side.address)
    if side.port is not None and (side.address or side.name):
        values["end"] = shell_quote(str(side))
    return values


def _arguments(subject: Subject) -> str:
    """The same question once more, for a command line."""
    words = []
    if subject.message is not None:
        words += [*(["--"] if subject.message.text.startswith("-") else []), subject.message.text]
    if subject.endpoint is not None:
        words = ["--endpoint", str(subject.endpoint), *words]
    if subject.pod is not None:
        words = ["--pod", str(subject.pod), *words]
    return " ".join(shell_quote(clean(word, 4096)) for word in words)
