"""The rule pages against the catalogue, and how they reach the terminal."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache

import pytest
from click.testing import CliRunner

from whodunnet.cli.main import whodunnet
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import JUDGES

from .pages import DOCS, ROOT, SOURCE, code_of, headings, rows, section, text_of

RULE = pytest.mark.parametrize("rule", list(catalogue()))
SECTIONS = ("Inputs", "Thresholds", "Confidence", "Shapes", "What it proves, and what not", "By hand", "Remedies")


def page_of(rule: str) -> str:
    return text_of(f"docs/rules/{rule}.md")


@cache
def constants() -> dict[str, float]:
    """Numbers that the modules of rules and diagnosis give a name."""
    found: dict[str, float] = {}
    for path in [*(SOURCE / "rules").glob("*.py"), *(SOURCE / "diagnosis").glob("*.py")]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = getattr(node, "value", None)
            if (
                isinstance(target, ast.Name)
                and isinstance(value, ast.Constant)
                and isinstance(value.value, int | float)
            ):
                found[target.id] = value.value
    return found


def test_there_is_a_page_for_every_rule_and_no_other() -> None:
    assert {path.stem for path in (DOCS / "rules").glob("*.md")} == set(catalogue()) | {"README"}
    assert set(JUDGES) == set(catalogue())


def test_the_index_has_every_rule_with_its_worst_severity_and_whom_it_names() -> None:
    index = text_of("docs/rules/README.md").partition("## Causes")[0]
    table = {row[0]: row[2:] for row in rows(index)}
    assert table == {f"[{rule}]({rule}.md)": [entry.severity, entry.names] for rule, entry in catalogue().items()}
    assert all(entry.names for entry in catalogue().values())


def test_the_index_is_the_one_that_is_made_from_the_catalogue() -> None:
    before = text_of("docs/rules/README.md")
    command = [sys.executable, "-c", "import rule_index; print(rule_index.page(), end='')"]
    made = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT / "tools")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == before, "run python tools/rule_index.py"


@RULE
def test_a_page_has_every_section(rule: str) -> None:
    page = page_of(rule)
    assert page.startswith(f"# {rule}\n\n**Question.**")
    assert f"**Claim.** `{catalogue()[rule].claim}`" in page
    assert not [name for name in SECTIONS if name not in headings(page)]


@RULE
def test_a_page_has_every_threshold_with_value_unit_and_reason(rule: str) -> None:
    found = [tuple(row) for row in rows(section(page_of(rule), "Thresholds")) if not row[0].strip("`").isupper()]
    expected = [
        (f"`{name}`", f"{limit.value:g} {limit.unit}", limit.why)
        for name, limit in catalogue()[rule].thresholds.items()
    ]
    assert found == expected


@RULE
def test_numbers_that_are_fixed_in_the_code_are_those_of_the_code(rule: str) -> None:
    fixed = [row for row in rows(section(page_of(rule), "Thresholds")) if row[0].strip("`").isupper()]
    known = constants()
    assert {row[0]: row[1] for row in fixed} == {row[0]: f"{known[row[0].strip('`')]:g}" for row in fixed}


@RULE
def test_a_page_names_every_input(rule: str) -> None:
    entry, inputs = catalogue()[rule], section(page_of(rule), "Inputs")
    required, better = inputs.partition("Better with:")[0], inputs.partition("Better with:")[2].partition("\n\n")[0]
    assert {w for w in entry.required if f"`{w}`" in required} == set(entry.required)
    assert {w for w in code_of(better) if "-" not in w} == set(entry.optional)


@RULE
def test_a_page_describes_every_shape(rule: str) -> None:
    shapes = catalogue()[rule].shapes
    if not shapes:
        return
    described = section(page_of(rule), "Shapes")
    assert [h for h in headings(described) if h in shapes] == headings(described)
    assert set(headings(described)) == set(shapes)
    for shape in shapes:
        assert "- Test" in section(described, shape)


@RULE
def test_a_page_uses_no_threshold_that_does_not_exist(rule: str) -> None:
    words = {w for w in code_of(page_of(rule)) if w.startswith(("min_", "proven_")) or w.endswith(("_age", "_share"))}
    assert words <= set(catalogue()[rule].thresholds)


@RULE
def test_explain_prints_the_page(rule: str) -> None:
    shown = CliRunner().invoke(whodunnet, ["explain", rule])
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout == page_of(rule), "the package has an older page: build it again (make build)"


def test_explain_says_which_rules_there_are() -> None:
    command = [sys.executable, "-m", "whodunnet", "explain", "README"]
    shown = subprocess.run(command, check=False, capture_output=True, text=True)
    assert shown.returncode == 2
    assert not [rule for rule in catalogue() if rule not in shown.stderr]
