"""Every page: links lead somewhere, commands and files exist, and nothing belongs to one machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from whodunnet import __version__
from whodunnet.model.diagnosis import Outcome
from whodunnet.model.finding import Confidence, PartyRole, Severity

from .pages import (
    DOCS,
    ROOT,
    anchor,
    code_of,
    every_page,
    headings,
    make_targets,
    name_of,
    outside_code,
    rows,
    text_of,
)
from .verbs import called_by

PAGES = pytest.mark.parametrize("page", every_page(), ids=name_of)
ROOTS_OF_ANY_MACHINE = {"proc", "sys", "dev", "run", "var", "etc", "host", "tmp"}
PLACEHOLDER = re.compile(r"[A-Z]{2,}|\.\.\.|[*<{]")
TREES = ("src", "tests", "bpf", "docs", "lab", "bench", "tools")


@PAGES
def test_every_link_leads_to_a_page_and_heading_of_the_repository(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", outside_code(page.read_text(encoding="utf-8"))):
        if link.startswith(("https://", "http://")):
            continue
        target, _, heading = link.partition("#")
        place = (page.parent / target).resolve() if target else page
        assert place.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert place.exists(), f"{link} leads nowhere"
        if heading:
            assert heading in map(anchor, headings(place.read_text(encoding="utf-8"))), f"{link}: no such heading"


@PAGES
def test_paths_are_those_of_any_linux_machine(page: Path) -> None:
    text = re.sub(r"\w+://\S+", "", page.read_text(encoding="utf-8"))
    roots = set(re.findall(r"(?<![\w.\-*\])}>…/])/([a-z]+)(?![a-z])", text))
    assert roots <= ROOTS_OF_ANY_MACHINE


@PAGES
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    named = {
        target
        for code in code_of(page.read_text(encoding="utf-8"))
        for target in re.findall(r"(?:^|&& |; )make ([a-z-]+)", code)
    }
    assert named <= make_targets()


@PAGES
def test_every_command_line_that_is_shown_is_understood(page: Path) -> None:
    for code in code_of(page.read_text(encoding="utf-8")):
        for line in re.findall(r"(?:^|[$;&|] ?)whodunnet ([a-z][^#;&|>]*)", code):
            command = called_by(line)
            assert command, f"there is no command {line}"
            known = {option for parameter in command.params for option in parameter.opts} | {"-h", "--help"}
            options = {word.partition("=")[0] for word in line.split() if re.match(r"-[a-z-]", word)}  # -2h is a time
            assert options <= known


@PAGES
def test_every_file_that_is_named_exists(page: Path) -> None:
    for code in code_of(page.read_text(encoding="utf-8")):
        if re.fullmatch(rf"(?:{'|'.join(TREES)})/[\w./-]*", code) and not PLACEHOLDER.search(code):
            assert (ROOT / code).exists(), f"there is no {code}"


def test_the_two_commands_of_the_readme_exist() -> None:
    assert {"diagnose", "test"} <= make_targets()


def test_every_page_below_docs_can_be_reached_from_another() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in every_page()
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    }
    top = {"docs/commands.md", "docs/architecture.md"}  # where a reader comes in
    assert {name_of(p) for p in DOCS.rglob("*.md") if p.name != "README.md" and p.resolve() not in linked} <= top


def test_the_vocabulary_has_every_word_of_a_report_and_is_in_order() -> None:
    table = rows(text_of("docs/vocabulary.md"))
    words, whole = [row[0] for row in table], text_of("docs/vocabulary.md")
    assert words == sorted(words, key=str.lower)
    for kind in (PartyRole, Severity, Confidence, Outcome):
        assert not [word for word in get_args(kind) if word not in whole]


def test_the_changelog_has_this_version() -> None:
    assert f"## [{__version__}]" in text_of("CHANGELOG.md")


def test_the_numbers_of_the_benchmark_have_a_place() -> None:
    assert "make bench" in text_of("docs/overhead.md")
    assert len(headings(text_of("docs/overhead.md"))) == len(set(headings(text_of("docs/overhead.md"))))
