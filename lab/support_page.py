"""docs/support-matrix.md, from the answers that lab.support has gathered."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import msgspec

from lab.markdown import table
from lab.support_answers import Answer
from lab.support_inside import Machine
from lab.support_rights import RIGHTS, TITLES
from whodunnet.collectors.snapshots import COLLECTORS

COLLECTOR_PAGES = Path(__file__).parent.parent / "docs/collectors"
HEAD = """# Support matrix

Made by `python -m lab.support`, which asked whodunnet itself on each of these machines; not written by hand. Who
changes a page of a collector runs `python -m lab.support --render`.

"""
LEGEND = """
The modes of lockdown are the kernel's own ([kernel_lockdown(7)](https://man7.org/linux/man-pages/man7/kernel_lockdown.7.html)).
What is asked is the same everywhere: a recording of one second, beside a network namespace with a server of root's and
one tracked connection.

- `full`: the collector names no gap.
- `part`: it works in its own way and names what it cannot see.
- `sock_diag`, `counters`: it falls back to that.
- `no`: it has nothing to say, and the rules that need it are *not checked*.
- `-`: it was not asked.

Numbers in brackets are the reasons, in the tool's own words, at the end.
"""
PROGRAMS = """
The kernel takes an object of `bpf/` as a whole or not at all; a program counts once it is also attached, or has run.
"""


class Run(msgspec.Struct, frozen=True):
    """One machine, and of which tree it was asked when."""

    date: str
    version: str
    commit: str
    machine: Machine


class Support(msgspec.Struct):
    """By the name that lab.support gives the machine."""

    runs: dict[str, Run] = {}


class Notes:
    """Reasons, each with its number once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, reasons: tuple[str, ...]) -> str:
        """ " [1] [3]", empty without a reason."""
        return "".join(f" [{self._numbers.setdefault(reason, len(self._numbers) + 1)}]" for reason in reasons)

    def lines(self) -> list[str]:
        return [f"{number}. {reason}" for reason, number in self._numbers.items()]


def page(support: Support) -> str:
    """The whole page."""
    notes = Notes()
    parts = [HEAD + machines(support), LEGEND]
    for rights in RIGHTS:
        parts += [f"\n## {TITLES[rights]}\n\n", capabilities(rights), collectors(support, rights, notes), PROGRAMS]
        parts += ["\n", programs(support, rights, notes), not_checked(support, rights)]
    parts += ["\n## What is lost\n\n", losses(support), "\n## Reasons\n\n", "\n".join(notes.lines()), "\n"]
    return "".join(parts)


def machines(support: Support) -> str:
    rows = [
        [f"**{short(name)}**", run.machine.release, lockdown(run.machine), run.date, f"{run.version} ({run.commit})"]
        for name, run in support.runs.items()
    ]
    return table(["machine", "kernel", "lockdown", "date", "whodunnet"], rows)


def capabilities(rights: str) -> str:
    names = RIGHTS[rights]
    if not names:
        return ""
    return f"Capabilities: {', '.join(f'`CAP_{name.upper()}`' for name in names)}.\n\n"


def collectors(support: Support, rights: str, notes: Notes) -> str:
    rows = [
        [f"[{name}](collectors/{name}.md)"]
        + [cell(run.machine.rights[rights].collectors[name], notes) for run in support.runs.values()]
        for name in COLLECTORS
    ]
    return table(["collector", *map(short, support.runs)], rows)


def cell(answer: Answer, notes: Notes) -> str:
    words = {"fallback": f"{answer.method}", "failed": "no", "unasked": "-"}
    return words.get(answer.outcome, answer.outcome) + notes.mark(answer.reasons)


def programs(support: Support, rights: str, notes: Notes) -> str:
    found = [run.machine.rights[rights].programs for run in support.runs.values()]
    objects = dict.fromkeys(name.partition(".")[0] for programs in found for name in programs)
    rows = [[f"`{name}`"] + [loaded(name, programs, notes) for programs in found] for name in objects]
    return table(["object", *map(short, support.runs)], rows)


def loaded(name: str, programs: dict[str, Answer], notes: Notes) -> str:
    """ "6 of 6", with the reasons of those that are missing."""
    answers = [answer for program, answer in programs.items() if program.startswith(f"{name}.")]
    count = Counter(answer.outcome for answer in answers)["full"]
    reasons = tuple(dict.fromkeys(reason for answer in answers for reason in answer.reasons))
    return f"{count} of {len(answers)}{notes.mark(reasons)}"


def not_checked(support: Support, rights: str) -> str:
    """Machines with the same gaps in one line."""
    gaps: dict[tuple[str, ...], list[str]] = {}
    for name, run in support.runs.items():
        gaps.setdefault(tuple(sorted(run.machine.rights[rights].not_checked)), []).append(short(name))
    lines = [f"- {', '.join(names)}: {', '.join(rules) or 'none'}" for rules, names in gaps.items()]
    return "\nRules that were *not checked*:\n\n" + "\n".join(lines) + "\n"


def losses(support: Support) -> str:
    """Of each collector that is not full somewhere, what its own page says of that."""
    found = [under.collectors for run in support.runs.values() for under in run.machine.rights.values()]
    lacking = [name for name in COLLECTORS if any(c[name].outcome in ("part", "fallback", "failed") for c in found)]
    return "\n".join(f"- [{name}](collectors/{name}.md#needs): {needs(name)}" for name in lacking) + "\n"


def needs(collector: str) -> str:
    """The section of its page, in one line; its links are of another directory, and become text."""
    text = (COLLECTOR_PAGES / f"{collector}.md").read_text(encoding="utf-8")
    section = re.search(r"^## Needs\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section is not None, f"{collector} has no section Needs"
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(section[1].split()))


def short(name: str) -> str:
    """A machine without lockdown is called by its kernel alone."""
    return name.removesuffix(" none")


def lockdown(machine: Machine) -> str:
    found = re.search(r"\[(\w+)\]", machine.lockdown)
    return found[1] if found else "not in this kernel"
