"""Snapshots with connections: who was at both ends, also when nobody is there any more. Needs root."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netns.ends import close_in_turn, tried
from netns.namespace import Namespace
from netns.scene import HERE, child
from whodunnet.collectors.connections import TCP_COUNTERS, TCP_EXT_COUNTERS
from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.connections import ConnectionGroup, Connections
from whodunnet.model.snapshot import Snapshot
from whodunnet.model.workload import Process, Workload, Workloads

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]
WANTED = ("connections", "sockets")
CONTAINER = "c0ffee00" * 8
NAMED = """
from pathlib import Path
Path("/proc/self/comm").write_text({name!r})
"""
SERVER = """
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.readline()
accepted = listener.accept()[0]
accepted.recv(1)
accepted.close()
print(flush=True)
sys.stdin.readline()
"""
CLIENT = """
client = socket.create_connection(("127.0.0.1", {port}))
client.close()
"""


@pytest.fixture
def taker(support: Support) -> Iterator[SnapshotTaker]:
    with SnapshotTaker(Roots(), support, WANTED) as made:
        yield made


def ends_of(snapshot: Snapshot, namespace: Namespace) -> tuple[list[ConnectionGroup], Workloads]:
    """The groups of one namespace, and who is who; nothing may have been lost."""
    sample, workloads = snapshot.samples["connections"], snapshot.samples["workloads"]
    assert isinstance(sample, Connections)
    assert isinstance(workloads, Workloads)
    assert (sample.method, sample.other, sample.untracked, sample.missed) == ("bpf", {}, 0, 0)
    return [g for g in sample.groups if g.netns == namespace.number], workloads


def owner(groups: list[ConnectionGroup], role: str) -> int:
    """The only process that was met at this end."""
    (pid,) = {g.owner_pid for g in groups if g.role == role}
    assert pid is not None
    return pid


def read_line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline()


def tell(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


def test_a_client_that_exits_at_once_keeps_its_name_beside_a_server_that_lives(
    taker: SnapshotTaker, namespace: Namespace
) -> None:
    taker.take()
    with namespace.kept as kept:
        server = namespace(lambda: kept.enter_context(child(NAMED.format(name="lasting") + SERVER)))
        port = int(read_line(server))
        tell(server)
        program = NAMED.format(name="short-lived") + CLIENT.format(port=port)
        client = namespace(lambda: kept.enter_context(child(program)))
        assert client.wait(10) == 0
        assert read_line(server) == "\n"
        groups, workloads = ends_of(taker.take(), namespace)
    pid = owner(groups, "initiated")
    assert pid == client.pid
    assert workloads.by_pid[pid] == Workload(process=Process(pid=pid, comm="short-lived"), netns=namespace.number)
    process = workloads.by_pid[owner(groups, "accepted")].process
    assert process is not None
    assert (process.pid, process.comm, process.exe) == (server.pid, "lasting", os.path.realpath("/proc/self/exe"))
    assert {g.ending for g in groups} == {"opened", "closed-here", "closed-by-peer"}
    assert 0 < taker.costs["connections"].attributed_share <= 1  # type: ignore[operator]


@contextmanager
def in_container(pid: int) -> Iterator[None]:
    """The process in a cgroup as docker makes it."""
    tops = (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))
    hierarchy = next((top for top in tops if (top / "cgroup.procs").exists()), None)
    if hierarchy is None:
        pytest.skip("no cgroup hierarchy with processes is mounted")
    made = [path for path in (hierarchy / "docker", hierarchy / "docker" / CONTAINER) if not path.exists()]
    for path in made:
        path.mkdir()
    try:
        (hierarchy / "docker" / CONTAINER / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for path in reversed(made):
            path.rmdir()


def test_a_server_in_a_container_is_its_container_also_when_it_is_gone(
    taker: SnapshotTaker, namespace: Namespace
) -> None:
    taker.take()
    with namespace.kept as kept:
        server = namespace(lambda: kept.enter_context(child(NAMED.format(name="contained") + SERVER)))
        with in_container(server.pid):
            port = int(read_line(server))
            tell(server)
            namespace(lambda: socket.create_connection((HERE, port)).close())
            assert read_line(server) == "\n"
            alive = ends_of(taker.take(), namespace)
            server.send_signal(signal.SIGKILL)
            server.wait(10)
        gone = ends_of(taker.take(), namespace)
    for groups, workloads in (alive, gone):
        pid = owner(groups, "accepted")
        found = workloads.by_pid[pid]
        assert (pid, found.netns) == (server.pid, namespace.number)
        assert found.container is not None
        assert (found.container.id, found.container.runtime) == (CONTAINER, "docker")
    assert gone[0] == alive[0]


def test_numbers_only_grow_from_the_first_snapshot_on(taker: SnapshotTaker, namespace: Namespace) -> None:
    """What ended before the first snapshot is not there."""

    def connect(count: int) -> None:
        with socket.create_server((HERE, 0)) as listener:
            for _ in range(count):
                close_in_turn(socket.create_connection(listener.getsockname()), listener.accept()[0])

    namespace(lambda: connect(2))
    samples = []
    for count in (0, 3, 4):
        namespace(lambda count=count: connect(count))  # type: ignore[misc]
        groups, _ = ends_of(snapshot := taker.take(), namespace)
        samples.append(snapshot.samples["connections"])
        assert sum(g.connections for g in groups if g.ending == "opened") == {0: 0, 3: 3, 4: 7}[count]
    assert all(isinstance(s, Connections) for s in samples)
    assert len({s.started_seconds for s in samples if isinstance(s, Connections)}) == 1


def by_hand() -> dict[str, int]:
    """Of the namespace that the calling thread is in, as nstat(8) shows them, since it was made."""
    shown = subprocess.run(["nstat", "-asz"], check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in shown.splitlines() if not line.startswith("#"))
    values = {row[0]: int(row[1]) for row in rows}
    named = {name: f"Tcp{name}" for name in TCP_COUNTERS} | {name: f"TcpExt{name}" for name in TCP_EXT_COUNTERS}
    return {name: values[of] for name, of in named.items() if of in values}


def test_without_bpf_the_counters_are_those_of_nstat(support: Support, namespace: Namespace) -> None:
    """After one connect that was refused."""
    assert namespace(lambda: tried((HERE, 9))).startswith("ConnectionRefusedError")
    with namespace.kept as kept, SnapshotTaker(Roots(), support, WANTED, bpf=False) as taker:
        namespace(lambda: kept.enter_context(child("sys.stdin.readline()")))
        before, snapshot, after = namespace(by_hand), taker.take(), namespace(by_hand)
    sample = snapshot.samples["connections"]
    assert isinstance(sample, Connections)
    assert (sample.method, sample.groups) == ("counters", ())
    assert sample.fallback_reason == "BPF was switched off with --no-bpf"
    assert before == after == sample.counters[namespace.number]
    assert (before["AttemptFails"], before["ActiveOpens"]) == (1, 1)
    assert set(before) == {*TCP_COUNTERS, *TCP_EXT_COUNTERS}
