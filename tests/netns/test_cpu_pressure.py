"""cpu-pressure on a real kernel: a program that takes all CPUs while another one has something short to do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.cpu_pressure import CpuPressure
from whodunnet.model.finding import Finding
from whodunnet.model.snapshot import Node, Recording, Snapshot
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.rule import judge

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a priority above that of other tests"),
    pytest.mark.skipif(not os.path.exists("/proc/pressure/cpu"), reason="this kernel counts no pressure"),  # noqa: PTH110
]

ROOTS = Roots()
WINDOWS = 3
HOG = """
import os, sys
for _ in range(2 * os.cpu_count() - 1):
    if os.fork() == 0:
        break
print("busy", flush=True)
while True:
    pass
"""
SHORT = """
import time
print("short", flush=True)
while True:
    time.sleep(0.002)
    end = time.thread_time() + 0.002
    while time.thread_time() < end:
        pass
"""


@contextmanager
def program(text: str, nice: int) -> Iterator[subprocess.Popen[str]]:
    """In a process group of its own, which ends with it."""
    command = ["nice", "-n", str(nice), sys.executable, "-c", text]
    with subprocess.Popen(command, stdout=-1, text=True, start_new_session=True) as made:
        try:
            assert made.stdout
            assert made.stdout.readline()
            group = Path(f"/proc/{made.pid}/autogroup")  # each session is a group, in which niceness counts
            if group.exists():
                group.write_text(str(nice))
            yield made
        finally:
            os.killpg(made.pid, 9)


def window(seconds: int = 4) -> Recording:
    snapshots: list[Snapshot] = []
    with SnapshotTaker(ROOTS, read_support(ROOTS), {"cpu_pressure", "workloads"}) as taker:
        for n in range(seconds + 1):
            time.sleep(1.0 if n else 0.0)
            snapshots.append(taker.take())
    return Recording(node=Node(hostname="n", kernel=os.uname().release, boot_id="b"), snapshots=tuple(snapshots))


def jiffies() -> list[int]:
    """Of all CPUs in each state: user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5))."""
    return [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def until_ours(kept: ExitStack) -> Finding:
    """What is found in a window whose CPUs the hypervisor does not give to others, of several; skips without one."""
    kept.enter_context(program(HOG, -19))
    kept.enter_context(program(SHORT, -5))
    for _ in range(WINDOWS):
        before = jiffies()
        (found,) = judge("cpu-pressure", window())
        passed = [b - a for a, b in zip(before, jiffies(), strict=True)]
        assert isinstance(found, Finding)
        if found.shape != "stolen":
            return found
        assert passed[-1] >= catalogue()["cpu-pressure"].limit("min_stolen") / 2 * sum(passed), "nobody takes them"
    pytest.skip(f"the hypervisor gives {passed[-1] / sum(passed):.0%} of the CPUs to others, {WINDOWS} times in turn")


def test_who_takes_all_cpus_while_others_wait_is_named() -> None:
    with ExitStack() as kept:
        found = until_ours(kept)
    print(found.title, [(e.statement, e.value) for e in found.evidence])
    assert (found.shape, found.severity) == ("consumer", "warning")
    (culprit,) = (p for p in found.parties if p.role == "culprit")
    assert isinstance(culprit.process, Process)
    assert os.path.basename(culprit.process.exe or "") == os.path.basename(os.path.realpath(sys.executable))  # noqa: PTH119
    assert "processes" in str(culprit.effect)


def test_who_takes_what_is_left_over_is_no_culprit() -> None:
    """Other tests may keep one another waiting meanwhile."""
    with program(HOG, 19) as hog, program(SHORT, -19):
        (answer,) = judge("cpu-pressure", window())
        print(answer)
        if isinstance(answer, Finding):
            culprits = [p.process for p in answer.parties if p.role == "culprit"]
            assert all(os.getpgid(p.pid) != hog.pid for p in culprits if isinstance(p, Process))
            assert culprits or answer.severity == "info" or answer.shape != "consumer"


def test_the_time_of_a_program_is_as_its_own_clock_has_it() -> None:
    with program("import time\nprint('on', flush=True)\nwhile True: pass", -10) as busy, program(HOG, -10):
        recording = window(3)
    taken = [c.cpu_ms for _, s in recording.series(CpuPressure) for c in s.consumers if c.pid == busy.pid]
    measured = sum(s.measured_seconds or 0 for _, s in recording.series(CpuPressure))
    assert taken
    assert 0 < sum(taken) <= 1000 * measured * 1.1 + 20
