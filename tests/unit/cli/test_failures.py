"""Failures as a user meets them: one sentence, and the exit status 2."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from whodunnet.cli import main
from whodunnet.errors import UnreadableError

from .faked import Faked, FakeWatch, Run, assert_one_sentence


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (UnreadableError("/proc/self/status does not exist"), "cannot judge this node: /proc/self/status does not"),
        (OSError(errno.ENOSPC, "No space left on device"), "output: No space left on device"),
        (OSError(errno.EACCES, "Permission denied", "/proc/1"), "/proc/1: Permission denied"),
        (ImportError("no module"), "an error of whodunnet itself: ImportError: no module"),
    ],
)
def test_an_expected_failure_is_one_sentence(
    run: Run, faked: Faked, monkeypatch: pytest.MonkeyPatch, failure: BaseException, text: str
) -> None:
    assert faked.rules == []
    monkeypatch.setattr(FakeWatch, "failure", failure)
    assert_one_sentence(run("diagnose", "--format", "json"), text)


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory", "/usr"),
        ImportError("/lib/x.so: failed to map segment from shared object"),
        SystemError("error return without exception set"),
    ],
)
def test_no_memory_is_known_by_all_its_names(
    run: Run, faked: Faked, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    assert faked.rules == []
    monkeypatch.setattr(FakeWatch, "failure", failure)
    with pytest.raises(MemoryError):
        run("diagnose", "--format", "json")


def test_an_error_of_our_own_is_one_clean_sentence_and_no_finding(
    run: Run, faked: Faked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faked.rules == []
    monkeypatch.setattr(FakeWatch, "failure", IndexError("list \x1b[2J\nindex"))
    result = run("diagnose", "--format", "json")
    assert_one_sentence(result, "an error of whodunnet itself: IndexError: list ", "please report it")
    assert "\x1b" not in result.err


def test_a_developer_sees_where_an_error_of_our_own_came_from(
    run: Run, faked: Faked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faked.rules == []
    monkeypatch.setattr(FakeWatch, "failure", ZeroDivisionError("division by zero"))
    monkeypatch.setenv(main.TRACEBACK, "1")
    with pytest.raises(ZeroDivisionError):
        run("diagnose", "--format", "json")


HEADER = b'{"schema": "whodunnet/recording/v1", "node": {"hostname": "n1", "kernel": "6", "boot_id": "b"}}\n'
HOSTILE = {
    "a page of no bytes": b'"tcp_memory": {"type": "tcp_memory", "page_size_bytes": 0, "cpus": 1, "used_pages": 1, '
    b'"orphans": 0, "alloc_sockets": 0, "inuse_sockets": 0, "time_wait_sockets": 0}',
    "a number without end": b'"tcp_memory": {"type": "tcp_memory", "page_size_bytes": 4096, "cpus": 1, "used_pages": '
    + b"9" * 400 + b', "orphans": 0, "alloc_sockets": 0, "inuse_sockets": 0, "time_wait_sockets": 0}',
    "too many ages": b'"sockets": {"type": "sockets", "method": "bpf", "groups": [{"netns": 1, "protocol": "tcp", '
    b'"state": "close-wait", "role": "accepted", "holding": "descriptor", "sockets": 1, "ages": ['
    + b"1," * 12 + b"1]}]}",
    "another sample": b'"tcp_memory": {"type": "workloads"}',
}  # fmt: skip


@pytest.mark.parametrize("verb", ["replay", "compare", "plot"])
@pytest.mark.parametrize("samples", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_recording_is_refused_in_one_sentence(run: Run, tmp_path: Path, verb: str, samples: bytes) -> None:
    path = tmp_path / "node.jsonl"
    snapshots = (b'{"at": {"wall": "2026-03-01T12:00:0%dZ", "boot_seconds": %d}, "samples": {%s}}\n' % (n, n, samples)
                 for n in range(2))  # fmt: skip
    path.write_bytes(HEADER + b"".join(snapshots))
    files = [str(path)] * 2 if verb == "compare" else [str(path)]
    assert_one_sentence(run(verb, *files), f"{path} is damaged: ")


def test_an_interrupt_is_one_sentence_below_the_key_that_was_pressed(
    run: Run, faked: Faked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faked.rules == []
    monkeypatch.setattr(FakeWatch, "failure", KeyboardInterrupt())
    result = run("diagnose", "--format", "json")
    assert result == (2, "", f"\nwhodunnet: {main.INTERRUPTED}\n")


def test_an_interrupt_that_python_wraps_while_it_makes_a_class_is_one_too(
    run: Run, faked: Faked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faked.rules == []
    monkeypatch.setenv(main.TRACEBACK, "1")
    wrapped = RuntimeError("Error calling __set_name__ on 'Field' instance 'buffer' in 'ConsoleThreadLocals'")
    wrapped.__cause__ = KeyboardInterrupt()
    monkeypatch.setattr(FakeWatch, "failure", wrapped)
    assert run("diagnose", "--format", "json") == (2, "", f"\nwhodunnet: {main.INTERRUPTED}\n")
