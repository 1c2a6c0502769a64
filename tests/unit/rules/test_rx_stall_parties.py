"""Which workload it is that held a CPU, and what to do about it."""

from __future__ import annotations

from msgspec.structs import replace

from whodunnet.model.workload import Workloads

from .nodes import in_container, named, parties, process
from .stalled import (
    MONITOR,
    OTHER,
    WORKER,
    found,
    held,
    in_cgroup,
    stall,
)


def test_a_pid_that_was_given_anew_is_not_taken_for_the_one_that_held_the_cpu() -> None:
    before = replace(MONITOR, process_started_seconds=MONITOR.process_started_seconds - 100)
    (finding,) = found(stall(held(before, 37)), workloads=Workloads(by_pid=in_container("web", 7)))
    (culprit,) = parties(finding, "culprit")
    assert (culprit.pod, culprit.process.comm) == (None, "app7")  # type: ignore[union-attr]


def test_whoever_is_gone_keeps_the_name_and_is_found_by_its_cgroup() -> None:
    gone = replace(MONITOR, cgroup_id=77)
    web = replace(in_container("web", 7)[7], process=None)
    (finding,) = found(stall(held(gone, 37)), workloads=in_cgroup(77, web))
    (culprit,) = parties(finding, "culprit")
    assert culprit.pod.name == "web"  # type: ignore[union-attr]
    assert culprit.process.comm == "app7"  # type: ignore[union-attr]


def test_processes_of_one_name_that_come_and_go_are_one_culprit() -> None:
    dumps = [stall(held(replace(MONITOR, pid=100 + n, tid=100 + n), 7), wait=0.03) for n in range(6)]
    (finding,) = found(*dumps)
    assert "app7 and 5 more of that name" in finding.title
    assert not [r for r in finding.remedies if r.action == "restart-workload"]


def test_several_processes_of_one_name_are_not_ended_by_one_of_their_numbers() -> None:
    who = named(7, 9, comm="dump")
    dumps = [replace(task, comm="dump") for task in (MONITOR, OTHER)]
    (finding,) = found(*(stall(held(task, 37)) for task in dumps), workloads=who)
    assert not [r for r in finding.remedies if r.action == "restart-workload"]


def test_the_same_program_in_two_containers_is_two_culprits() -> None:
    who = Workloads(by_pid={**in_container("web", 7, comm="app"), **in_container("db", 9, comm="app")})
    tasks = [replace(task, comm="app") for task in (MONITOR, OTHER)]
    both = found(*(stall(held(task, 37)) for task in tasks), workloads=who)
    assert sorted(p.pod.name for f in both for p in parties(f, "culprit")) == ["db", "web"]  # type: ignore[union-attr]
    assert len({f.id for f in both}) == 2


def test_a_thread_of_the_kernel_is_in_no_container() -> None:
    web = replace(in_container("web", 7)[7], process=None)
    (finding,) = found(stall(held(replace(WORKER, cgroup_id=77), 37)), workloads=in_cgroup(77, web))
    (culprit,) = parties(finding, "culprit")
    assert (culprit.pod, culprit.container) == (None, None)


def test_programs_of_two_containers_are_two_culprits_and_the_worse_comes_first() -> None:
    who = Workloads(by_pid={**in_container("web", 7), **in_container("db", 9)})
    both = found(stall(held(MONITOR, 10), wait=0.04), stall(held(OTHER, 50), wait=0.2), workloads=who)
    assert [p.pod.name for f in both for p in parties(f, "culprit")] == ["db", "web"]  # type: ignore[union-attr]
    assert [p.share for f in both for p in parties(f, "culprit")] == [0.8333, 0.1667]


def test_the_id_stays_while_the_same_program_does_the_same() -> None:
    who = named(7)
    (one,) = found(stall(held(MONITOR, 37)), workloads=who)
    (again,) = found(stall(held(MONITOR, 90), wait=0.36), stall(held(MONITOR, 37)), workloads=who)
    assert one.id == again.id


def test_a_service_is_restarted_by_name_and_a_process_by_pid() -> None:
    (finding,) = found(stall(held(MONITOR, 37)), workloads=named(7))
    assert "kill 7" in [r.command for r in finding.remedies]
    service = Workloads(by_pid={7: replace(named(7).by_pid[7], unit="kubelet.service")})
    (finding,) = found(stall(held(MONITOR, 37)), workloads=service)
    assert "systemctl restart -- kubelet.service" in [r.command for r in finding.remedies]


def test_names_from_the_node_are_cleaned() -> None:
    hostile = replace(MONITOR, comm="\x1b[31m\n$(id)", thread="\u202ex")
    who = Workloads(by_pid={7: replace(named(7).by_pid[7], process=process(7, comm=hostile.comm))})
    (finding,) = found(stall(held(hostile, 37, functions=("\x1bfoo",))), workloads=who)
    told = (finding.title, finding.summary, *(e.statement for e in finding.evidence), *finding.explanation)
    assert not [text for text in told if not text.isprintable()]
