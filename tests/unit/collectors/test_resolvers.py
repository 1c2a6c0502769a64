"""Files of processes by namespace, and our own questions to name servers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whodunnet.collectors import resolvers
from whodunnet.collectors.resolvers import ResolversCollector
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.roots import Roots

HOST, POD = 11, 12
NODE = "nameserver 10.0.0.53\n"
CLUSTER = "nameserver 10.96.0.10\nsearch a.example\noptions ndots:5\n"


class Machine:
    """Processes in namespaces, each with a file below its root."""

    def __init__(self, top: Path) -> None:
        self.top = top
        (top / "proc").mkdir()
        (top / "proc/self").symlink_to("1")

    def add(self, pid: int, netns: int, mount: int, text: str | None = None) -> None:
        place = self.top / f"proc/{pid}"
        (place / "ns").mkdir(parents=True)
        (place / "ns/net").symlink_to(f"net:[{netns}]")
        (place / "ns/mnt").symlink_to(f"mnt:[{mount}]")
        (place / "root/etc").mkdir(parents=True)
        if text is not None:
            (place / "root/etc/resolv.conf").write_text(text)

    @property
    def roots(self) -> Roots:
        return Roots.below(self.top)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.add(1, HOST, 1, NODE)
    made.add(5, HOST, 1, "nameserver 192.0.2.1\n")
    made.add(7, POD, 2, CLUSTER)
    made.add(8, POD, 3, CLUSTER)
    return made


class Question:
    """A name server that answers when it is told to."""

    def __init__(self, address: str) -> None:
        self.address, self.sent, self.inode = address, 1, 99
        self.rcode: int | None = None
        self.refused = self.closed = False

    def ask(self) -> None:
        self.sent += 1

    def look(self) -> None:
        return

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """Those that were sent, all from inside of namespaces."""
    made: list[Question] = []

    def make(address: str) -> Question:
        if address == "192.0.2.99":
            raise UnreadableError("no way")
        made.append(Question(address))
        return made[-1]

    def inside(_self: object, _path: Path, _inum: int, call: Callable[[], Any]) -> Any:
        return call()

    monkeypatch.setattr(resolvers, "make_query", make)
    monkeypatch.setattr(namespaces.Visitor, "inside", inside)
    monkeypatch.setattr(namespaces, "own", lambda _roots: HOST)
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(resolvers.time, "monotonic", lambda: now[0])
    return now


def test_one_process_of_each_pair_of_namespaces_is_asked_and_what_is_equal_kept_once(machine: Machine) -> None:
    found = ResolversCollector(machine.roots).collect()
    assert [(f.netns, f.pid, f.servers) for f in found.files] == [
        (HOST, 1, ("10.0.0.53",)), (POD, 7, ("10.96.0.10",)),
    ]  # fmt: skip
    assert (found.netns_unread, found.left_out, found.asked, found.lookups) == (0, 0, False, ())


def test_a_pod_on_the_host_s_network_has_a_file_of_its_own(machine: Machine) -> None:
    machine.add(9, HOST, 4, CLUSTER)
    assert [f.netns for f in ResolversCollector(machine.roots).collect().files].count(HOST) == 2


def test_a_namespace_without_a_readable_file_is_counted(machine: Machine) -> None:
    machine.add(20, 13, 9)
    assert ResolversCollector(machine.roots).collect().netns_unread == 1


def test_namespaces_that_we_may_not_look_into_are_counted(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "find", lambda _: namespaces.Namespaces(ways={}, denied=3, unidentified=2))
    assert ResolversCollector(machine.roots).collect().netns_unread == 2


def test_more_files_of_one_namespace_than_the_bound_are_counted(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolvers, "FILES_OF_ONE", 1)
    found = ResolversCollector(machine.roots).collect()
    assert (len(found.files), found.left_out) == (2, 1)


def test_files_are_not_read_again_at_once(machine: Machine, clock: list[float]) -> None:
    collector = ResolversCollector(machine.roots)
    collector.collect()
    (machine.top / "proc/7/root/etc/resolv.conf").write_text("nameserver 10.96.0.11\n")
    clock[0] = resolvers.EVERY_SECONDS - 1
    early = collector.collect()
    assert (early.files[1].servers, early.read_seconds_ago) == (("10.96.0.10",), clock[0])
    clock[0] = resolvers.EVERY_SECONDS
    assert collector.collect().files[1].servers == ("10.96.0.11",)


def test_without_active_nobody_is_asked(machine: Machine, questions: list[Question]) -> None:
    ResolversCollector(machine.roots).collect()
    assert questions == []


def test_each_server_is_asked_from_each_namespace_and_once_again(
    machine: Machine, questions: list[Question], clock: list[float]
) -> None:
    collector = ResolversCollector(machine.roots, active=True)
    first = collector.collect()
    assert [(x.netns, x.server, x.sent, x.outcome) for x in first.lookups] == [
        (HOST, "10.0.0.53", 1, "waiting"), (POD, "10.96.0.10", 1, "waiting"),
    ]  # fmt: skip
    questions[0].rcode = 3
    for moment in (0.1, 1.0, 2.0, 3.0):
        clock[0] = moment
        last = collector.collect()
    assert [(x.outcome, x.rcode, x.sent, x.seconds) for x in last.lookups] == [
        ("answered", 3, 1, 3.0), ("waiting", None, 2, 3.0),
    ]  # fmt: skip
    collector.close()
    assert all(question.closed for question in questions)


def test_a_refusal_is_told_from_silence(machine: Machine, questions: list[Question], clock: list[float]) -> None:
    collector = ResolversCollector(machine.roots, active=True)
    collector.collect()
    questions[1].refused = True
    clock[0] = 1.0
    last = collector.collect()
    assert [(x.outcome, x.sent) for x in last.lookups] == [("waiting", 2), ("refused", 1)]
    assert questions[1].sent == 1


@pytest.mark.usefixtures("questions")
def test_where_nothing_can_be_sent_it_is_said(machine: Machine) -> None:
    machine.add(20, 13, 9, "nameserver 192.0.2.99\n")
    found = ResolversCollector(machine.roots, active=True).collect()
    assert [(x.outcome, x.sent) for x in found.lookups if x.netns == 13] == [("not-sent", 0)]


@pytest.mark.usefixtures("questions")
def test_an_empty_file_means_this_machine(machine: Machine) -> None:
    machine.add(20, 13, 9, "")
    found = ResolversCollector(machine.roots, active=True).collect()
    assert [x.server for x in found.lookups if x.netns == 13] == ["127.0.0.1"]


@pytest.mark.usefixtures("questions")
def test_beyond_the_bound_every_server_is_asked_from_somewhere_first(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in range(20, 26):
        machine.add(pid, pid, pid, NODE)
    machine.add(30, 30, 30, "nameserver 192.0.2.7\n")
    monkeypatch.setattr(resolvers, "QUERIES_MAX", 3)
    found = ResolversCollector(machine.roots, active=True).collect()
    assert {x.server for x in found.lookups} == {"10.0.0.53", "10.96.0.10", "192.0.2.7"}
    assert found.unasked == 6


def test_without_procfs_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError):
        ResolversCollector(Roots.below(tmp_path)).collect()


def test_this_machine_s_own_file_is_found() -> None:
    own = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116 - a number is wanted
    found = ResolversCollector(Roots()).collect()
    if not Path("/etc/resolv.conf").exists():
        assert own not in {f.netns for f in found.files}
    elif os.geteuid() == 0:
        assert own in {f.netns for f in found.files}
