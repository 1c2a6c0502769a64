"""`python -m lab.support_programs`: load every BPF object, attach or run each of its programs, and say how it went.

One JSON document: "object.program" -> Answer.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec

from lab.support_answers import Answer
from whodunnet.errors import UnreadableError
from whodunnet.kernel.bpf.objects import BpfObject
from whodunnet.kernel.host import find_place
from whodunnet.kernel.support import Support, read_support

SOURCES = Path(__file__).parent.parent / "bpf"
PROGRAM = re.compile(r'^SEC\("([^"]+)"\)\nint (?:BPF_PROG\()?(\w+)', re.MULTILINE)
HERTZ = 250


def programs() -> dict[str, dict[str, str]]:
    """Object -> program -> the section that says what it is attached to."""
    found = {}
    for source in sorted(SOURCES.glob("*.bpf.c")):
        text = source.read_text(encoding="utf-8")
        found[source.name.removesuffix(".bpf.c")] = {name: section for section, name in PROGRAM.findall(text)}
    return found


def try_object(name: str, sections: dict[str, str], support: Support) -> dict[str, Answer]:
    """A kernel takes an object as a whole or not at all; then each program goes where it belongs, or does not."""
    try:
        loaded = BpfObject(name, support)
    except UnreadableError as error:
        return {f"{name}.{program}": Answer("failed", (str(error),)) for program in sections}
    try:
        return {f"{name}.{program}": try_program(loaded, program, section) for program, section in sections.items()}
    finally:
        loaded.close()


def try_program(loaded: BpfObject, program: str, section: str) -> Answer:
    try:
        if section == "perf_event":
            loaded.attach_clock(program, 0, HERTZ)
        elif section == "raw_tp":
            loaded.run(program)
        elif section.startswith("iter/"):
            loaded.iterate(program)
        else:
            loaded.attach(program)
    except UnreadableError as error:
        return Answer("failed", (str(error),))
    return Answer("full")


def main() -> None:
    support = read_support(find_place().roots)
    found: dict[str, Answer] = {}
    for name, sections in programs().items():
        found |= try_object(name, sections, support)
    sys.stdout.write(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
