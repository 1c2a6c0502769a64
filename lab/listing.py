"""The cases for a person, and as JSON: what each is about, and whether it can be made real here."""

from __future__ import annotations

import json
import shutil
import sys
from textwrap import fill
from typing import Any

from lab.catalogue import find, names
from lab.needs import how_to_get, missing, needs

HEADINGS = (("fault", "Faults"), ("look-alike", "Look-alikes: healthy, or not what they resemble"), (None, "Not here"))
PIPED_WIDTH = 120
UNDECIDABLE = "one machine cannot decide it: it may be told or not, and nobody innocent may be blamed"


def entries() -> list[dict[str, Any]]:
    """kind is null where this Python is without what the case imports."""
    return [entry(name) for name in names()]


def entry(name: str) -> dict[str, Any]:
    try:
        kind = find(name)
    except ModuleNotFoundError as error:
        return not_here(name, (error.name or "").lstrip("_"))
    needed = needs(kind)
    return {
        "name": name,
        "kind": kind.kind,
        "about": about(kind().story),
        "changes_machine": kind.changes_global,
        "undecidable": kind.undecidable,
        "needs": sorted(needed),
        "missing": sorted(missing(needed)),
    }


def not_here(name: str, module: str) -> dict[str, Any]:
    unknown = {"kind": None, "about": "", "changes_machine": None, "undecidable": None}
    return {"name": name, **unknown, "needs": [module], "missing": [module]}


def about(story: str) -> str:
    """Its first paragraph, in one line."""
    return " ".join(story.partition("\n\n")[0].split())


def as_json() -> str:
    return json.dumps({"schema": "whodunnet/lab/v1", "cases": entries()}, indent=2)


def as_text() -> str:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH
    listed = entries()
    indent = " " * (max(len(case["name"]) for case in listed) + 4)
    lines = []
    for kind, heading in HEADINGS:
        of_kind = [case for case in listed if case["kind"] == kind]
        if of_kind:
            lines += ["", heading]
        for case in of_kind:
            begin, *rest = [fill(text, width, initial_indent=indent, subsequent_indent=indent) for text in said(case)]
            lines += [f"  {case['name']}{begin[len(case['name']) + 2 :]}", *rest]
    return "\n".join(lines[1:])


def said(case: dict[str, Any]) -> list[str]:
    said = [case["about"]] if case["about"] else []
    if case["changes_machine"]:
        said.append("changes the whole machine for a while: --allow-global")
    if case["undecidable"]:
        said.append(UNDECIDABLE)
    if case["missing"]:
        said.append(f"needs {how_to_get(case['missing'])}")
    return said
