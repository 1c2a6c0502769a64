"""The time of a run divided over targets, each in a child of its own, one after another."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from fuzz.child import INPUT_SECONDS
from fuzz.target import Target
from fuzz.workspace import corpus_size, crashes, prepared

_GRACE_SECONDS: Final = 3 * INPUT_SECONDS
"""What a child may take longer than its time: to start, and for its last input."""
_COVERAGE: Final = re.compile(r"\bcov: (\d+)")
_RUNS: Final = re.compile(r"stat::number_of_executed_units: (\d+)")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one target. coverage: branches of whodunnet that were seen. crashes: inputs found in this run.

    said: the last lines of a child that failed, or that ended without fuzzing.
    """

    name: str
    runs: int
    new_entries: int
    coverage: int
    crashes: tuple[Path, ...]
    said: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.crashes or self.said)


def fuzz(targets: Sequence[Target], seconds: float, kept: Path) -> Iterator[Outcome]:
    """Every target for its part of the time; what one did not need is the others'."""
    ends_at = time.monotonic() + seconds
    for done, target in enumerate(targets):
        share = (ends_at - time.monotonic()) * target.weight / sum(each.weight for each in targets[done:])
        yield fuzz_one(target, max(share, 1.0), kept)


def fuzz_one(target: Target, seconds: float, kept: Path) -> Outcome:
    place = prepared(target, kept)
    known, size = crashes(place), corpus_size(place)
    status, said = _ran(target.name, place, time.monotonic() + seconds)
    found = tuple(sorted(crashes(place) - known))
    coverage, runs = _COVERAGE.findall(said), _RUNS.search(said)
    whole = status == 0 and runs is not None
    return Outcome(
        name=target.name,
        runs=int(runs[1]) if runs else 0,
        new_entries=corpus_size(place) - size,
        coverage=int(coverage[-1]) if coverage else 0,
        crashes=found,
        said="" if whole else _end(said),
    )


def _ran(name: str, place: Path, ends_at: float) -> tuple[int, str]:
    """Exit status and output; a child that does not end by itself is ended."""
    command = [sys.executable, "-m", "fuzz.child", name, str(place), str(ends_at)]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | {"TMPDIR": str(place / "scratch")},
        cwd=Path(__file__).parents[1],
    )
    try:
        said, _ = child.communicate(timeout=ends_at - time.monotonic() + _GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        said, _ = child.communicate()
        said += "\nit did not end in its time and was killed"
    finally:
        child.kill()
        child.wait()
        shutil.rmtree(place / "scratch")  # what a failing input left
    return child.returncode, said


def _end(said: str) -> str:
    """From the exception on, without what libFuzzer tells of itself."""
    start = said.find("=== Uncaught Python exception")
    lines = said[start if start >= 0 else 0 :].splitlines()
    kept = [line for line in lines if not line.startswith(("#", "stat::", "INFO: ", "WARNING: ", "MS: ", "artifact_"))]
    return "\n".join(kept[:40])
