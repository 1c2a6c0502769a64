"""The file of thresholds: which one is read, and what is said where it cannot be."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.cli import config, main
from whodunnet.cli.config import LIMIT_BYTES, read_config
from whodunnet.errors import UsageError
from whodunnet.rules.overrides import NONE, Overrides

RECORDING = Path(__file__).parents[2] / "fixtures/nodes/incident-4-unclosed-bodies/recording.jsonl"
MANY = (
    "[thresholds.socket-leak]\nmin_sockets = 1_000_000\nmin_unread = 1_000_000\nmin_sockets_with_memory = 1_000_000\n"
)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["whodunnet", *arguments])
        with pytest.raises(SystemExit) as done:
            main.run()
    assert isinstance(done.value.code, int)
    return (done.value.code, *capsys.readouterr())


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the default file would be; it is not there yet."""
    path = tmp_path / "config.toml"
    monkeypatch.setattr(config, "DEFAULT", path)
    return path


def is_leak(document: str) -> bool:
    return any(f["rule"] == "socket-leak" for f in json.loads(document)["findings"])


def test_without_a_file_the_catalogues_numbers_are_in_force(default: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "replay", str(RECORDING), "--format", "json")
    assert (status, err, is_leak(out)) == (1, "", True)
    assert json.loads(out)["thresholds"]["from"] is None
    assert not default.exists()


def test_the_default_file_is_read_if_it_is_there(default: Path, capsys: pytest.CaptureFixture[str]) -> None:
    default.write_text(MANY)
    _, out, err = run(capsys, "replay", str(RECORDING), "--format", "json")
    found = json.loads(out)["thresholds"]
    assert (err, is_leak(out), found["from"]) == ("", False, str(default))
    assert "socket-leak.min_sockets" in found["changed"]
    assert found["rules"]["socket-leak"]["min_sockets"] == {"value": 1e6, "unit": "sockets", "default": 50.0}
    text = run(capsys, "replay", str(RECORDING))[1]
    assert "Changed      3 thresholds, by" in text
    assert str(default) in "".join(text.split())


def test_a_file_that_is_named_stands_for_the_default(
    default: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default.write_text("this is no TOML")
    other = tmp_path / "other.toml"
    other.write_text("")
    status, out, _ = run(capsys, "replay", str(RECORDING), "--format", "json", "--config", str(other))
    assert (status, is_leak(out), json.loads(out)["thresholds"]["changed"]) == (1, True, [])
    status, out, err = run(capsys, "replay", str(RECORDING))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"whodunnet: {default} is not understood: ")


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.toml"
    expected = (2, "", f"whodunnet: {missing}: No such file or directory\n")
    assert run(capsys, "replay", str(RECORDING), "--config", str(missing)) == expected


def test_what_cannot_be_read_is_no_reason_to_go_on_without(
    default: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default.mkdir()
    expected = (2, "", f"whodunnet: {default} cannot be read: Is a directory\n")
    assert run(capsys, "replay", str(RECORDING)) == expected
    long = tmp_path / "long.toml"
    long.write_bytes(b"#" * (LIMIT_BYTES + 1))
    with pytest.raises(UsageError, match="longer than 64 KiB"):
        read_config(long)
    with pytest.raises(UsageError, match="longer than 64 KiB"):
        read_config(Path(os.devnull).with_name("zero"))


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode(errors="replace"))))
def test_any_bytes_are_a_configuration_or_one_sentence(data: bytes) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as file:
        file.write(data)
    try:
        assert isinstance(read_config(Path(f"/dev/fd/{read}")), Overrides)
    except UsageError as error:
        assert str(error).isprintable()  # noqa: PT017
    finally:
        os.close(read)


@pytest.mark.parametrize("data", [b"a = " + b"[\n" * 10_000, b"\xff", b"a = 1\na = 2"])
def test_what_python_cannot_hold_is_not_understood(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is not understood"):
        read_config(path)


@pytest.mark.parametrize("data", [b"a." * 30_000 + b"a = 1", b"a = " + b"[" * 30_000, b"a = " + b"9" * 5_000])
def test_a_line_that_a_parser_takes_minutes_for_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="a line of more than 1,000 bytes"):
        read_config(path)


def test_a_pipe_in_the_default_place_holds_nobody_up(default: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(default)
    status, out, err = run(capsys, "replay", str(RECORDING))
    assert (status, out) == (2, "")
    assert f"{default} is a pipe" in err


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# nothing yet\n")
    assert read_config(path).values == NONE.values
