"""Who owned sockets and connections: also those that are gone, and never somebody else by the same pid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from whodunnet.collectors import owner_names
from whodunnet.collectors.owner_names import Identity, most_connected, name_owners
from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.kernel.bpf.socket_walk import Owner
from whodunnet.kernel.roots import Roots
from whodunnet.model.connections import ConnectionGroup, Connections
from whodunnet.model.descriptors import DescriptorUse, RefusedFiles
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.model.stalls import Holder, Stall, Task
from whodunnet.model.workload import Container, Process, Workload, Workloads

NODE, POD = 11, 12
CONTAINER = Container(id="c" * 64, cgroup="/kubepods/x")


class Answers(WorkloadsCollector):
    """Knows some processes by pid and start, as /proc does."""

    def __init__(self, living: Mapping[Identity, str]) -> None:
        super().__init__(Roots())
        self.living = dict(living)
        self.asked: list[int] = []
        self.namespaces: set[int] = set()

    def attribute(
        self,
        pids: Iterable[int],
        started: Mapping[int, float] | None = None,
        netns: Iterable[int] = (),
        cgroup_ids: Iterable[int] = (),
        shared_netns: Iterable[int] = (),
    ) -> Workloads:
        self.asked, self.namespaces = list(pids), set(netns)
        assert not [*cgroup_ids, *shared_netns]
        found = {
            pid: Workload(process=Process(pid=pid, comm=comm), container=CONTAINER, netns=POD)
            for (pid, start), comm in self.living.items()
            if pid in self.asked and (started or {}).get(pid, start) == start
        }
        return Workloads(by_pid=found)


def ended(pid: int | None, connections: int = 1, comm: str = "curl", **fields: Any) -> ConnectionGroup:
    defaults = {"process_started_seconds": 5.0, "netns": POD}
    return ConnectionGroup(
        role="initiated", ending="closed-here", state="established", server=Endpoint("10.0.0.1", 80), owner_pid=pid,
        comm=comm, connections=connections, **(defaults | fields),
    )  # fmt: skip


def seen(*groups: ConnectionGroup) -> Connections:
    return Connections(groups=groups, watched_seconds=1.0)


def sockets_of(*pids: int) -> Sockets:
    return Sockets(
        method="bpf",
        groups=tuple(
            SocketGroup(
                owner_pid=pid, netns=NODE, protocol="tcp", state="established", role="initiated",
                holding="descriptor", sockets=1,
            )
            for pid in pids
        ),
    )  # fmt: skip


def test_a_process_that_is_gone_keeps_the_name_and_namespace_it_was_met_with() -> None:
    answers = Answers({(1, 5.0): "server"})
    found = name_owners(answers, None, {}, {}, connections=seen(ended(1, comm="server"), ended(7)))
    assert found.by_pid[7] == Workload(process=Process(pid=7, comm="curl"), netns=POD)
    assert found.by_pid[1].container == CONTAINER


def test_who_was_looked_up_once_keeps_its_container_when_it_is_gone() -> None:
    named: dict[Identity, Workload] = {}
    answers = Answers({(7, 5.0): "curl"})
    before = name_owners(answers, None, {}, named, connections=seen(ended(7)))
    answers.living.clear()
    assert name_owners(answers, None, {}, named, connections=seen(ended(7))).by_pid == before.by_pid
    assert before.by_pid[7].container == CONTAINER


def test_a_pid_that_somebody_else_has_by_now_is_not_named_after_it() -> None:
    answers = Answers({(7, 99.0): "other"})
    found = name_owners(answers, None, {}, {}, connections=seen(ended(7)))
    assert found.by_pid[7].process == Process(pid=7, comm="curl")


def test_of_a_pid_that_was_given_twice_the_newer_process_is_named() -> None:
    groups = (ended(7, 100), ended(7, 1, "wget", process_started_seconds=8.0))
    assert most_connected(groups, 10, ()) == {7: Owner("wget", 8.0, POD)}


@pytest.mark.parametrize("newest_first", [False, True])
def test_of_a_pid_that_was_refused_files_and_given_again_the_newer_process_is_named(newest_first: bool) -> None:
    both = [
        RefusedFiles(pid=7, comm="gone", started_seconds=5.0, times=9),
        DescriptorUse(pid=7, comm="new", started_seconds=8.0, open=40, limit=64),
    ]
    found = name_owners(Answers({}), None, {}, {}, consumers=reversed(both) if newest_first else both)
    assert found.by_pid[7].process == Process(pid=7, comm="new")


def test_who_has_sockets_now_is_named_by_them() -> None:
    """With or without BPF: the connections may be those of an older process."""
    for owners in ({7: Owner("new", 9.0, NODE)}, {}):
        answers = Answers({(7, 9.0): "new"})
        found = name_owners(answers, sockets_of(7), owners, {}, connections=seen(ended(7)))
        assert found.by_pid[7].process == Process(pid=7, comm="new")
        assert answers.asked == [7]


def test_those_with_most_connections_are_looked_up_first_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_names, "NAMED_OWNERS", 2)
    answers = Answers({})
    groups = (ended(7, 1), ended(8, 3), ended(9, 2), ended(9, 2, netns=NODE))
    found = name_owners(answers, sockets_of(1, 2, 3), {}, {}, connections=seen(*groups))
    assert answers.asked == [1, 2, 9, 8]
    assert set(found.by_pid) == {9, 8}


def test_of_a_process_in_two_namespaces_none_is_said() -> None:
    found = name_owners(Answers({}), None, {}, {}, connections=seen(ended(7), ended(7, netns=NODE)))
    assert found.by_pid[7].netns is None


def test_the_namespaces_of_all_connections_are_asked_for() -> None:
    answers = Answers({})
    name_owners(answers, None, {}, {}, connections=seen(ended(None), ended(7, netns=NODE)), netns=(13,))
    assert answers.namespaces == {NODE, POD, 13}


def held_by(pid: int, comm: str = "conntrack") -> Stall:
    task = Task(pid=pid, tid=pid, comm=comm, thread=comm, process_started_seconds=5.0)
    end = Holder(task=task, mode="kernel", samples=1, seconds=0.0)
    return Stall(ended_boot_seconds=9.0, cpu=0, kind="late", wait_seconds=0.1, end=end)


def test_whoever_held_a_cpu_is_named_and_keeps_what_was_known_when_gone() -> None:
    answers, named = Answers({(7, 5.0): "monitor"}), dict[Identity, Workload]()
    first = name_owners(answers, None, {}, named, stalls=[held_by(7, "monitor"), held_by(8)])
    assert first.by_pid[7].container == CONTAINER
    assert first.by_pid[8] == Workload(process=Process(pid=8, comm="conntrack"))
    answers.living.clear()
    then = name_owners(answers, None, {}, named, stalls=[held_by(7, "monitor")])
    assert then.by_pid[7].container == CONTAINER


def test_a_process_that_has_sockets_too_is_asked_for_once() -> None:
    answers = Answers({(7, 5.0): "monitor"})
    found = name_owners(answers, sockets_of(7), {7: Owner("monitor", 5.0, NODE)}, {}, stalls=[held_by(7)])
    assert answers.asked == [7]
    assert found.by_pid[7].container == CONTAINER
