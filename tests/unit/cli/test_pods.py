"""--pods, wherever it is an option."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from whodunnet.cli import main, pods
from whodunnet.errors import UsageError

LIST = {"kind": "List", "items": [{"metadata": {"name": "a", "namespace": "b"}, "status": {"podIP": "203.0.113.9"}}]}


def test_a_list_is_read_from_a_file_or_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "pods.json"
    path.write_text(json.dumps(LIST))
    assert len(pods.read_pods(str(path))) == 1
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert len(pods.read_pods("-")) == 1


@pytest.mark.parametrize("path", ["/nowhere/pods.json", "/", "a\0b", "\x1b[2J"])
def test_what_cannot_be_read_is_one_clean_sentence(path: str) -> None:
    with pytest.raises(UsageError) as caught:
        pods.read_pods(path)
    assert str(caught.value).startswith("--pods ")
    assert str(caught.value).isprintable()


def test_a_file_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pods, "LIMIT_BYTES", 1 << 20)
    with pytest.raises(UsageError, match="more than 1 MiB"):
        pods.read_pods("/dev/zero")


@pytest.mark.parametrize("verb", [["diagnose"], ["replay", "case"], ["conntrack"]])
def test_a_wrong_list_is_said_before_anything_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: list[str]
) -> None:
    path = tmp_path / "pods.txt"
    path.write_text("NAMESPACE NAME READY STATUS\n")
    monkeypatch.setattr(sys, "argv", ["whodunnet", *verb, "--pods", str(path)])
    with pytest.raises(SystemExit) as done:
        main.run()
    shown = capsys.readouterr()
    assert (done.value.code, shown.out, shown.err.count("\n")) == (2, "", 1)
    assert "kubectl get pods -A -o json" in shown.err
