"""docs/quiet-hour.md is what lab.quiet has written, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys

from whodunnet.rules.catalogue import catalogue

from .pages import ROOT, rows, text_of

PAGE = "docs/quiet-hour.md"
MADE = (
    "import msgspec, sys; from lab.quiet import DOCUMENT, Quiet, page; "
    "sys.stdout.write(page(msgspec.json.decode(DOCUMENT.read_bytes(), type=Quiet)))"
)


def test_the_page_says_how_it_was_made() -> None:
    head = text_of(PAGE).partition("\n## ")[0]
    assert "Made by `python -m lab.quiet`" in head
    assert "not written by hand" in head


def test_the_page_is_the_one_that_is_made_from_the_numbers_beside_it() -> None:
    made = subprocess.run([sys.executable, "-c", MADE], check=False, capture_output=True, text=True, cwd=ROOT)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == text_of(PAGE), "run python -m lab.quiet --render"


def test_false_findings_are_published_for_an_hour_and_each_by_its_rule() -> None:
    head = text_of(PAGE).partition("\n## ")[0]
    assert re.search(r" in an hour; with 95 % certainty fewer than [0-9.]+\.\*\*", head)
    assert {row[0] for row in rows(head)} <= {f"[{rule}](rules/{rule}.md)" for rule in catalogue()}
