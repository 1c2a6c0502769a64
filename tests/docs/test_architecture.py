"""docs/architecture.md and docs/decisions against the tree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from .pages import DOCS, ROOT, SOURCE, code_of, headings, project, rows, section, text_of

NO_ROOMS = {"pages", "__pycache__"}  # what the build puts there
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
TWO_PAGES_WORDS = 1400


def rooms() -> dict[str, set[str]]:
    """Room -> what it may import, as the page says."""
    table = rows(section(text_of("docs/architecture.md"), "Rooms and imports"))
    every = {row[0].strip("`") for row in table} | {"errors"}
    allowed: dict[str, set[str]] = {}
    for name, _, may in table:
        words = set(code_of(may)) | {"errors"}
        allowed[name.strip("`")] = every - words | {"errors"} if may.startswith("all but") else words
        if may == "all":
            allowed[name.strip("`")] = every
    return allowed


def test_the_rooms_are_the_directories_of_the_package() -> None:
    assert set(rooms()) == {path.name for path in SOURCE.iterdir() if path.is_dir()} - NO_ROOMS


@pytest.mark.parametrize("room", list(rooms()))
def test_a_room_imports_what_the_page_allows(room: str) -> None:
    for path in (SOURCE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("whodunnet."):
                other = str(node.module).split(".")[1]
                assert other in rooms()[room] | {room}, f"{path.name} imports {node.module}"


def test_the_drawing_has_every_step() -> None:
    page = text_of("docs/architecture.md")
    steps = ("kernel", "collectors", "recording", "rules", "diagnosis", "report", "attribution")
    drawing = page.partition("```")[2].partition("```")[0]
    assert not [step for step in steps if step not in drawing]


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_a_page_that_everybody_reads_is_short(name: str) -> None:
    assert len(re.findall(r"\w+", text_of(name))) <= TWO_PAGES_WORDS


def test_every_dependency_has_a_decision() -> None:
    settings = project()
    wanted = {re.split(r"\W", d)[0] for d in settings["project"]["dependencies"] + settings["build-system"]["requires"]}
    titles = " ".join(headings(path.read_text(encoding="utf-8"))[0] for path in DECISIONS)
    assert not [name for name in wanted if name not in titles]


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_its_four_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Rejected", "Consequence"]
    assert text.startswith(f"# {page.stem[:4]} ")


def test_decisions_are_numbered_and_listed() -> None:
    assert [int(page.stem[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    table = [row[0] for row in rows(text_of("docs/decisions/README.md"))]
    assert table == [f"[{page.stem[:4]}]({page.name})" for page in DECISIONS]


def test_the_contributing_page_names_the_tool_that_keeps_every_layer() -> None:
    assert "import-linter" in text_of("docs/architecture.md")
    assert {"layers", "forbidden"} == {c["type"] for c in project()["tool"]["importlinter"]["contracts"]}


def test_ci_runs_lint_and_the_tests() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert {"lint", "test"} <= set(re.findall(r"^make ([a-z-]+)$", script, re.MULTILINE))
