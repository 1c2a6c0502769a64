"""sock_diag against ss, in a network namespace that holds exactly the sockets made here. Needs root."""

from __future__ import annotations

import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from netns.namespace import DEADLINE_SECONDS, Namespace
from netns.scene import HERE, Scene
from whodunnet.collectors.sockets_diag import collect_by_sock_diag
from whodunnet.collectors.sockets_diag_groups import Positions
from whodunnet.kernel.netlink.sock_diag import SockDiag
from whodunnet.kernel.netlink.sock_diag_messages import InetSocket
from whodunnet.kernel.roots import Roots
from whodunnet.model.sockets import SocketGroup, Sockets

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

T = TypeVar("T")
SS_STATES = {"LISTEN": "listen", "ESTAB": "established", "SYN-SENT": "syn-sent", "TIME-WAIT": "time-wait"}


class Row(NamedTuple):
    """What both sources say about one TCP socket; addresses without brackets, mapped prefix and wildcard star."""

    state: str
    receive_queue: int
    send_queue: int
    local: tuple[str, int]
    remote: tuple[str, int]
    r: int
    rb: int
    f: int
    w: int


class DiagScene(Scene):
    """With connections in TIME_WAIT, and a few of every kind that ss shows too."""

    def time_wait(self, count: int) -> None:
        for client, server in self.pairs(count):
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""
            server.close()
            assert client.recv(1) == b""
            client.close()

    def everything(self) -> None:
        self.pairs(7)
        self.pairs(3, "::1", self.dual)
        self.pairs(5, HERE, self.dual)  # the server's end is a v4-mapped IPv6 socket
        self.close_wait(6, b"")
        self.close_wait(2, bytes(100))
        self.unread(8, 20000)
        self.stuck(2)
        self.time_wait(9)
        self.syn_sent(3)
        self.waiting(4)  # last: accept() would take these first


@pytest.fixture
def scene(namespace: Namespace) -> DiagScene:
    return namespace(lambda: DiagScene(namespace))


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """A procfs with our own process only, so that no foreign one can leave a doubt; 1 is a process without files."""
    for name, target in {"self": "self", "thread-self": "thread-self", "1": "2", str(os.getpid()): "self"}.items():
        (tmp_path / name).symlink_to(f"/proc/{target}")
    return Roots(proc=tmp_path)


def ss_rows() -> list[Row]:
    output = subprocess.run(["ss", "-tanmiH"], check=True, capture_output=True, text=True).stdout
    sockets = re.split(r"\n(?=\S)", output.strip())
    return sorted(row for text in sockets if text for row in [ss_row(text)])


def ss_row(text: str) -> Row:
    state, receive, send, local, remote = text.split()[:5]
    memory = re.search(r"skmem:\(r(\d+),rb(\d+),t\d+,tb\d+,f(\d+),w(\d+),", text)
    r, rb, f, w = map(int, memory.groups()) if memory else (0, 0, 0, 0)
    return Row(
        SS_STATES.get(state, state.lower()), int(receive), int(send), endpoint(local), endpoint(remote), r, rb, f, w
    )


def endpoint(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    address = address.strip("[]").removeprefix("::ffff:")
    return ("::" if address == "*" else address), (0 if port == "*" else int(port))


def our_row(found: InetSocket) -> Row:
    memory = found.memory
    assert memory is not None
    return Row(
        found.state, found.receive_queue, found.send_queue, (found.local_address, found.local_port),
        (found.remote_address, found.remote_port), memory.rmem_alloc, memory.rcvbuf, memory.fwd_alloc,
        memory.wmem_queued,
    )  # fmt: skip


def at_rest(read: Callable[[], T]) -> tuple[T, list[Row]]:
    """A reading between two equal outputs of ss."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        before, ours, after = ss_rows(), read(), ss_rows()
        if before == after:
            return ours, after
        assert time.monotonic() < deadline, "the sockets did not come to rest"


def full(rows: list[Row]) -> list[Row]:
    """Without minisockets, which ss shows without memory."""
    return [row for row in rows if row.rb]


def read_all() -> tuple[list[InetSocket], int, int]:
    with SockDiag() as diag:
        found = [*diag.listeners(), *diag.connections()]
        return found, diag.time_wait, diag.request_sockets


def test_every_socket_has_the_bytes_that_ss_shows(namespace: Namespace, scene: DiagScene) -> None:
    namespace(scene.everything)
    (found, time_wait, requests), rows = namespace(lambda: at_rest(read_all))
    assert sorted(our_row(one) for one in found) == full(rows)
    assert time_wait == sum(row.state == "time-wait" for row in rows) == 9
    assert requests == 0


def test_families_and_mapped_addresses(namespace: Namespace, scene: DiagScene) -> None:
    def both_ends() -> None:
        scene.pairs(1, HERE, scene.dual)
        scene.pairs(1, "::1", scene.dual)
        found, _, _ = read_all()
        seen = {(s.family, s.local_address, s.local_port == scene.dual_port) for s in found if s.state != "listen"}
        assert seen == {
            (4, "127.0.0.1", False), (6, "127.0.0.1", True), (6, "::1", False), (6, "::1", True),
        }  # fmt: skip

    namespace(both_ends)


def sum_by(groups: list[SocketGroup], *fields: str) -> Counter[tuple[object, ...]]:
    total: Counter[tuple[object, ...]] = Counter()
    for group in groups:
        total[tuple(getattr(group, field) for field in fields)] += group.sockets
    return total


def collect_here(roots: Roots, positions: Positions) -> tuple[Sockets, list[SocketGroup]]:
    """The sample, and those of its groups that are TCP in the calling thread's namespace."""
    sample = collect_by_sock_diag(roots, 4096, positions)
    netns = Path("/proc/thread-self/ns/net").stat().st_ino
    return sample, [group for group in sample.groups if group.netns == netns and group.protocol == "tcp"]


def test_groups_count_every_state_once(namespace: Namespace, scene: DiagScene, roots: Roots) -> None:
    namespace(scene.everything)
    positions = Positions()
    (_, groups), rows = namespace(lambda: at_rest(lambda: collect_here(roots, positions)))

    assert sum_by(groups, "state", "role", "holding") == {
        ("listen", "listener", "descriptor"): 2,
        ("established", "initiated", "descriptor"): 7 + 3 + 5 + 4 + 8 + 2,
        ("established", "accepted", "descriptor"): 7 + 3 + 5 + 8 + 2,
        ("established", "accepted", "accept-queue"): 4,
        ("close-wait", "accepted", "descriptor"): 6 + 2,
        ("fin-wait-2", "initiated", "descriptor"): 6 + 2,
        ("syn-sent", "initiated", "descriptor"): 3,
    }
    assert sum_by(groups, "symptom")[("unread",)] == 8 + 2
    assert sum_by(groups, "symptom")[("window-closed",)] == 2
    assert {group.owner_pid for group in groups} == {os.getpid(), None}
    assert sum(group.memory_bytes for group in groups) == sum(row.r + row.f + row.w for row in full(rows))
    assert sum(group.receive_bytes for group in groups) == sum(row.r for row in full(rows))
    assert sum(group.send_bytes for group in groups) == sum(row.w for row in full(rows))
    unread = sum(row.receive_queue - (row.state == "close-wait") for row in rows if row.state != "listen")
    assert sum(group.unread_bytes for group in groups) == unread
    assert sum(group.unread_bytes for group in groups if group.state == "close-wait") == 2 * 100
    assert sum(sum(group.ages) for group in groups) == sum(group.sockets for group in groups) - 2 - 3


def test_accept_queue_and_second_snapshot(namespace: Namespace, scene: DiagScene, roots: Roots) -> None:
    def scene_at_two_times() -> None:
        (client, _), (other, _) = scene.pairs(2)
        scene.waiting(4)
        client.sendall(bytes(20000))
        other.sendall(bytes(20000))
        positions = Positions()
        first, groups = at_rest(lambda: collect_here(roots, positions))[0]
        queue = next(queue for queue in first.accept_queues if queue.local.port == scene.port)
        assert (queue.owner_pid, queue.waiting, queue.limit) == (os.getpid(), 4, 512)

        client.sendall(bytes(100))  # more comes, nothing is read: the read position stays
        _, groups = at_rest(lambda: collect_here(roots, positions))[0]
        unchanged = {(group.symptom, group.holding): group.unchanged for group in groups if group.unchanged}
        assert unchanged == {("unread", "descriptor"): 2, ("none", "accept-queue"): 4}

    namespace(scene_at_two_times)


def test_reading_changes_the_position(namespace: Namespace, scene: DiagScene, roots: Roots) -> None:
    def read_one_byte() -> None:
        ((client, server),) = scene.pairs(1)
        client.sendall(bytes(20001))
        positions = Positions()
        at_rest(lambda: collect_here(roots, positions))
        assert len(server.recv(1)) == 1
        _, groups = collect_here(roots, positions)
        assert [group.unchanged for group in groups if group.symptom == "unread"] == [0]

    namespace(read_one_byte)


def test_orphans_and_shared_descriptors(namespace: Namespace, scene: DiagScene, roots: Roots) -> None:
    def closed_with_data_unsent() -> None:
        for client, _ in scene.stuck(2):
            client.close()
        ((client, _),) = scene.pairs(1)
        scene.keep(client.dup())
        _, groups = at_rest(lambda: collect_here(roots, Positions()))[0]
        assert sum_by(groups, "state", "holding")[("fin-wait-1", "orphan")] == 2
        assert sum(group.shared for group in groups) == 1
        assert sum_by(groups, "state", "role")[("established", "initiated")] == 1

    namespace(closed_with_data_unsent)


def test_in_flight_socket_has_no_descriptor(namespace: Namespace, scene: DiagScene, roots: Roots) -> None:
    def sent_and_not_received() -> None:
        ((client, _),) = scene.pairs(1)
        here, there = socket.socketpair()
        scene.keep(here)
        scene.keep(there)
        socket.send_fds(here, [b"x"], [client.fileno()])
        client.close()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:  # at first it is too young to be told from one that was opened between the two readings
            _, groups = collect_here(roots, Positions())
            initiated = [group for group in groups if group.role == "initiated"]
            assert [(group.sockets, group.owner_pid) for group in initiated] == [(1, None)]
            if initiated[0].holding == "no-descriptor":
                return
            assert time.monotonic() < deadline

    namespace(sent_and_not_received)


def test_udp_and_unix(namespace: Namespace, roots: Roots) -> None:
    def three_and_four() -> None:
        with ExitStack() as kept:
            for family, address in (
                (socket.AF_INET, "127.0.0.1"),
                (socket.AF_INET, "127.0.0.2"),
                (socket.AF_INET6, "::1"),
            ):
                kept.enter_context(socket.socket(family, socket.SOCK_DGRAM)).bind((address, 0))
            for _ in range(2):
                for end in socket.socketpair():
                    kept.enter_context(end)
            sample = collect_by_sock_diag(roots, 4096, Positions())
            netns = Path("/proc/thread-self/ns/net").stat().st_ino
            groups = [group for group in sample.groups if group.netns == netns]
            assert sum_by(groups, "protocol", "family", "owner_pid", "holding") == {
                ("udp", 4, os.getpid(), "descriptor"): 2,
                ("udp", 6, os.getpid(), "descriptor"): 1,
                ("unix", 0, os.getpid(), "descriptor"): 4,
            }

    namespace(three_and_four)


def test_bound_sockets_where_the_kernel_lists_them(namespace: Namespace, scene: DiagScene, roots: Roots) -> None:
    def one_never_connected_and_one_reset() -> list[SocketGroup]:
        never, dead = scene.keep(socket.socket()), scene.keep(socket.socket())
        never.bind(("127.0.0.1", 4001))
        dead.bind(("127.0.0.1", 4002))  # a port asked for by number stays bound after the reset
        dead.connect(("127.0.0.1", scene.port))
        server, _ = scene.listener.accept()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        assert select.select([dead], [], [], DEADLINE_SECONDS)[0]
        return collect_here(roots, Positions())[1]

    groups = [group for group in namespace(one_never_connected_and_one_reset) if group.role != "listener"]
    # Before Linux 6.8 (TCP_BOUND_INACTIVE) neither is listed.
    assert sum_by(groups, "state", "role", "symptom") in (
        {},
        {("close", "unconnected", "never-connected"): 1, ("close", "unconnected", "dead"): 1},
    )
    assert sum(group.unsent_bytes for group in groups) == 0


LISTENING = """
import socket, sys
with socket.create_server(("127.0.0.1", 80)):
    print(flush=True)
    sys.stdin.read()
"""


def test_a_foreign_namespace_is_entered_once(roots: Roots) -> None:
    command = ["unshare", "--net", sys.executable, "-c", "import os; os.system('ip link set lo up')\n" + LISTENING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        (roots.proc / str(child.pid)).symlink_to(f"/proc/{child.pid}")
        netns = Path(f"/proc/{child.pid}/ns/net").stat().st_ino
        sample = collect_by_sock_diag(roots, 4096, Positions())
        child.communicate()
    found = [(group.owner_pid, group.state, group.sockets) for group in sample.groups if group.netns == netns]
    assert found == [(child.pid, "listen", 1)]
    assert [queue.owner_pid for queue in sample.accept_queues if queue.netns == netns] == [child.pid]
    assert Path("/proc/thread-self/ns/net").stat().st_ino != netns
