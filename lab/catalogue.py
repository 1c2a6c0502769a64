"""All cases, by name."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import lab.faults
from lab.case import Case


def names() -> list[str]:
    return sorted(module.name.replace("_", "-") for module in iter_modules(lab.faults.__path__))


def find(name: str) -> type[Case]:
    """The one class in lab/faults/<name>.py that is a case."""
    module = import_module(f"lab.faults.{name.replace('-', '_')}")
    return next(
        thing
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Case) and thing.__module__ == module.__name__
    )
