"""The BPF walk against ss and sockstat: at rest it is exact, socket for socket and byte for byte. Needs root."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from netns.namespace import (
    DEADLINE_SECONDS,
    Namespace,
    ip,
    set_sysctl,
    wait_until,
)
from netns.scene import (
    DRIFT_PAGES_PER_CPU,
    HERE,
    LARGE,
    SMALL,
    Scene,
    assert_as_ss,
    child,
    look,
    look_at_rest,
)
from whodunnet.kernel.bpf.socket_walk import SocketWalk
from whodunnet.kernel.procfs.sockstat import read_sockstat
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.sockets import Endpoint

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]


def test_every_kind_is_counted_exactly(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    def everything() -> None:
        scene.pairs(7)
        scene.pairs(3, "::1", scene.dual)
        scene.pairs(5, HERE, scene.dual)  # the server's end is a v4-mapped IPv6 socket
        scene.unread(11)
        scene.unread(13, SMALL)
        scene.stuck(2)
        scene.close_wait(17)
        scene.close_wait(3, bytes(SMALL))
        scene.never_connected(19)
        scene.bound(23)
        scene.dead(29)
        scene.syn_sent(3)
        scene.waiting(31)

    namespace(everything)
    found, rows = look_at_rest(walk, namespace)
    assert_as_ss(found, rows)
    assert found.sockets_by("state", "role", "holding", "symptom") == {
        ("listen", "listener", "descriptor", "none"): 2,
        ("established", "initiated", "descriptor", "none"): 7 + 3 + 5 + 11 + 13 + 31,
        ("established", "initiated", "descriptor", "window-closed"): 2,
        ("established", "accepted", "descriptor", "none"): 7 + 3 + 5 + 13,
        ("established", "accepted", "descriptor", "unread"): 11 + 2,
        ("established", "accepted", "accept-queue", "none"): 31,
        ("fin-wait-2", "initiated", "descriptor", "none"): 17 + 3,
        ("close-wait", "accepted", "descriptor", "none"): 17 + 3,
        ("close", "unconnected", "descriptor", "never-connected"): 19 + 23,
        ("close", "unconnected", "descriptor", "dead"): 29,
        ("syn-sent", "initiated", "descriptor", "none"): 3,
    }
    assert {g.owner_pid for g in found.groups} == {os.getpid(), None}
    assert sum(g.sockets for g in found.groups if g.owner_pid is None) == 31
    assert found.total("shared") == 0
    assert found.whole.owners[os.getpid()].comm == Path("/proc/self/comm").read_text().strip()


def test_unread_bytes_are_exact(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    namespace(lambda: (scene.unread(5), scene.unread(7, SMALL)))
    found, rows = look_at_rest(walk, namespace)
    assert_as_ss(found, rows)
    assert found.one(symptom="unread").unread_bytes == 5 * LARGE
    assert found.one(role="accepted", symptom="none").unread_bytes == 7 * SMALL
    assert found.one(symptom="unread").receive_bytes > 5 * LARGE


def test_a_fin_is_not_an_unread_byte(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    namespace(lambda: scene.close_wait(11))
    found, rows = look_at_rest(walk, namespace)
    assert sum(row.receive for row in rows) == 11
    assert found.one(state="close-wait").unread_bytes == 0

    namespace(lambda: scene.close_wait(3, bytes(SMALL)))
    found, rows = look_at_rest(walk, namespace)
    assert_as_ss(found, rows)
    assert sum(row.receive for row in rows if row.state == "close-wait") == 11 + 3 * (SMALL + 1)
    assert found.one(state="close-wait").unread_bytes == 3 * SMALL


def test_a_fin_that_was_read_is_not_an_unread_byte_either(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    def read_all() -> None:
        for _, server in scene.close_wait(5, bytes(SMALL)):
            while server.recv(64):
                pass

    namespace(read_all)
    found, rows = look_at_rest(walk, namespace)
    assert sum(row.receive for row in rows) == 0
    assert found.one(state="close-wait").unread_bytes == 0


def test_a_full_send_queue_is_followed_by_both_ends(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    made = namespace(lambda: scene.stuck(3))
    found, rows = look_at_rest(walk, namespace)
    assert_as_ss(found, rows)
    closed = found.one(symptom="window-closed")
    assert (closed.sockets, closed.endpoint) == (3, Endpoint(HERE, scene.port))
    assert closed.unsent_bytes == sum(row.send for row in rows if row.send and row.state == "established")
    ports = [client.getsockname()[1] for client, _ in made]
    readers = {("unread", scene.port, port) for port in ports}
    writers = {("window-closed", port, scene.port) for port in ports}
    ends = {(s.symptom, s.local.port, s.remote.port) for s in found.stuck}
    assert ends <= readers | writers  # an even sample: two may meet in one slot, other programs have stuck sockets too
    assert ends & readers
    assert ends & writers
    assert {s.local.address for s in found.stuck} == {s.remote.address for s in found.stuck} == {HERE}
    assert {s.owner_pid for s in found.stuck} == {os.getpid()}


def test_accept_queues_are_exact(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    namespace(lambda: scene.waiting(37))
    found, rows = look_at_rest(walk, namespace)
    assert_as_ss(found, rows)
    assert {(q.owner_pid, q.local, q.waiting, q.limit) for q in found.queues} == {
        (os.getpid(), Endpoint(HERE, scene.port), 37, 512),
        (os.getpid(), Endpoint("::", scene.dual_port), 0, 512),
    }
    assert found.one(holding="accept-queue").endpoint == Endpoint(None, scene.port)


def test_orphans_are_exact(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    def closed_with_data_unsent() -> None:
        for client, _ in scene.stuck(3):
            client.close()

    namespace(closed_with_data_unsent)
    found, rows = look_at_rest(walk, namespace)
    assert_as_ss(found, rows)
    orphans = found.one(holding="orphan")
    assert (orphans.state, orphans.sockets, orphans.owner_pid) == ("fin-wait-1", 3, None)
    assert (orphans.symptom, orphans.endpoint) == ("window-closed", Endpoint(HERE, scene.port))
    assert orphans.memory_bytes == sum(row.memory for row in rows if row.state == "fin-wait-1")


def test_a_namespace_without_a_process_is_seen(walk: SocketWalk) -> None:
    with Namespace() as namespace:

        def leave_orphans() -> None:
            set_sysctl("ipv4/tcp_orphan_retries", 7)  # so that the namespace does not outlive the test by long
            scene = Scene(namespace)
            made = scene.stuck(3)
            ip("link set lo down")  # the readers' resets shall not arrive
            for client, _ in made:
                client.close()

        namespace(leave_orphans)
        inside = look(walk, namespace).one(holding="orphan")
    alone = look(walk, namespace)
    assert {(g.holding, g.state, g.sockets) for g in alone.tcp} == {("orphan", "fin-wait-1", 3)}
    assert alone.total("unsent_bytes") == inside.unsent_bytes > 3 * 65536
    assert alone.total("memory_bytes") == inside.memory_bytes


def test_sockets_in_flight_have_no_descriptor(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    def send_away() -> set[str]:
        here, there = socket.socketpair()
        for end in (here, there):
            namespace.keep(end)
        scene.pairs(5)
        sent = set()
        for _, server in scene.unread(7):
            socket.send_fds(here, [b"x"], [server.fileno()])
            sent.add("{}:{}".format(*server.getpeername()))
            server.close()
        return sent

    sent = namespace(send_away)
    found, rows = look_at_rest(walk, namespace)
    assert {state: n for (state,), n in found.sockets_by("state").items()} == Counter(row.state for row in rows)
    flying = found.one(holding="no-descriptor")
    memory = sum(row.memory for row in rows if row.remote in sent)
    assert (flying.sockets, flying.memory_bytes, flying.owner_pid) == (7, memory, None)
    assert found.total("memory_bytes") == sum(row.memory for row in rows)


def test_shared_sockets_count_once(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    with ExitStack() as children:

        def share() -> None:
            scene.pairs(5)
            for _, server in scene.unread(3):
                namespace.keep(server.dup())
            inherited = [server.fileno() for _, server in scene.unread(7)]
            children.enter_context(child("sys.stdin.read()", pass_fds=inherited))

        namespace(share)
        found, rows = look_at_rest(walk, namespace)
        assert_as_ss(found, rows)
        assert found.total("sockets") == 2 * (5 + 3 + 7) + 2
        assert found.total("shared") == 3 + 7
        assert sum(g.shared for g in found.tcp if g.symptom == "unread") == 3 + 7


@pytest.mark.xfail(
    raises=AssertionError,
    strict=True,
    reason="f_count is raised by every thread in a system call on the socket as well",
)
def test_a_thread_that_waits_in_recv_does_not_share(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    def wait_for_data() -> int:
        ((client, server),) = scene.pairs(1)
        thread = threading.Thread(target=server.recv, args=(1,))
        thread.start()
        call = Path(f"/proc/self/task/{thread.native_id}/syscall")  # its number and its arguments, or "running"
        wait_until(lambda: call.read_text().split()[1:2] == [hex(server.fileno())], "a thread in recv()")
        shared = look(walk, namespace).total("shared")
        client.send(b"x")
        thread.join()
        return shared

    assert namespace(wait_for_data) == 0


OPEN_MANY = """
kept = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(13)]
kept += [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(3)]
kept += [end for _ in range(4) for end in socket.socketpair()] + [socket.socket(socket.AF_UNIX) for _ in range(3)]
print(flush=True)
sys.stdin.read()
"""


def test_udp_and_unix_sockets_belong_to_their_owners(walk: SocketWalk, namespace: Namespace) -> None:
    with ExitStack() as children:
        processes = [namespace(lambda: children.enter_context(child(OPEN_MANY))) for _ in range(2)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline()
        found = look(walk, namespace)
    counts: Counter[tuple[object, ...]] = Counter()
    for g in found.groups:
        counts[g.protocol, g.owner_pid, g.holding, g.state] += g.sockets
    assert counts == {
        (protocol, process.pid, "descriptor", "none"): n
        for process in processes
        for protocol, n in (("udp", 13 + 3), ("unix", 8 + 3))
    }
    assert found.whole.owners[processes[0].pid].netns == namespace.number


def test_two_namespaces_are_told_apart(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    with Namespace() as other:
        there = other(lambda: Scene(other))
        namespace(lambda: scene.unread(3))
        other(lambda: (there.unread(5), there.waiting(2)))
        here, rows = look_at_rest(walk, namespace)
        assert_as_ss(here, rows)
        assert here.one(symptom="unread").sockets == 3
        there_found, rows = look_at_rest(walk, other)
        assert_as_ss(there_found, rows)
        assert there_found.one(symptom="unread").sockets == 5
        assert there_found.one(holding="accept-queue").sockets == 2


def totals_at_rest(walk: SocketWalk) -> tuple[int, int]:
    """Sockets and pages that the kernel counts and a pass does not find; skips if other programs do not let it rest."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        before, found, after = read_sockstat(Roots()), walk.read(), read_sockstat(Roots())
        if (before.tcp_alloc, before.tcp_mem_pages) != (after.tcp_alloc, after.tcp_mem_pages):
            continue
        tcp = [g for g in found.groups if g.protocol == "tcp"]
        pages = sum(g.memory_bytes for g in tcp) // os.sysconf("SC_PAGE_SIZE")
        return after.tcp_alloc - sum(g.sockets for g in tcp), after.tcp_mem_pages - pages
    pytest.skip("other programs on this machine make and close sockets all the time")


def test_sums_are_those_of_sockstat(
    walk: SocketWalk, support: Support, namespace: Namespace, scene: Scene, record_property: Callable[..., None]
) -> None:
    unseen, _ = totals_at_rest(walk)
    assert unseen >= 0

    def everything() -> None:
        scene.pairs(101)
        scene.unread(211)
        scene.stuck(3)
        scene.never_connected(307)
        scene.dead(53)
        scene.waiting(401)

    namespace(everything)
    unseen_now, pages = totals_at_rest(walk)
    record_property("unseen pages", pages)
    assert unseen_now == unseen
    assert abs(pages) <= DRIFT_PAGES_PER_CPU * support.possible_cpus
