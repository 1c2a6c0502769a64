"""The stall recorder and its rules under other kernels: real stalls, each by another cause, and what only looks so.

The machine is emulated, and what emulates it is not always run: then a CPU stands still, and nobody in there did it.
So a test asks for the task and the function, not for a long wait alone, and packets alone are the control.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from lab import machine
from lab.kernel_packages import Kernel
from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.finding import Finding, Party
from whodunnet.model.snapshot import Recording
from whodunnet.model.stall_window import StallWindow, stall_window
from whodunnet.model.stalls import Stalls
from whodunnet.model.workload import Process
from whodunnet.rules.stall_cases import judge_all
from whodunnet.rules.stall_functions import stacks_of
from whodunnet.rules.stall_shapes import Judged

from .inside.stalling import CALL_SECONDS, COLLECTORS, HOG_SECONDS, MANY, RECEIVER, Answer

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
MODULES = ("veth", "crc32c_generic", "nf_tables")  # libcrc32c asks for crc32c when it is loaded
ARGUMENTS = "preempt=none cgroup_no_v1=all tsc=reliable clocksource=tsc transparent_hugepage=never"
"""An emulated HPET takes 10 µs for each look at the clock; and where copying is slow, khugepaged is itself a stall."""
DEFERS = {"6.1": True, "6.12": False}
"""Whether softirqs wait for ksoftirqd once that is due ('Revert "softirq: Let ksoftirqd do its job"', 6.5)."""
RULES = ("rx-stall", "zombie-cgroups")
TURN_SECONDS = 0.05
"""Longer than any turn of a task or round of softirqs, also here."""


@pytest.fixture(scope="module")
def answer(kernel: Kernel) -> Answer:
    command = [sys.executable, "-m", "inside.stalling"]
    done = machine.run(kernel, command, HERE, kernel_arguments=ARGUMENTS, modules=MODULES)
    assert done.status == 0, done.stderr
    assert "BUG:" not in done.console
    print(f"{kernel.version}: {done.seconds:.0f} s")
    return msgspec.json.decode(done.stdout, type=Answer)


def window(recording: Recording) -> StallWindow:
    found = stall_window(recording)
    assert found is not None
    return found


def held(recording: Recording) -> list[Judged]:
    """Waits on the receiving CPU without those in which it stood still."""
    seen = [one for one in judge_all(window(recording)) if one.stall.cpu == RECEIVER]
    return [one for one in seen if one.stall.kind == "late" and one.shape not in ("paused", "irqs-disabled", "steal")]


def findings(recording: Recording, rule: str = "rx-stall") -> list[Finding]:
    return [f for f in diagnose(recording, RULES).findings if f.rule == rule]


def blamed(found: list[Finding]) -> set[tuple[str | None, int | None]]:
    """Shape and pid for each party that is named, whether as culprit or only as holder."""
    return {(f.shape or None, pid_of(p)) for f in found for p in f.parties if p.role in ("culprit", "holder")}


def pid_of(party: Party) -> int | None:
    return party.process.pid if isinstance(party.process, Process) else None


def functions(judged: list[Judged]) -> set[str | None]:
    return {name for stack in stacks_of(h for one in judged for h in one.holders) for name in stack.functions}


def test_the_programs_load_and_lose_nothing(answer: Answer) -> None:
    for recording in answer.scenes.values():
        last = recording.last(Stalls)
        assert last is not None, recording.snapshots[-1].samples
        assert (last.hertz, last.sampling_reason, last.symbols_reason, last.lost) == (250, None, None, 0)
        (cpu,) = (one for one in window(recording).cpus if one.cpu == RECEIVER)
        assert cpu.delayed > 100
        assert all(name in recording.snapshots[-1].samples for name in COLLECTORS)


@pytest.mark.parametrize("scene", ["packets", "spinning", "calling"])
def test_nobody_is_named_beside_packets_alone_nor_who_takes_turns(answer: Answer, scene: str) -> None:
    """In user mode all the time, or in many short system calls: ksoftirqd has its turn."""
    recording = answer.scenes[scene]
    middle = next(one.quantile(0.5) for one in window(recording).cpus if one.cpu == RECEIVER)
    assert blamed(findings(recording)) == set()
    assert max((one.stall.wait_seconds for one in held(recording)), default=0.0) < TURN_SECONDS
    assert middle is not None
    assert middle < 0.001


def test_a_long_system_call_holds_up_packets_where_they_wait_for_ksoftirqd(answer: Answer, kernel: Kernel) -> None:
    recording, pid = answer.scenes["polling"], answer.pids["poller"]
    found, waits = findings(recording), [one.stall.wait_seconds for one in held(recording)]
    if not DEFERS[kernel.release]:
        assert blamed(found) == set()
        assert max(waits, default=0.0) < TURN_SECONDS  # the next tick takes them up
        return
    assert blamed(found) == {("syscall-hog", pid)}
    (finding,) = (f for f in found if f.shape == "syscall-hog")
    assert finding.title.startswith("poller held CPU 0 in poll() for up to ")
    assert (finding.severity, finding.confidence) == ("critical", "proven")
    assert max(waits) > CALL_SECONDS / 2
    long = [one for one in held(recording) if one.stall.wait_seconds > TURN_SECONDS]
    assert {(one.task.pid, one.system_call) for one in long if one.task is not None} == {(pid, "poll")}
    assert "do_sys_poll" in functions(long)
    assert {one.stall.end.task.thread for one in long} == {f"ksoftirqd/{RECEIVER}"}


def test_a_real_time_task_starves_ksoftirqd_where_packets_wait_for_it(answer: Answer, kernel: Kernel) -> None:
    recording, pid = answer.scenes["real time"], answer.pids["urgent"]
    found = findings(recording)
    if not DEFERS[kernel.release]:
        assert blamed(found) == set()
        return
    assert blamed(found) == {("starved-thread", pid)}
    (finding,) = (f for f in found if f.shape == "starved-thread")
    assert finding.title.startswith(
        f"urgent, a real-time task, kept ksoftirqd/{RECEIVER} from CPU {RECEIVER} for up to "
    )
    assert finding.confidence == "proven"
    assert max(one.stall.wait_seconds for one in held(recording)) > HOG_SECONDS / 2


def reads_memory_stat(recording: Recording) -> Finding:
    """The finding about the reader's CPU: not that of whoever waits for the same lock on the other."""
    silent = [f for f in findings(recording) if f.shape == "irqs-disabled"]
    (found,) = (f for f in silent if any("a read of memory.stat" in e.statement for e in f.evidence))
    return found


def test_a_read_of_memory_stat_is_found_by_its_functions_and_names_nobody_in_a_virtual_machine(answer: Answer) -> None:
    """It switches interrupts off while it adds up what has changed; so looks a pause of the machine, but not each time
    in the same function."""
    recording = answer.scenes["memory.stat"]
    finding = reads_memory_stat(recording)
    assert (finding.shape, finding.confidence, finding.severity) == ("irqs-disabled", "possible", "info")
    assert any(name in finding.title for name in ("memory_stat_format", "cgroup_rstat_flush_locked"))
    (read,) = (e for e in finding.evidence if "a read of memory.stat" in e.statement)
    assert isinstance(read.value, int)
    assert isinstance(read.limit, int)
    assert read.value >= 0.8 * read.limit
    assert blamed(findings(recording)) == set()


def test_on_a_machine_that_is_not_virtual_the_reader_is_named(answer: Answer) -> None:
    """The same readings: here it is only for the pauses that nobody is."""
    recording = answer.scenes["memory.stat"]
    node = msgspec.structs.replace(recording.node, virtual_machine=False)
    finding = reads_memory_stat(msgspec.structs.replace(recording, node=node))
    (culprit,) = (p for p in finding.parties if p.role == "culprit")
    assert pid_of(culprit) == answer.pids["monitor"]
    assert "in read()" in str(culprit.effect)
    assert finding.confidence == "likely"


def test_the_deleted_cgroups_are_counted_beside_it(answer: Answer) -> None:
    (finding,) = findings(answer.scenes["memory.stat"], "zombie-cgroups")
    assert finding.title.startswith(f"The kernel still keeps {MANY:,} deleted memory cgroups")
    assert finding.confidence == "proven"


def test_the_deleted_cgroups_are_the_cause_of_the_stall(answer: Answer) -> None:
    """All but two of the cgroups whose statistics are added up were deleted long before."""
    recording = answer.scenes["memory.stat"]
    (cause,) = findings(recording, "zombie-cgroups")
    assert reads_memory_stat(recording).caused_by == (cause.id,)


def test_whoever_waits_for_the_same_lock_is_named_on_no_machine(answer: Answer) -> None:
    recording = answer.scenes["memory.stat"]
    node = msgspec.structs.replace(recording.node, virtual_machine=False)
    named = blamed(findings(msgspec.structs.replace(recording, node=node)))
    assert named == {("irqs-disabled", answer.pids["monitor"])}
