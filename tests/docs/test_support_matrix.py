"""docs/support-matrix.md is what lab.support has written, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from whodunnet.collectors.snapshots import COLLECTORS

from .pages import ROOT, headings, rows, section, text_of

PAGE = "docs/support-matrix.md"
MADE = "import msgspec, sys; from lab.support import DOCUMENT, page, read; sys.stdout.write(page(read(DOCUMENT)))"
RIGHTS = (
    "Root",
    "An ordinary user with the seven capabilities",
    "An ordinary user with CAP_BPF and CAP_PERFMON alone",
    "An ordinary user without any",
)


def test_the_page_says_how_it_was_made() -> None:
    head = text_of(PAGE).partition("\n## ")[0]
    assert "Made by `python -m lab.support`" in head
    assert "not written by hand" in head


def test_the_page_is_the_one_that_is_made_from_the_answers_beside_it() -> None:
    made = subprocess.run([sys.executable, "-c", MADE], check=False, capture_output=True, text=True, cwd=ROOT)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == text_of(PAGE), "run python -m lab.support --render"


def test_every_machine_is_there_with_its_kernel_and_lockdown() -> None:
    machines = rows(text_of(PAGE).partition("\n## ")[0])
    assert {row[0].strip("*") for row in machines} == {
        "host", *(f"{kernel}{mode}" for kernel in ("6.1", "6.12") for mode in ("", " integrity", " confidentiality"))
    }  # fmt: skip
    for name, kernel, mode, *_ in machines:
        wanted = name.strip("*").split()
        if wanted != ["host"]:
            assert kernel.startswith(f"{wanted[0]}.")
            assert mode == (wanted[1] if wanted[1:] else "none")


@pytest.mark.parametrize("rights", RIGHTS)
def test_every_collector_has_an_answer_on_every_machine(rights: str) -> None:
    found = {row[0]: row[1:] for row in rows(section(text_of(PAGE), rights)) if row[0].startswith("[")}
    assert list(found) == [f"[{name}](collectors/{name}.md)" for name in COLLECTORS]
    assert {len(cells) for cells in found.values()} == {7}
    assert all(
        re.match(r"(full|part|no|-|sock_diag|counters)( \[\d+\])*$", c) for cells in found.values() for c in cells
    )


def test_every_number_in_brackets_is_a_reason() -> None:
    text = text_of(PAGE)
    assert headings(text)[-1] == "Reasons"
    told = re.findall(r"^(\d+)\. \S", section(text, "Reasons"), re.MULTILINE)
    tables = "".join(line for line in text.splitlines() if line.startswith("|"))
    assert set(told) == set(re.findall(r"(?<=\[)\d+(?=\])", tables))
