"""Killed at random moments, two hundred times: nothing of it is left."""

from __future__ import annotations

import random
import signal
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.look import wait_until
from tests.chaos.left_behind import traces
from tests.chaos.run import Run, nothing_left
from whodunnet.recording.reader import load

KILLS = 200
PARTS = 2
AT_ONCE = 3
LATEST_SECONDS = 1.6
"""By then some runs have come to their end; these are no kills, and others are made in their place."""

BATCH = 10

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SEEDS = [random.SystemRandom().randrange(2**32) for _ in range(PARTS)]
RECORDING = "case"
VERBS = (
    ("diagnose", "--for", "1s"),
    ("diagnose", "--for", "1s", "--format", "json"),
    ("diagnose", "--for", "1s", "--no-bpf"),
    ("record", RECORDING, "--every", "200ms", "--for", "1s"),
    ("stalls", "--for", "1s"),
    ("connections", "--for", "1s"),
    ("conntrack", "--for", "1s"),
    ("conntrack", "--watch", "--for", "1s"),
)
DOCUMENTED = {0, 1, 2}


class Kill(NamedTuple):
    """One run. number: of the signal that it got, None if it had ended before."""

    verb: tuple[str, ...]
    number: signal.Signals | None
    status: int
    left: list[str]


def killed(place: Path, dice: random.Random) -> Kill:
    verb, number, moment = dice.choice(VERBS), dice.choice(SIGNALS), dice.uniform(0, LATEST_SECONDS)
    run, sent = Run(place, *verb), None
    try:
        run.process.wait(moment)  # the moment is what is tested
    except subprocess.TimeoutExpired:
        run.process.send_signal(sent := number)
    answer = run.answer(interrupted=sent == signal.SIGINT)
    if (place / RECORDING).exists():
        load(place / RECORDING)
    return Kill(verb, sent, answer.status, sorted(path.name for path in place.iterdir()))


def check(kill: Kill) -> None:
    assert kill.status in DOCUMENTED or (kill.number is not None and kill.status == -kill.number), kill
    assert set(kill.left) <= ({RECORDING} if "record" in kill.verb else set()), kill


@pytest.mark.usefixtures("leak")
@pytest.mark.parametrize("seed", SEEDS, ids=range(1, PARTS + 1))
def test_killed_at_any_moment_it_leaves_nothing(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nseed {seed}")
    dice = random.Random(seed)
    kills: list[Kill] = []
    hit: Counter[str] = Counter()
    with nothing_left(), ThreadPoolExecutor(AT_ONCE) as pool:
        while hit.total() < KILLS // PARTS:
            numbers = range(len(kills), len(kills) + BATCH)
            places = {tmp_path / str(number): random.Random(dice.random()) for number in numbers}
            kills += pool.map(killed, places, places.values())
            hit = Counter(kill.number.name for kill in kills if kill.number)
            assert len(kills) <= 2 * KILLS // PARTS, "most runs ended before the signal came"
        for kill in kills:
            check(kill)
    with capsys.disabled():
        print(f"{len(kills)} runs, alive when it came: {dict(hit)}; exit status {Counter(k.status for k in kills)}")
    assert len(hit) == len(SIGNALS)


@pytest.mark.parametrize("verb", ["stalls", "connections", "record"])
def test_what_is_looked_for_is_there_while_it_runs(tmp_path: Path, verb: str) -> None:
    """Else it could not be missed afterwards."""
    files = ("case",) if verb == "record" else ()
    place = tmp_path / "run"
    with nothing_left(place):
        before = traces()
        run = Run(place, verb, *files, "--for", "60s")
        wanted = {"bpf", "files"} if files else {"bpf"}
        try:
            wait_until(lambda: wanted <= {*traces(place).beyond(before)}, 15, lambda: f"{verb} has made no {wanted}")
        finally:
            run.process.kill()
            assert run.answer().status == -signal.SIGKILL
        for path in place.iterdir():
            path.unlink()
