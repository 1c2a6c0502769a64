"""What to do about a stall. Nothing of it is run."""

from __future__ import annotations

from whodunnet.model.finding import Remedy
from whodunnet.model.workload import Workload
from whodunnet.rules import remedies
from whodunnet.rules.stall_cases import Case
from whodunnet.rules.stall_functions import READS, in_functions


def remedies_of(case: Case) -> list[Remedy]:
    """By shape, the least harmful first."""
    found: list[Remedy | None] = []
    match case.shape:
        case "syscall-hog" | "softirqs-disabled" if case.is_named:
            if in_functions(case.stacks, READS):
                found.append(_read_less())
            found.append(remedies.restart(_whom(case), "its stalls end", "they come back with what it does"))
        case "starved-thread":
            found.append(_ordinary(case))
        case "steal":
            found.append(_elsewhere())
        case "overload":
            found.append(_spread())
    return [remedy for remedy in found if remedy is not None]


def _whom(case: Case) -> Workload | None:
    """Nobody restarts a thread of the kernel, or one of several of a name."""
    if case.task is None or case.task.kernel_thread or case.confidence == "possible":
        return None
    several = case.processes > 1 and case.workload is not None and case.workload.container is None
    return None if several else case.workload


def _read_less() -> Remedy:
    return Remedy(
        action="fix-application",
        do="Let whoever reads memory.stat do so less often, and not of the root and kubepods cgroups",
        command="find /sys/fs/cgroup -name cgroup.procs | wc -l  # how many cgroups there are",
        effect="fewer stalls, each as long as before",
        risk="its graphs of memory get coarser",
    )


def _ordinary(case: Case) -> Remedy | None:
    """Not of threads of the kernel: what they do in real time (interrupts, moving tasks) others wait for."""
    task = case.task
    if task is None or task.tid is None or task.kernel_thread or case.confidence == "possible":
        return None
    return Remedy(
        action="tune",
        do="Take its real-time priority from this thread",
        command=f"chrt --other --pid 0 {task.tid}",
        effect="threads that take packets get their turn",
        risk="what it does may come too late for it; ask its makers",
    )


def _elsewhere() -> Remedy:
    return Remedy(
        action="spread",
        do="Move this machine to a host with room, or take a size whose CPUs are not shared",
        command=None,
        effect="the hypervisor gives it its CPUs when it needs them",
        risk="what runs here has to move",
    )


def _spread() -> Remedy:
    return Remedy(
        action="spread",
        do="Give received packets more CPUs, or keep busy programs off these",
        command="grep . /sys/class/net/*/queues/rx-*/rps_cpus  # shows; writing a mask of CPUs sets it",
        effect="packets do not wait for other work",
        risk="a packet that crosses CPUs costs a little more",
    )
