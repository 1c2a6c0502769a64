"""whodunnet replay: the answer for a recording is that for the node it was made on."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from whodunnet.cli import main
from whodunnet.diagnosis.engine import diagnose
from whodunnet.recording.header import Header, header_of
from whodunnet.recording.reader import load
from whodunnet.recording.recorder import Recorder
from whodunnet.report.json import render_json
from whodunnet.rules.catalogue import catalogue

NODES = Path(__file__).parents[2] / "fixtures/nodes"
INCIDENTS = ["incident-1-tcp-memory", "incident-4-unclosed-bodies"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["whodunnet", *arguments])
        with pytest.raises(SystemExit) as done:
            main.run()
    assert isinstance(done.value.code, int)
    return (done.value.code, *capsys.readouterr())


@pytest.fixture(params=["lines", "database"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Incident 4 in both forms."""
    lines = NODES / INCIDENTS[1] / "recording.jsonl"
    if request.param == "lines":
        return lines
    path, found = tmp_path / "case", load(lines)
    with Recorder(path, 10**8) as recorder:
        for snapshot in found.snapshots:
            recorder.append(snapshot, header_of(found))
    return path


@pytest.mark.parametrize("incident", INCIDENTS)
def test_the_json_is_that_of_the_live_node_to_the_last_byte(
    incident: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    live = load(NODES / incident / "recording.jsonl")
    with Recorder(tmp_path / "case", 10**8) as recorder:
        for snapshot in live.snapshots:
            recorder.append(snapshot, header_of(live))
    status, out, err = run(capsys, "replay", str(tmp_path / "case"), "--format", "json")
    assert (status, err) == (1, "")
    assert out == render_json(diagnose(live, list(catalogue()))) + "\n"


def test_both_forms_give_the_same_text(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = NODES / INCIDENTS[1] / "recording.jsonl"
    assert run(capsys, "replay", str(case)) == run(capsys, "replay", str(lines))


def test_a_part_of_a_recording_is_judged_alone(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = json.loads(run(capsys, "replay", str(case), "--format", "json")[1])
    part = json.loads(run(capsys, "replay", str(case), "--format", "json", "--for", "1ms")[1])
    same = json.loads(run(capsys, "replay", str(case), "--format", "json", "--from", whole["window"]["to"])[1])
    assert whole["window"]["snapshots"] > 1
    assert part["window"]["snapshots"] == 1
    assert part["window"]["to"] == whole["window"]["to"]
    assert same == part
    assert part["findings"][0]["confidence"] == "possible"


def test_the_options_of_diagnose_mean_the_same(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "replay", str(case), "--only", "tcp-memory", "--format", "json")
    assert {a["rule"] for k in ("findings", "cleared", "not_checked") for a in json.loads(out)[k]} == {"tcp-memory"}
    assert run(capsys, "replay", str(case), "--format", "npd")[1].count("\n") == 1
    assert run(capsys, "replay", str(case), "--fail-on", "critical")[0] == 0
    assert run(capsys, "replay", str(case), "--skip", "no-such-rule")[0] == 2


def test_a_peer_that_is_an_address_is_the_pod_of_the_list(
    case: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pods = tmp_path / "pods.json"
    pods.write_text(
        '{"kind": "List", "items": [{"metadata": {"name": "edge-0", "namespace": "cdn"}, '
        '"status": {"phase": "Running", "podIP": "203.0.113.9"}}]}'
    )
    before = run(capsys, "replay", str(case))[1]
    status, text, err = run(capsys, "replay", str(case), "--pods", str(pods))
    assert (status, err) == (1, "")
    assert "Far end      203.0.113.9:443\n" in before
    assert "Far end      pod cdn/edge-0\n             at 203.0.113.9:443\n" in text
    document = json.loads(run(capsys, "replay", str(case), "--pods", str(pods), "--format", "json")[1])
    peers = [party for f in document["findings"] for party in f["parties"] if party["role"] == "peer"]
    assert {(peer["pod"]["namespace"], peer["pod"]["name"]) for peer in peers} == {("cdn", "edge-0")}


def test_two_words_for_the_beginning_are_refused(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "replay", str(case), "--from", "-1h", "--for", "1h")
    assert (status, out) == (2, "")
    assert err == "whodunnet: --from and --for both say where to begin; give one of them\n"


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0", b"\x1f\x8b"])
def test_a_foreign_file_is_one_sentence(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "case"
    path.write_bytes(content)
    status, out, err = run(capsys, "replay", str(path))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"whodunnet: {path} is no recording of whodunnet, or is damaged")


def test_a_clock_that_was_set_is_told_and_durations_stay_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = load(NODES / INCIDENTS[1] / "recording.jsonl")
    back = timedelta(hours=2)
    with Recorder(tmp_path / "case", 10**8) as recorder:
        for n, snapshot in enumerate(live.snapshots):
            at = replace(snapshot.at, wall=snapshot.at.wall - (back if n else timedelta()))
            recorder.append(replace(snapshot, at=at), Header(node=live.node))
    found = json.loads(run(capsys, "replay", str(tmp_path / "case"), "--format", "json")[1])
    assert found["window"]["seconds"] == pytest.approx(live.seconds, abs=0.001)
    assert [f["rule"] for f in found["findings"]] == [f.rule for f in diagnose(live, list(catalogue())).findings]
    assert "the node's clock was set 7,200 s back meanwhile" in found["limits"][-1]
