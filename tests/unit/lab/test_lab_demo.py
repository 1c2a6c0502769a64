"""What `whodunnet lab` shows of a case, and what it refuses before anything is started."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest

from lab import demo, interpreter, needs, stage
from lab.case import SOCKET_RULES
from lab.catalogue import find, names
from lab.demo import RefusedError, allowed, judged
from lab.listing import UNDECIDABLE, as_json, as_text
from lab.score import Score, score_of_all
from lab.who import Who

from .answers import CLIENT, CULPRIT, HOLDER, LEAK, SERVER, diagnosis, leak, party

ROOT = Path(demo.__file__).parents[1]


class Paper:
    """As much of a case as is shown."""

    undecidable = False

    def expected(self) -> object:
        return LEAK


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr(stage.subprocess, "Popen", refuse)


def test_a_case_that_changes_the_machine_is_refused_without_allow_global() -> None:
    with pytest.raises(RefusedError, match=r"tcp-memory-exceeded changes the whole machine .* --allow-global"):
        allowed("tcp-memory-exceeded", allow_global=False)


def test_without_root_it_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(needs, "missing", lambda _: set())
    with pytest.raises(RefusedError, match="needs root: sudo whodunnet lab run response-never-read"):
        allowed("response-never-read", allow_global=False)


def test_what_a_case_needs_is_asked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "missing", lambda _: {"nginx"})
    with pytest.raises(needs.MissingNeedsError, match="response-never-read needs nginx"):
        allowed("response-never-read", allow_global=False)


def test_of_rules_that_a_case_is_not_about_whom_they_blame_counts_and_nothing_else() -> None:
    beside = {**leak(HOLDER), "rule": "dns", "id": "dns:1"}
    blaming = {**leak(party("culprit", 7, "foo")), "rule": "dns", "id": "dns:1"}
    right, wrong = (diagnosis(leak(CULPRIT, HOLDER), other) for other in (beside, blaming))
    assert score_of_all(LEAK, right, SOCKET_RULES).right
    assert score_of_all(LEAK, wrong, SOCKET_RULES) == Score(blamed=("foo[7] by dns:1",))
    elsewhere = replace(LEAK, elsewhere=(("dns", Who("foo", frozenset({7}))), ("resets", CLIENT)))
    assert score_of_all(elsewhere, wrong, SOCKET_RULES).right
    assert score_of_all(replace(LEAK, elsewhere=(("resets", Who("foo", frozenset({7}))),)), wrong, SOCKET_RULES).blamed
    own = diagnosis(leak(CULPRIT, HOLDER), {**blaming, "rule": "socket-leak"})
    assert score_of_all(elsewhere, own, SOCKET_RULES).blamed


def test_whom_it_had_to_name_is_told_with_the_roles() -> None:
    text = judged(Paper(), Score())  # type: ignore[arg-type]
    assert f"{CLIENT} as culprit" in text
    assert f"{SERVER} as holder or victim, by socket-leak" in text
    assert "is right" in text


def test_what_is_wrong_is_told() -> None:
    assert "is wrong:\nmissing: culprit foo" in judged(Paper(), Score(missing=("culprit foo",)))  # type: ignore[arg-type]


def test_the_list_has_every_case_with_its_kind_its_story_and_what_it_needs() -> None:
    cases = json.loads(as_json())["cases"]
    assert [case["name"] for case in cases] == names()
    assert all(case["about"] and case["kind"] in ("fault", "look-alike") and case["needs"] for case in cases)
    assert {case["name"] for case in cases if case["changes_machine"]} == {
        name for name in names() if find(name).changes_global
    }


def test_the_list_marks_exactly_the_faults_that_one_machine_cannot_decide() -> None:
    marked = {case["name"] for case in json.loads(as_json())["cases"] if case["undecidable"]}
    assert marked == {"connect-no-route", "in-flight", "orphans-peer-unreachable"}
    text = " ".join(as_text().split())
    assert text.count(UNDECIDABLE) == len(marked)
    assert re.search(rf" in-flight Sockets in flight: [^:]+ never takes them\. {UNDECIDABLE} ", text)


def test_of_a_case_that_cannot_be_loaded_only_its_need_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: str) -> type:
        raise ModuleNotFoundError(name="_ssl")

    monkeypatch.setattr("lab.listing.find", gone)
    cases = json.loads(as_json())["cases"]
    unknown = {"kind": None, "about": "", "changes_machine": None, "undecidable": None}
    assert cases == [{"name": name, **unknown, "needs": ["ssl"], "missing": ["ssl"]} for name in names()]


def test_the_list_for_a_person_marks_what_changes_the_machine_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lab.listing.missing", lambda needed: {"haproxy"} & needed)
    lines = as_text().splitlines()
    assert lines[0] == "Faults"
    begin = next(n for n, line in enumerate(lines) if line.startswith("  churn-behind-balancer "))
    entry = [line.strip() for line in lines[begin + 1 :]]
    assert entry.index("changes the whole machine for a while: --allow-global") < 3
    assert entry.index("needs haproxy: apt-get install haproxy") < 4
    assert max(map(len, lines)) <= 120


def test_python_is_what_we_were_told_and_its_descriptor_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert interpreter.with_python(["nice", sys.executable, "-m", "x"]) == ["nice", sys.executable, "-m", "x"]
    assert interpreter.inherited() == ()
    monkeypatch.setenv("LAB_PYTHON", "env PYTHONHOME=/proc/self/fd/12 /proc/self/fd/12/bin/whodunnet")
    assert interpreter.with_python([sys.executable, "-m"])[-2:] == ["/proc/self/fd/12/bin/whodunnet", "-m"]
    assert interpreter.inherited() == (12,)


def test_what_is_carried_needs_nothing_that_is_left_out() -> None:
    settings = ast.parse((ROOT / "setup.py").read_text())
    (left_out,) = (
        ast.literal_eval(node.value)
        for node in settings.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAB_LEFT_OUT"
    )
    for path in (ROOT / "lab").rglob("*.py"):
        if any(fnmatch(path.name, pattern) for pattern in left_out):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lab."):
                gone = [pattern for pattern in left_out if fnmatch(str(node.module).split(".")[1], pattern)]
                assert not gone, f"{path.name} imports {node.module}, which setup.py leaves out"
