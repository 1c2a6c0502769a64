"""whodunnet lab: finds the lab, becomes it, and shows a diagnosis in JSON as diagnose shows it."""

from __future__ import annotations

import io
import os
import shlex
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from whodunnet.cli import lab, main

ROOT = Path(__file__).parents[3]
NODES = ROOT / "tests/fixtures/nodes"
RECORDINGS = sorted(NODES.glob("*/recording.jsonl"))


class BecomeError(Exception):
    """In place of exec."""


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Program, arguments and environment of what whodunnet turned into."""
    seen: list[Any] = []

    def exec_it(*given: object) -> None:
        seen.extend(given)
        raise BecomeError

    monkeypatch.setattr(os, "execve", exec_it)
    return seen


def call(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHODUNNET_TRACEBACK", "1")
        patch.setattr(sys, "argv", ["whodunnet", *arguments])
        main.run()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit, match="2"):
        call(*arguments)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_to_run_a_fault_it_becomes_the_lab_of_its_own_checkout(become: list[Any]) -> None:
    with pytest.raises(BecomeError):
        call("lab", "run", "response-never-read", "--keep", "--allow-global")
    program, words, environment = become
    assert words == [
        program, "-P", "-m", "lab.demo", "run", "--keep", "--allow-global", "--", "response-never-read"
    ]  # fmt: skip
    assert program == sys.executable
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
    assert environment["LAB_PYTHON"] == shlex.quote(sys.executable)


def test_a_list_is_asked_for_in_its_form(become: list[Any]) -> None:
    with pytest.raises(BecomeError):
        call("lab", "list", "--format", "json")
    assert become[1][-3:] == ["list", "--format", "json"]


def test_an_unknown_fault_is_told_those_that_are_near(become: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(capsys, "lab", "run", "respons-never-red")
    assert "'respons-never-red'" in err
    assert "near: response-never-read," in err
    assert "whodunnet lab list" in err
    assert become == []


def test_a_word_that_several_have_in_common_finds_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert "near: zombie-live-cgroups, zombie-many-cgroups;" in refused(capsys, "lab", "run", "cgroups")


def test_nothing_is_near_what_resembles_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert "near" not in refused(capsys, "lab", "run", "00")


def test_an_unknown_command_is_told_the_known_ones_without_the_hidden_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "lab", "lst") == "whodunnet: there is no command 'lab lst'; there are: list, run\n"


def test_without_the_lab_it_says_where_it_is_to_be_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(lab, "PLACES", (tmp_path,))
    assert "it comes with the wheel, the bundle and the sources" in refused(capsys, "lab", "list")
    assert lab.complete_fault(SimpleNamespace(), SimpleNamespace(), "") == []  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["directory", "zip"])
def test_the_lab_is_found_in_a_directory_and_in_a_zip(
    form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files, archive = tmp_path / "lab_files", tmp_path / "lab.zip"
    cases = files / "lab/faults"
    cases.mkdir(parents=True)
    for name in ("__init__.py", "one_leak.py", "two_leaks.py"):
        (cases / name).touch()
    if form == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in cases.iterdir():
                packed.write(path, path.relative_to(files))
    monkeypatch.setattr(lab, "PLACES", (tmp_path / "nowhere", archive if form == "zip" else files))
    assert lab.found() == lab.PLACES[1]
    assert lab.names(lab.PLACES[1]) == ["one-leak", "two-leaks"]


def test_the_python_of_the_bundle_is_started_by_its_own_loader(
    monkeypatch: pytest.MonkeyPatch, become: list[Any]
) -> None:
    monkeypatch.setattr(sys, "prefix", "/proc/self/fd/10")
    with pytest.raises(BecomeError):
        lab.become(ROOT, "list")
    program, words, environment = become
    assert program == words[0] == "/proc/self/fd/10/bin/whodunnet"
    assert "/proc/self/fd/10/bin/python" in words
    assert environment["PYTHONHOME"] == "/proc/self/fd/10"
    assert environment["LAB_PYTHON"].startswith(f"env PYTHONHOME=/proc/self/fd/10 {program} --inhibit-cache")


def test_the_lab_calls_the_whodunnet_that_was_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "whodunnet"
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert lab.myself(["python"], {}) == [str(program)]
    assert lab.myself(["python"], {"WHODUNNET_BUNDLE": "/opt/w"}) == ["/opt/w"]
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "__main__.py")])
    assert lab.myself(["python"], {}) == ["python", "-P", "-m", "whodunnet"]


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        call(*arguments)
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.parent.name)
def test_a_diagnosis_in_json_is_shown_as_it_would_have_been(
    recording: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_json = shown(capsys, "replay", str(recording), "--format", "json")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(as_json.encode())))
    assert shown(capsys, "lab", "show") == shown(capsys, "replay", str(recording))


@pytest.mark.parametrize("data", [b"x", b"{}", b'"\xff"', b"[" * 100_000])
def test_what_is_no_diagnosis_is_said_to_be_none(
    data: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(SystemExit) as ended:
        call("lab", "show")
    assert ended.value.code == 2
    assert "should be a diagnosis in JSON" in capsys.readouterr().err


def test_names_of_faults_are_completed() -> None:
    offered = lab.complete_fault(SimpleNamespace(), SimpleNamespace(), "zombie-")  # type: ignore[arg-type]
    assert offered == ["zombie-live-cgroups", "zombie-many-cgroups"]
