"""What a machine has one of, under other kernels: not to be set wrong on the machine that the tests run on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import machine
from lab.kernel_packages import Kernel

from .inside.machine_wide import HELD, STEP_SECONDS, WRONG_SECONDS

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
WHODUNNET = str(Path(sys.executable).parent / "whodunnet")
COMMAND = (WHODUNNET, "diagnose", "--format", "json")
LIMIT_SECONDS = 600.0
"""A command is called eight times."""
TOLERANCE_SECONDS = 3.0
"""Several steps may fall between two readings, and `date` takes its time here."""
COUNTER_ERROR = 32 * machine.CPUS
"""What the kernel's number of open files may be off: each CPU counts so many on its own (percpu_counter_batch)."""
Answers = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def answers(kernel: Kernel) -> Answers:
    """The diagnosis of each scene, with its status, and who holds files."""
    done = machine.run(
        kernel, [sys.executable, "-m", "inside.machine_wide", *COMMAND], HERE, limit_seconds=LIMIT_SECONDS
    )
    assert done.status == 0, done.stderr
    assert "BUG:" not in done.console
    print(f"{kernel.version}: {done.seconds:.0f} s")
    found = json.loads(done.stdout)
    more = {"holder": found["pid"], "refused": found["refused"]}
    return {
        name: json.loads(said["stdout"]) | more | {"status": said["status"]} for name, said in found["answers"].items()
    }


def shapes(answer: dict[str, Any]) -> set[tuple[str, str]]:
    return {(f["rule"], f["shape"]) for f in answer["findings"]}


def finding(answer: dict[str, Any], rule: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (f for f in answer["findings"] if f["rule"] == rule)
    return found


def cleared(answer: dict[str, Any]) -> set[str]:
    return {c["rule"] for c in answer["cleared"]}


def test_a_clock_that_nobody_keeps_is_said_to_be_so(answers: Answers) -> None:
    answer = answers["as it is"]
    assert [(f["rule"], f["shape"], f["severity"]) for f in answer["findings"]] == [("clock", "not-kept", "info")]
    assert answer["status"] == 0


def test_a_clock_that_is_kept_and_was_not_stepped_is_cleared(answers: Answers) -> None:
    assert answers["kept"]["findings"] == []
    assert cleared(answers["kept"]) == {"clock"}


def test_a_step_of_the_clock_is_found(answers: Answers) -> None:
    found = finding(answers["stepped"], "clock")
    assert (found["shape"], found["confidence"], answers["stepped"]["status"]) == ("stepped", "proven", 1)
    moved = [e["value"] for e in found["evidence"] if e["unit"] == "seconds"]
    assert moved
    for seconds in moved:
        assert abs(seconds - STEP_SECONDS * round(seconds / STEP_SECONDS)) < TOLERANCE_SECONDS
        assert seconds > STEP_SECONDS / 2


def test_a_clock_that_was_left_wrong_is_told_from_the_hardware_s(answers: Answers) -> None:
    found = finding(answers["left wrong"], "clock")
    assert (found["shape"], found["confidence"], answers["left wrong"]["status"]) == ("wrong", "likely", 1)
    (ahead,) = (e["value"] for e in found["evidence"] if e["unit"] == "seconds")
    assert abs(ahead + WRONG_SECONDS) < TOLERANCE_SECONDS


def test_usual_limits_are_cleared(answers: Answers) -> None:
    assert answers["usual limits"]["findings"] == []
    assert cleared(answers["usual limits"]) == {"descriptor-limit", "settings"}


def test_too_little_memory_for_tcp_is_found(answers: Answers) -> None:
    assert shapes(answers["little memory"]) == {("settings", "tcp-mem")}


def test_a_file_table_that_is_nearly_full_is_found(answers: Answers) -> None:
    answer = answers["hardly a file left"]
    assert shapes(answer) == {("descriptor-limit", "node-near")}
    (used,) = (e for e in finding(answer, "descriptor-limit")["evidence"] if e["unit"] == "files")
    assert HELD - COUNTER_ERROR <= used["value"] < used["limit"]
    holders = [p["process"]["pid"] for p in finding(answer, "descriptor-limit")["parties"] if p["role"] == "holder"]
    assert holders == [answer["holder"]]


def test_a_full_file_table_is_found(answers: Answers) -> None:
    answer = answers["no file left"]
    assert shapes(answer) == {("descriptor-limit", "node-exhausted")}
    assert answer["status"] == 1
    (used,) = (e for e in finding(answer, "descriptor-limit")["evidence"] if e["unit"] == "files")
    assert used["value"] >= used["limit"] == HELD // 2


def test_who_is_refused_a_socket_by_it_is_named(answers: Answers) -> None:
    answer = answers["no file left"]
    found = finding(answer, "descriptor-limit")
    (victim,) = (p for p in found["parties"] if p["role"] == "victim" and "process" in p)
    assert victim["process"]["pid"] == answer["refused"]
    (times,) = (e for e in found["evidence"] if e["unit"] == "sockets")
    assert victim["effect"] == f"was refused {times['value']:,} TCP sockets"
    assert times["value"] > 1
