"""Processes and network namespaces that come and go by the hundred per second while whodunnet looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.look import wait_until
from lab.stage import Player, Pod, Stage
from tests.chaos import actors
from tests.chaos.run import Run, nothing_left
from tests.chaos.scene import Leak

WORKERS = 3
PROCESSES_PER_SECOND = 100
WINDOW = ("--for", "2s")
CROWDS = [
    pytest.param(actors.processes, PROCESSES_PER_SECOND, id="processes"),
    # How many a kernel makes depends on its configuration (a hash table, conntrack, ... for each): told, not judged.
    pytest.param(actors.namespaces, 1, id="namespaces"),
]


class Crowd:
    """Programs whose children come and go; what they print is how many did."""

    def __init__(self, stage: Stage, lives: Callable[[int], None]) -> None:
        place = Pod(f"{stage.label}-crowd", "", "")
        stage.namespace(place.namespace)
        self.player: Player = stage.play(place, "crowd", lives, WORKERS)
        self.stage = stage
        wait_until(lambda: self.lives() > 0, 15, stage.logs)

    def lives(self) -> int:
        self.stage.check_alive()
        return sum(map(int, self.player.log.read_text().splitlines()))


@pytest.mark.parametrize(("lives", "per_second"), CROWDS)
def test_it_names_the_leak_or_nobody_while_others_come_and_go(
    leak: Leak,
    tmp_path: Path,
    lives: Callable[[int], None],
    per_second: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stage, named = Stage(), []
    with nothing_left():
        try:
            crowd = Crowd(stage, lives)
            before, begin = crowd.lives(), time.monotonic()
            for number, options in enumerate(((), (), ("--no-bpf",), ("--no-bpf",))):
                answer = Run(tmp_path / str(number), "diagnose", *WINDOW, "--format", "json", *options).answer()
                assert answer.status in (0, 1), answer.err
                named.append(leak.is_named(answer.document))
            rate = (crowd.lives() - before) / (time.monotonic() - begin)
        finally:
            stage.close()
    with capsys.disabled():
        print(f"\n{rate:.0f} a second came and went; the leak was named in {sum(named)} of {len(named)} diagnoses")
    assert rate >= per_second
    assert any(named)


VERBS = [
    ("sockets", "--by", "process"),
    ("sockets", "--by", "netns", "--for", "1s"),
    ("connections", "--for", "1s"),
    ("conntrack", "--by", "netns", "--for", "1s"),
    ("stalls", "--for", "1s"),
    ("record", "case", "--every", "100ms", "--for", "1s"),
]


@pytest.mark.parametrize("lives", [actors.processes, actors.namespaces])
def test_every_command_ends_well_meanwhile(stage: Stage, tmp_path: Path, lives: Callable[[int], None]) -> None:
    crowd = Crowd(stage, lives)
    for number, verb in enumerate(VERBS):
        before = crowd.lives()
        answer = Run(tmp_path / str(number), *verb).answer()
        assert answer.status == 0, (verb, answer.err)
        assert crowd.lives() > before
