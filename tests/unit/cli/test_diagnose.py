"""whodunnet diagnose --root: copied files are judged, and the answer says so."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from whodunnet.cli import main

TREE = Path(__file__).parents[2] / "fixtures/trees/sos-4.0"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["whodunnet", "diagnose", *arguments])
        with pytest.raises(SystemExit) as done:
            main.run()
    assert isinstance(done.value.code, int)
    return (done.value.code, *capsys.readouterr())


def test_the_text_says_that_a_tree_was_judged_and_of_when(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--root", str(TREE))
    words = " ".join(out.split())
    assert "the copied files in" in words
    assert ", of 2026-11-21 " in words
    assert "nothing is more than possible" in words
    assert "node-a, kernel 6.18.44" in words
    assert (code, err) == (1 if out.startswith(("CRITICAL", "WARNING")) else 0, "")


def test_the_json_says_that_a_tree_was_judged_and_of_when(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "--root", str(TREE), "--format", "json")
    found = json.loads(out)
    assert found["window"]["tree"] == str(TREE)
    assert found["window"]["from"] == found["window"]["to"]
    assert found["window"]["snapshots"] == 1
    assert {finding["confidence"] for finding in found["findings"]} <= {"possible"}


def test_thresholds_of_here_are_in_force(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[thresholds.conntrack-table]\nwarn_fill = 0.5\n")
    _, out, _ = run(capsys, "--root", str(TREE), "--config", str(config), "--format", "json")
    found = json.loads(out)["thresholds"]
    assert found["changed"] == ["conntrack-table.warn_fill"]
    assert found["rules"]["conntrack-table"]["warn_fill"]["value"] == 0.5


@pytest.mark.parametrize("option", [["--for", "3s"], ["--active"], ["--no-bpf"]])
def test_what_is_for_a_node_that_runs_is_refused(capsys: pytest.CaptureFixture[str], option: list[str]) -> None:
    code, out, err = run(capsys, "--root", str(TREE), *option)
    assert (code, out) == (2, "")
    assert err.startswith(f"whodunnet: {option[0]} is for a node that runs and --root for files copied from one")


def test_what_is_no_tree_is_said_in_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "--root", str(tmp_path / "a\x1b[2J"))
    assert (code, out) == (2, "")
    assert "\x1b" not in err
    assert err.count("\n") == 1
