"""The stall recorder under other kernels: a CPU that goes and comes back, and threads in place of softirqs."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from lab import machine
from lab.kernel_packages import Kernel
from whodunnet.model.stalls import CpuDelays

from .inside.coming import HOG_SECONDS, RECEIVER, Answer

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
ARGUMENTS = "preempt=none tsc=reliable clocksource=tsc transparent_hugepage=never thread_backlog_napi"
"""Where copying is slow, khugepaged is itself a stall."""
THREADED = {"6.1": False, "6.12": True}
"""Whether RPS can use threads ("net: Use backlog-NAPI to clean up the defer_list", 6.10), one for each CPU."""


@pytest.fixture(scope="module")
def answer(kernel: Kernel) -> Answer:
    command = [sys.executable, "-m", "inside.coming"]
    done = machine.run(kernel, command, HERE, kernel_arguments=ARGUMENTS)
    assert done.status == 0, done.stderr
    assert "BUG:" not in done.console
    print(f"{kernel.version}: {done.seconds:.0f} s")
    return msgspec.json.decode(done.stdout, type=Answer)


def of(cpus: list[CpuDelays]) -> CpuDelays:
    (found,) = (one for one in cpus if one.cpu == RECEIVER)
    return found


def taken_up(cpu: CpuDelays) -> int:
    """How often softirqs or threads took up packets there."""
    return cpu.delayed + sum(span.count for span in cpu.thread_delays)


def test_samples_see_that_a_softirq_has_ended(answer: Answer) -> None:
    assert answer.ends_by_samples


def test_a_cpu_that_comes_back_is_watched_again(answer: Answer) -> None:
    assert answer.online == [0]
    assert of(answer.gone).samples <= of(answer.before).samples + 100
    assert of(answer.after).samples > of(answer.gone).samples
    assert taken_up(of(answer.after)) > taken_up(of(answer.gone))


def test_nothing_waited_while_the_cpu_was_away(answer: Answer) -> None:
    """What it had to do was done by the other one, and is forgotten here."""
    assert of(answer.after).longest_seconds < 10


def test_threads_of_the_backlog_are_watched(answer: Answer, kernel: Kernel) -> None:
    assert answer.threads == (2 if THREADED[kernel.release] else 0)
    assert bool(of(answer.after).thread_delays) == THREADED[kernel.release]


def test_a_thread_of_the_backlog_starves_behind_a_real_time_task(answer: Answer, kernel: Kernel) -> None:
    if not THREADED[kernel.release]:
        pytest.skip("this kernel has no such threads")
    starved = [one for one in answer.stalls if one.kind == "thread" and one.cpu == RECEIVER]
    assert starved
    longest = max(starved, key=lambda one: one.wait_seconds)
    assert longest.end.task.thread == f"backlog_napi/{RECEIVER}"
    assert longest.wait_seconds > HOG_SECONDS / 3
    assert longest.holders[0].task.pid == answer.hog
