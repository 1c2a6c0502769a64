"""Too little memory for whodunnet, down to none, and a neighbour who fights for every page."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.look import NotThereError, wait_until
from lab.memory_cgroups import Parent
from lab.stage import Pod, Stage
from tests.chaos import actors
from tests.chaos.run import Run, nothing_left
from tests.chaos.scene import Leak
from tests.netns.command import WHODUNNET, Answer

KIB, MIB = 1 << 10, 1 << 20
SNAPSHOT = ("diagnose", "--for", "0s", "--format", "json")
TOO_LITTLE = "whodunnet: not enough memory"
ADDRESS_SPACES = 24
STEP_KIB = 1024
CGROUPS_MIB = (6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 128)
KILLED = -9
STACKLESS, STACKLESS_MAX = -11, 2
"""Where an address space is full just when the stack has to grow, the kernel sends SIGSEGV (setrlimit(2), RLIMIT_AS):
no program can answer that. It takes the very page, so that more than a few of these are a crash of ours."""
NEIGHBOUR_MIB = 24
FILE_MIB = 192


def within(kib: int) -> tuple[str, ...]:
    """An address space of this size (setrlimit(2))."""
    return ("sh", "-c", f'ulimit -v {kib}; exec "$@"', "sh")


def least_address_space() -> int:
    """KiB in which the program starts at all: with less, Python itself does not get that far."""
    for kib in range(8 * KIB, 64 * KIB, STEP_KIB // 2):
        command = [*within(kib), str(WHODUNNET), "--version"]
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return kib
    raise AssertionError("whodunnet --version does not start")


def told_or_named(leak: Leak, answer: Answer) -> bool:
    """Whether it answered; else it said in a sentence what it lacks."""
    if answer.status == 2 and not answer.out:
        assert answer.err.startswith(TOO_LITTLE), answer.err
        assert answer.err.count("\n") == 1
        return False
    assert answer.status in (0, 1, 2), answer.err
    leak.is_named(answer.document)
    return True


def test_with_a_small_address_space_it_answers_or_says_that_memory_is_short(
    leak: Leak, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    least = least_address_space()
    sizes = [least + STEP_KIB * number for number in range(ADDRESS_SPACES)]
    with nothing_left(), ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda kib: Run(tmp_path / str(kib), *SNAPSHOT, rights=within(kib)).answer(), sizes))
        stackless = [answer for answer in answers if answer.status == STACKLESS]
        answered = [told_or_named(leak, answer) for answer in answers if answer not in stackless]
    with capsys.disabled():
        print(f"\nstarts with {least} KiB, answered in {sum(answered)} of {len(sizes)} sizes up to {sizes[-1]} KiB")
    assert [(answer.out, answer.err) for answer in stackless] == [("", "")] * len(stackless)
    assert len(stackless) <= STACKLESS_MAX
    assert {True, False} <= set(answered), "no size tested is too small, or none is enough"


class Cgroups:
    """Memory cgroups with a limit, until the stage closes."""

    def __init__(self, stage: Stage) -> None:
        self._parent = Parent(stage)

    def limited(self, mib: int) -> Path:
        """The file that a process id is written to."""
        made = self._parent.place / str(mib)
        made.mkdir()
        limits = (made / "memory.limit_in_bytes", made / "memory.max")
        next(limit for limit in limits if limit.exists()).write_text(str(mib * MIB))
        return made / "cgroup.procs"


def times_at_limit(cgroup: Path) -> int:
    """How often an allocation met the limit: cgroup v1's failcnt, or v2's events."""
    if (cgroup / "memory.failcnt").exists():
        return int((cgroup / "memory.failcnt").read_text())
    words = (cgroup / "memory.events").read_text().split()
    return int(words[words.index("max") + 1])


@pytest.fixture
def cgroups(stage: Stage) -> Iterator[Cgroups]:
    try:
        yield Cgroups(stage)
    except NotThereError as error:
        pytest.skip(str(error))


def test_in_a_small_cgroup_it_answers_or_is_killed_and_leaves_nothing(
    leak: Leak, cgroups: Cgroups, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: dict[int, str] = {}
    members = {mib: cgroups.limited(mib) for mib in CGROUPS_MIB}
    with nothing_left():
        for mib, member in members.items():
            join = ("sh", "-c", f'echo $$ >{member}; exec "$@"', "sh")
            answer = Run(tmp_path / str(mib), *SNAPSHOT, rights=join).answer()
            killed = answer.status == KILLED
            ended[mib] = "killed" if killed else "answered" if told_or_named(leak, answer) else "told"
            assert not list((tmp_path / str(mib)).iterdir())
    with capsys.disabled():
        print(f"\nby MiB of its cgroup: {ended}")
    assert "answered" in ended.values()
    assert "killed" in ended.values() or "told" in ended.values()


def test_beside_who_fights_for_every_page_it_names_the_leak(
    leak: Leak, stage: Stage, cgroups: Cgroups, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, member = Pod(f"{stage.label}-thrasher", "", ""), cgroups.limited(NEIGHBOUR_MIB)
    stage.namespace(place.namespace)
    neighbour = stage.play(place, "thrasher", actors.thrash, str(stage.directory / "file"), FILE_MIB * MIB)
    member.write_text(str(neighbour.pid))
    wait_until(lambda: times_at_limit(member.parent) > 0, 30, lambda: f"no pressure in {member.parent}")
    before = times_at_limit(member.parent)
    with nothing_left():
        answer = Run(tmp_path / "run", "diagnose", "--for", "3s", "--format", "json").answer()
    stage.check_alive()
    met = times_at_limit(member.parent) - before
    with capsys.disabled():
        print(f"\nthe neighbour met its limit {met} times meanwhile")
    assert met > 0, "there was no pressure"
    assert leak.is_named(answer.document)
