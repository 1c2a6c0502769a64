"""docs/lab.md against the cases, and what it says of the pages beside it."""

from __future__ import annotations

import re

import pytest

from lab.catalogue import find, names

from .pages import code_of, rows, section, text_of

PAGE = "docs/lab.md"
QUICK = section(text_of(PAGE), "The quick ones")


@pytest.mark.parametrize(("kind", "title"), [("fault", "Faults"), ("look-alike", "Look-alikes")])
def test_the_quick_cases_are_listed_by_name(kind: str, title: str) -> None:
    item = re.search(rf"^- {title}: (.*?)(?=^- |\Z)", QUICK, re.MULTILINE | re.DOTALL)
    assert item
    assert code_of(item[1]) == [name for name in names() if find(name).quick and find(name).kind == kind]


def test_their_number_is_said() -> None:
    assert "these fifteen" in QUICK
    assert sum(find(name).quick for name in names()) == 15


def test_they_are_run_by_make_test_and_so_by_ci_and_by_make_lab_quick() -> None:
    makefile = text_of("Makefile")
    assert re.search(r"^test:.*\n(?:\t.*\n)*\t.*pytest.* tests/netns\b", makefile, re.MULTILINE)
    assert re.search(r"^lab-quick:.*\n\t.* lab\.board --quick$", makefile, re.MULTILINE)
    assert "\nmake test\n" in text_of(".ci/run")
    assert "CASES = [name for name in names() if find(name).quick]" in text_of("tests/netns/test_faults.py")


def test_what_is_said_of_the_support_matrix_is_so() -> None:
    assert "of which commit each machine's answers are" in " ".join(text_of(PAGE).split())
    machines = rows(text_of("docs/support-matrix.md").partition("\n## ")[0])
    assert machines
    assert all(re.fullmatch(r"\S+ \([0-9a-f]{10,12}(?:\+| with changes)?\)", row[-1]) for row in machines)
    recipe = re.search(r"^support:.*\n((?:\t.*\n)*)", text_of("Makefile"), re.MULTILINE)
    assert recipe
    assert "bundle" not in recipe[0]
