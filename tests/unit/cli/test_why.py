"""whodunnet why as a user calls it: what it takes, what it refuses, and the exit status."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from whodunnet.cli import main

NODES = Path(__file__).parents[2] / "fixtures/nodes"
KEPT_TOO_LONG = str(NODES / "incident-5-keepalive/recording.jsonl")
SERVER = "10.64.9.41:8000"
CLOSED = f'Get "http://{SERVER}/": EOF'


def run(capsys: pytest.CaptureFixture[str], *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["whodunnet", "why", *arguments])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as done:
            main.run()
    assert isinstance(done.value.code, int)
    return (done.value.code, *capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((CLOSED,), 1),
        (("socket hang up",), 1),
        (("--pod", "web/shop-7c4f9d6b5-m8k2t"), 1),
        (("--endpoint", SERVER), 1),
        ((CLOSED.replace("8000", "8001"),), 0),
        (("--pod", "web/nobody"), 2),
        (("nf_conntrack: table full, dropping packet",), 2),
        (("reset reason: overflow",), 2),
    ],
)
def test_the_exit_status_is_the_answer(
    arguments: tuple[str, ...], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = run(capsys, "--recording", KEPT_TOO_LONG, *arguments)
    assert (found, err) == (status, "")
    assert out.startswith("Asked ")


def test_the_text_is_read_from_standard_input(capsys: pytest.CaptureFixture[str]) -> None:
    by_input = run(capsys, "--recording", KEPT_TOO_LONG, "-", stdin=CLOSED.encode() + b"\n\xff\xfe\n")
    assert by_input == run(capsys, "--recording", KEPT_TOO_LONG, CLOSED)


def test_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "--recording", KEPT_TOO_LONG, "--format", "json", CLOSED)
    document = json.loads(out)
    assert (status, err, document["schema"], document["answer"]) == (1, "", "whodunnet/why/v1", "explained")
    assert document["message"]["destination"] == {"address": "10.64.9.41", "name": None, "port": 8000}


def test_a_part_of_a_recording_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    *_, whole = json.loads(run(capsys, "--recording", KEPT_TOO_LONG, "--format", "json", CLOSED)[1]).items()
    *_, part = json.loads(
        run(capsys, "--recording", KEPT_TOO_LONG, "--for", "1ms", "--format", "json", CLOSED)[1]
    ).items()
    assert whole[1]["window"]["snapshots"] > part[1]["window"]["snapshots"] == 1


def test_a_pod_elsewhere_is_named_by_the_list_of_pods(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pods = tmp_path / "pods.json"
    pod = {"metadata": {"name": "api-1", "namespace": "web"}, "status": {"phase": "Running", "podIP": "10.64.9.41"}}
    pods.write_text(json.dumps({"kind": "List", "items": [pod]}))
    assert "pod web/api-1" in run(capsys, "--recording", KEPT_TOO_LONG, "--pods", str(pods), CLOSED)[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "the text of an error, - for standard input, --pod or --endpoint"),
        (("it does not work",), "no error of the network that whodunnet knows"),
        (("",), "no error of the network that whodunnet knows"),
        (("--pod", "web"), "NAMESPACE/NAME"),
        (("--pod", "a/b/c"), "NAMESPACE/NAME"),
        (("--endpoint", "10.0.0.1"), "HOST:PORT"),
        (("--endpoint", ":80"), "HOST:PORT"),
        (("--endpoint", "a:99999"), "HOST:PORT"),
        (("--no-bpf", CLOSED), "--no-bpf is about this node"),
        (("--format", "npd", CLOSED), "json"),
        ((CLOSED, "one word too much"), "one word too much"),
    ],
)
def test_what_is_not_understood_is_one_clear_sentence(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "--recording", KEPT_TOO_LONG, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_text_that_is_too_long_is_refused_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "--recording", "/nowhere", "-", stdin=b"ECONNRESET " * 100_000)
    assert (status, out) == (2, "")
    assert "longer than 64 KiB" in err


def test_hostile_words_are_cleaned_where_they_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = run(capsys, "--recording", KEPT_TOO_LONG, "--endpoint", "\x1b[2J\u202e:80x")
    assert err.rstrip("\n").isprintable()


def test_a_recording_that_is_none_is_said_to_be_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, err = run(capsys, "--recording", str(tmp_path / "nothing"), CLOSED)
    assert (status, out, err.count("\n")) == (2, "", 1)
