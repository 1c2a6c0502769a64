"""A reader who has seen enough is no finding: exit status 1 would say so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from whodunnet.cli.standing import SUBJECTS
from whodunnet.collectors.kernel_log import KNOWN

RECORDING = Path(__file__).parents[2] / "fixtures/nodes/incident-1-tcp-memory/recording.jsonl"


@pytest.mark.parametrize(
    "arguments", [("list",), ("replay", str(RECORDING)), ("replay", str(RECORDING), "--format", "json")]
)
def test_a_closed_pipe_ends_with_two_and_without_a_word(arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "whodunnet", *arguments]
    try:
        done = subprocess.run(command, check=False, stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (2, "")


@pytest.mark.parametrize("arguments", [("list",), ("explain", "nothing"), ("replay", str(RECORDING))])
def test_where_nothing_can_be_written_at_all_it_ends_with_two(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "whodunnet", *arguments]
        assert subprocess.run(command, check=False, stdout=full, stderr=full).returncode == 2


def test_every_known_line_of_the_kernel_log_has_plain_words() -> None:
    assert {kind for kind, _ in KNOWN} == set(SUBJECTS)
