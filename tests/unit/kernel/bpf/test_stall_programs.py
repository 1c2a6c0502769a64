"""Which programs the stall recorder has attached while CPUs and NAPI threads come and go, for each costs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from whodunnet.errors import UnreadableError
from whodunnet.kernel.bpf import stalls
from whodunnet.kernel.bpf.stalls import StallRecorder
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, read_support

KERNEL_THREAD = "{} (napi/eth0-1) S 2 0 0 0 -1 2129984 0 0\n"


class Object:
    """In place of the loaded programs: what is attached, and which CPUs refuse to be sampled."""

    attached: set[str]
    refused: set[int]
    sees_softirqs = True

    def __init__(self, *_: object) -> None:
        self.ffi = None

    def data(self, section: str, _: str) -> Any:
        if section == "cpus":
            return [SimpleNamespace(lost=0, suppressed=0)] * 4
        return SimpleNamespace(sees_softirqs=Object.sees_softirqs)

    def attach(self, program: str) -> None:
        Object.attached.add(program)

    def detach(self, program: str) -> None:
        Object.attached.discard(program)

    def attach_clock(self, _: str, cpu: int, hertz: int) -> None:
        assert hertz > 0
        if cpu in Object.refused:
            raise UnreadableError(f"CPU {cpu} cannot be sampled")

    def per_cpu_distance(self, *_: str) -> int:
        return 0

    def nothing(self, *_: object, **__: object) -> None:
        """What does not matter here."""

    ring = run = put = delete = close = nothing


class Machine:
    """A tree of its own, in which CPUs come and go."""

    def __init__(self, root: Path) -> None:
        self.root, self.roots = root, Roots.below(root)
        (root / "sys/devices/system/cpu").mkdir(parents=True)
        (root / "sys/devices/system/cpu/possible").write_text("0-3\n")
        (root / "proc/2/task/2").mkdir(parents=True)
        self.online("0-3")
        self.threads()

    def online(self, cpus: str) -> None:
        (self.root / "sys/devices/system/cpu/online").write_text(f"{cpus}\n")

    def threads(self, *pids: int) -> None:
        for pid in pids:
            (self.root / f"proc/{pid}").mkdir(exist_ok=True)
            (self.root / f"proc/{pid}/comm").write_text("napi/eth0-1\n")
            (self.root / f"proc/{pid}/stat").write_text(KERNEL_THREAD.format(pid))
        (self.root / "proc/2/task/2/children").write_text(" ".join(map(str, pids)))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    Object.attached, Object.refused, Object.sees_softirqs = set(), set(), True
    monkeypatch.setattr(stalls, "BpfObject", Object)
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def support() -> Support:
    return read_support(Roots())


def recorder(machine: Machine, support: Support, hertz: int = 250) -> StallRecorder:
    return StallRecorder(support, machine.roots, stalls.Settings(hertz=hertz))


def test_where_samples_see_that_softirqs_end_there_are_two_programs(machine: Machine, support: Support) -> None:
    watching = recorder(machine, support)
    assert Object.attached == set(stalls.PROGRAMS)
    assert (watching.watches_ends, watching.sampling_reason) == (False, None)


def test_without_samples_ends_are_watched(machine: Machine, support: Support) -> None:
    assert recorder(machine, support, hertz=0).watches_ends
    assert Object.attached == {*stalls.PROGRAMS, stalls.ENDS}


def test_where_samples_do_not_see_softirqs_ends_are_watched(machine: Machine, support: Support) -> None:
    Object.sees_softirqs = False
    watching = recorder(machine, support)
    watching.refresh()
    assert Object.attached == {*stalls.PROGRAMS, stalls.ENDS}


def test_ends_are_watched_only_while_a_cpu_refuses_to_be_sampled(machine: Machine, support: Support) -> None:
    Object.refused = {1}
    watching = recorder(machine, support)
    assert Object.attached == {*stalls.PROGRAMS, stalls.ENDS}
    assert watching.sampling_reason == "CPU 1 cannot be sampled"
    Object.refused = set()
    watching.refresh()
    assert Object.attached == set(stalls.PROGRAMS)
    assert not watching.watches_ends


def test_a_cpu_that_went_away_meanwhile_is_no_reason_to_watch_ends(
    machine: Machine, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    def goes_away(_: Object, __: str, cpu: int, ___: int) -> None:
        if cpu == 3:
            machine.online("0-2")
            raise UnreadableError("CPU 3 cannot be sampled: No such device")

    monkeypatch.setattr(Object, "attach_clock", goes_away)
    watching = recorder(machine, support)
    assert (watching.watches_ends, watching.sampling_reason) == (False, None)
    assert Object.attached == set(stalls.PROGRAMS)


def test_polls_are_watched_only_while_there_are_threads(machine: Machine, support: Support) -> None:
    watching = recorder(machine, support)
    machine.threads(40, 41)
    watching.refresh()
    assert (Object.attached - {*stalls.PROGRAMS}, watching.threads_watched) == ({stalls.POLLS}, 2)
    machine.threads()
    watching.refresh()
    assert (Object.attached - {*stalls.PROGRAMS}, watching.threads_watched) == (set(), 0)
