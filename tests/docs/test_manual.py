"""The manual page that tools/manual.py makes, as groff and man read it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from whodunnet import __version__

from .pages import ROOT
from .verbs import commands

SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS", "FILES", "SEE ALSO"]
NEEDS_GROFF = pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("man") / "whodunnet.1"
    path.write_text(output_of(sys.executable, str(ROOT / "tools/manual.py")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def shown(page: Path) -> str:
    """As a reader sees it, on lines so long that none is broken."""
    text = output_of("groff", "-man", "-Tutf8", "-P-cbou", "-rLL=2000n", "-rHY=0", str(page))
    return text.replace("\N{HYPHEN}", "-").replace("\N{MINUS SIGN}", "-")


def output_of(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@NEEDS_GROFF
def test_groff_has_nothing_to_complain_about(page: Path) -> None:
    assert output_of("groff", "-man", "-ww", "-z", "-Tutf8", str(page)) == ""


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_mandoc_misses_nothing_but_the_date_of_an_unreleased_version(page: Path) -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", str(page)], check=False, capture_output=True, text=True
    )
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


def test_its_sections_come_in_the_usual_order(page: Path) -> None:
    assert re.findall(r"^\.SH (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE) == SECTIONS


@NEEDS_GROFF
def test_it_names_its_version_and_every_command_with_all_its_options(shown: str) -> None:
    assert f"whodunnet {__version__}" in shown
    for verb, command in commands().items():
        part = shown.split(f"\n   whodunnet {verb}", 1)[1].split("\n   whodunnet ", 1)[0]
        for option in (p for p in command.params if isinstance(p, click.Option)):
            assert re.search(rf"^ +{', '.join(option.opts)}\b", part, re.MULTILINE), f"{verb} {option.opts}"


@NEEDS_GROFF
def test_help_is_shown_as_it_was_written(shown: str) -> None:
    words = " ".join(shown.split())
    for command in commands().values():
        text = " ".join((command.help or "").replace("\b", "").split())
        assert text in words


@NEEDS_GROFF
def test_the_three_exit_statuses_are_explained(shown: str) -> None:
    part = shown.partition("\nEXIT STATUS")[2].partition("\nFILES")[0]
    assert re.findall(r"^ +(\d)\b", part, re.MULTILINE) == ["0", "1", "2"]


@NEEDS_GROFF
@pytest.mark.parametrize("text", [".SH NAME", "'quoted' \"twice\" `thrice`", "a\\b \\fBc", "--x ^ ~ -1", ".", "…"])
def test_no_text_is_taken_for_a_request(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.1"
    code = "import sys; sys.path.insert(0, sys.argv[1]); import manual; print(manual.roff(sys.argv[2]))"
    escaped = output_of(sys.executable, "-c", code, str(ROOT / "tools"), text)
    page.write_text(f".TH X 1\n.SH NAME\n{escaped}", encoding="utf-8")
    shown = output_of("groff", "-man", "-ww", "-Tutf8", "-P-cbou", str(page))
    assert text in shown.replace("\N{HYPHEN}", "-").replace("\N{MINUS SIGN}", "-").replace(
        "\N{RIGHT SINGLE QUOTATION MARK}", "'"
    )
