"""The BPF walk against ss and sockstat: at rest it is exact, socket for socket and byte for byte. Needs root."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from netns.namespace import (
    DEADLINE_SECONDS,
    SILENT,
    SILENT_NETWORK,
    Namespace,
    Row,
    at_rest,
    ip,
    set_sysctl,
    wait_until,
)
from whodunnet.kernel.bpf.socket_walk import Pass, SocketWalk
from whodunnet.kernel.procfs.sockstat import read_sockstat
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, read_support
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, AcceptQueue, Endpoint, SocketGroup, StuckSocket

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]

HERE = "127.0.0.1"
DRIFT_PAGES_PER_CPU = 256
LARGE, SMALL = 20011, 101
MPTCP = 262
FIN_WAIT_2 = 5
MANY = 17_011
"""More endpoints than the groups map has room for (16,384), within 20,000 descriptors."""

Pair = tuple[socket.socket, socket.socket]


class Found(NamedTuple):
    """What one pass found in one namespace."""

    groups: list[SocketGroup]
    stuck: list[StuckSocket]
    queues: list[AcceptQueue]
    whole: Pass

    @property
    def tcp(self) -> list[SocketGroup]:
        return [g for g in self.groups if g.protocol == "tcp"]

    def sockets_by(self, *fields: str) -> Counter[tuple[object, ...]]:
        """TCP sockets by the values of these fields."""
        total: Counter[tuple[object, ...]] = Counter()
        for g in self.tcp:
            total[tuple(getattr(g, field) for field in fields)] += g.sockets
        return total

    def total(self, field: str) -> int:
        """Sum of a field over all TCP groups."""
        return sum(getattr(g, field) for g in self.tcp)

    def one(self, **wanted: object) -> SocketGroup:
        """The only TCP group that has these values."""
        (group,) = [g for g in self.tcp if all(getattr(g, key) == value for key, value in wanted.items())]
        return group


class Scene:
    """Sockets of one namespace. Every method makes `count` connections and leaves both ends as its name says."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.keep = namespace.keep
        self.listener = self.keep(socket.create_server((HERE, 0), backlog=512))
        self.dual = self.keep(socket.create_server(("::", 0), family=socket.AF_INET6, backlog=512, dualstack_ipv6=True))
        self.port: int = self.listener.getsockname()[1]
        self.dual_port: int = self.dual.getsockname()[1]

    def pairs(self, count: int, address: str = HERE, listener: socket.socket | None = None) -> list[Pair]:
        """(client, server)."""
        listener = listener or self.listener
        return [self.pair(address, listener) for _ in range(count)]

    def pair(self, address: str, listener: socket.socket) -> Pair:
        client = self.keep(socket.create_connection((address, listener.getsockname()[1])))
        return client, self.keep(listener.accept()[0])

    def unread(self, count: int, size: int = LARGE) -> list[Pair]:
        made = self.pairs(count)
        for client, _ in made:
            client.sendall(bytes(size))
        return made

    def stuck(self, count: int) -> list[Pair]:
        """The client writes until the server's buffer and its own are full."""
        made = self.pairs(count)
        for client, server in made:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262144)
            fill(client)
        return made

    def close_wait(self, count: int, data: bytes = b"") -> list[Pair]:
        made = self.pairs(count)
        for client, _ in made:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        wait_until(lambda: all(tcp_info(client)[0] == FIN_WAIT_2 for client, _ in made), "the peers' acknowledgements")
        return made

    def waiting(self, count: int) -> list[socket.socket]:
        """In the accept queue of the listener: make them last, accept() would take them first."""
        return [self.keep(socket.create_connection((HERE, self.port))) for _ in range(count)]

    def never_connected(self, count: int) -> list[socket.socket]:
        return [self.keep(socket.socket()) for _ in range(count)]

    def bound(self, count: int) -> list[socket.socket]:
        made = self.never_connected(count)
        for one in made:
            one.bind((HERE, 0))
        return made

    def dead(self, count: int) -> list[socket.socket]:
        """Clients that the server has reset; the servers are gone."""
        made = self.pairs(count)
        for client, server in made:
            reset(server)
            assert is_ready(client, select.POLLIN, DEADLINE_SECONDS)
        return [client for client, _ in made]

    def syn_sent(self, count: int) -> list[socket.socket]:
        made = self.never_connected(count)
        for client in made:
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect((SILENT, 9))
        return made


def fill(client: socket.socket) -> None:
    """Write until the buffer stays full: the peer takes more for a while after it was full for the first time."""
    client.setblocking(False)
    while is_ready(client, select.POLLOUT, 0.3):
        with suppress(BlockingIOError):
            client.send(bytes(65536))


def tcp_info(one: socket.socket) -> bytes:
    """The beginning of struct tcp_info (include/uapi/linux/tcp.h); the first byte is the state."""
    return one.getsockopt(socket.SOL_TCP, socket.TCP_INFO, 104)


def is_ready(one: socket.socket, event: int, seconds: float) -> bool:
    """select() would end at 1,024 descriptors."""
    poll = select.poll()
    poll.register(one, event)
    return bool(poll.poll(1000 * seconds))


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


@pytest.fixture(scope="module")
def support() -> Support:
    return read_support(Roots())


@pytest.fixture
def walk(support: Support) -> Iterator[SocketWalk]:
    walk = SocketWalk(support)
    yield walk
    walk.close()


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace(*SILENT_NETWORK) as made:
        yield made


@pytest.fixture
def scene(namespace: Namespace) -> Scene:
    return namespace(lambda: Scene(namespace))


def look(walk: SocketWalk, namespace: Namespace) -> Found:
    """One pass, of which only this namespace."""
    found = walk.read()
    return Found(
        [g for g in found.groups if g.netns == namespace.number],
        [s for s in found.stuck if s.netns == namespace.number],
        [q for q in found.accept_queues if q.netns == namespace.number],
        found,
    )


def look_at_rest(walk: SocketWalk, namespace: Namespace) -> tuple[Found, list[Row]]:
    return namespace(lambda: at_rest(lambda: look(walk, namespace)))


def assert_as_ss(found: Found, rows: list[Row]) -> None:
    """Number by state, r + w + f, unread and unsent bytes; ss cannot see sockets that are in no hash."""
    states = Counter(row.state for row in rows)
    assert {state: n for (state,), n in found.sockets_by("state").items() if state != "close"} == states
    assert found.total("memory_bytes") == sum(row.memory for row in rows)
    flows = [row for row in rows if row.state != "listen"]
    assert found.total("unread_bytes") == sum(row.unread for row in flows)
    assert found.total("unsent_bytes") == sum(row.send for row in flows)
    assert found.whole.lost == 0


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


@contextmanager
def child(program: str, **rest: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a Python program, in the namespace of the calling thread."""
    command = [sys.executable, "-c", f"import os, socket, sys\nprint(flush=True)\n{program}"]
    with subprocess.Popen(  # type: ignore[call-overload]
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **rest
    ) as process:
        assert process.stdout.readline()
        yield process
        process.kill()


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


def test_unchanged_is_exact_over_two_passes(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    def prepare() -> tuple[list[Pair], list[Pair]]:
        unread, stuck = scene.unread(13), scene.stuck(5)
        scene.never_connected(3)
        scene.dead(2)
        scene.waiting(7)
        return unread, stuck

    def move(unread: list[Pair], stuck: list[Pair]) -> None:
        for _, server in unread[:4]:
            assert len(server.recv(1)) == 1
        for client, server in stuck[:2]:
            while is_ready(server, select.POLLIN, 0.3):
                server.recv(1 << 20)
            fill(client)
        unread[-1][0].sendall(bytes(SMALL))  # more comes, nothing is read: the read position stays
        scene.waiting(3)

    unread, stuck = namespace(prepare)
    first, _ = look_at_rest(walk, namespace)
    again, _ = look_at_rest(walk, namespace)
    assert {g.unchanged for g in again.tcp if g.symptom != "none"} == {13 + 5, 5, 3, 2}
    assert again.one(holding="accept-queue").unchanged == 7
    namespace(lambda: move(unread, stuck))
    # the pass that at_rest() repeats would compare with itself: look once
    after = namespace(lambda: look(walk, namespace))
    changed = {(g.symptom, g.holding): (g.sockets, g.unchanged) for g in after.tcp if g.unchanged is not None}
    assert changed == {
        ("unread", "descriptor"): (13 + 5, 13 + 5 - 4 - 2),
        ("window-closed", "descriptor"): (5, 5 - 2),
        ("never-connected", "descriptor"): (3, 3),
        ("dead", "descriptor"): (2, 2),
        ("none", "accept-queue"): (7 + 3, 7),
    }
    sample = Counter(s.unchanged for s in after.stuck)
    assert sample <= Counter({True: 18 - 6 + 3, False: 6 + 2})
    assert sample[True] > 0
    assert sample[False] > 0
    assert {g.unchanged for g in after.tcp if g.symptom == "none" and g.holding == "descriptor"} == {None}
    assert first.total("sockets") == again.total("sockets") == after.total("sockets") - 6


def test_the_first_pass_has_nothing_to_compare_with(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    namespace(lambda: (scene.unread(3), scene.waiting(2)))
    found = look(walk, namespace)
    assert {g.unchanged for g in found.tcp} == {None}
    assert {s.unchanged for s in found.stuck} == {None}


def test_roles_and_endpoints_are_right(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    def connect() -> None:
        scene.pairs(2)
        scene.pairs(3, "::1", scene.dual)
        scene.pairs(5, "127.0.0.9", scene.dual)
        scene.syn_sent(7)
        scene.dead(11)

    namespace(connect)
    found, _ = look_at_rest(walk, namespace)
    assert found.sockets_by("role", "symptom", "endpoint") == {
        ("listener", "none", Endpoint(None, scene.port)): 1,
        ("listener", "none", Endpoint(None, scene.dual_port)): 1,
        ("accepted", "none", Endpoint(None, scene.port)): 2,
        ("accepted", "none", Endpoint(None, scene.dual_port)): 3 + 5,
        ("initiated", "none", Endpoint(HERE, scene.port)): 2,
        ("initiated", "none", Endpoint("::1", scene.dual_port)): 3,
        ("initiated", "none", Endpoint("127.0.0.9", scene.dual_port)): 5,
        ("initiated", "none", Endpoint(SILENT, 9)): 7,
        ("unconnected", "dead", Endpoint(HERE, scene.port)): 11,
    }


def test_a_mapped_peer_is_an_ipv4_peer(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    def connect() -> None:
        client = scene.keep(socket.socket(socket.AF_INET6))
        client.connect((f"::ffff:{HERE}", scene.port))
        scene.keep(scene.listener.accept()[0])

    namespace(connect)
    found, _ = look_at_rest(walk, namespace)
    client = found.one(role="initiated")
    assert (client.family, client.endpoint) == (4, Endpoint(HERE, scene.port))


@pytest.mark.xfail(
    raises=AssertionError, strict=True, reason="sk_max_ack_backlog, by which an accepted socket is known, may be zero"
)
def test_what_a_listener_without_backlog_accepts_is_accepted(walk: SocketWalk, namespace: Namespace) -> None:
    def connect() -> int:
        listener = namespace.keep(socket.socket())
        listener.bind((HERE, 0))
        listener.listen(0)
        for _ in range(3):
            namespace.keep(socket.create_connection(listener.getsockname()))
            namespace.keep(listener.accept()[0])
        return int(listener.getsockname()[1])

    port = namespace(connect)
    found, _ = look_at_rest(walk, namespace)
    assert found.sockets_by("role", "endpoint")["accepted", Endpoint(None, port)] == 3


def milliseconds_since_segment(one: socket.socket) -> int:
    """tcpi_last_ack_recv."""
    return int(struct.unpack_from("I", tcp_info(one), 56)[0])


def test_ages_are_in_the_right_class(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    """CLOSE_WAIT counts from the last segment, an established connection from its last data."""

    def grow_old() -> tuple[Found, int]:
        old = scene.close_wait(5, bytes(SMALL))[-1][1]
        scene.pairs(3)
        wait_until(lambda: milliseconds_since_segment(old) > 2200, "CLOSE_WAIT of 2.2 s", 20)
        fresh = scene.unread(7, SMALL)
        scene.waiting(2)
        found, elapsed = look(walk, namespace), milliseconds_since_segment(old)
        assert len(fresh) == 7
        return found, elapsed

    found, elapsed = namespace(grow_old)
    if elapsed >= 4900:
        pytest.skip("this machine was too slow to catch the class of 2 to 5 s")
    young, old = 0, AGE_BOUNDS_SECONDS.index(2) + 1
    ages = {(g.state, g.role, g.holding): {i: n for i, n in enumerate(g.ages) if n} for g in found.tcp if g.ages}
    assert ages.pop(("close-wait", "accepted", "descriptor")) == {old: 5}
    assert ages.pop(("fin-wait-2", "initiated", "descriptor")) == {old: 5}
    assert ages.pop(("established", "accepted", "descriptor")) == {old: 3, young: 7}
    assert ages.pop(("established", "initiated", "descriptor")) == {old: 3, young: 7 + 2}
    assert ages.pop(("established", "accepted", "accept-queue")) == {young: 2}
    assert not ages
    assert found.one(state="close-wait").older_than(2) == 5
    assert found.one(state="close-wait").older_than(5) == 0


def test_sockets_without_a_peer_have_no_age(walk: SocketWalk, namespace: Namespace, scene: Scene) -> None:
    namespace(lambda: (scene.never_connected(2), scene.bound(3), scene.dead(5), scene.syn_sent(2)))
    found = look(walk, namespace)
    assert {g.ages for g in found.tcp} == {()}


PING_PONG = """
import os, socket
listener = socket.create_server(("127.0.0.1", 0), backlog=600)
pairs = [(socket.create_connection(listener.getsockname()), listener.accept()[0]) for _ in range(401)]
print(flush=True)
while os.getppid() != 1:
    for client, server in pairs:
        client.send(b"x"), server.recv(1), server.send(b"y"), client.recv(1)
"""


def test_a_connection_in_use_is_young(walk: SocketWalk, namespace: Namespace) -> None:
    """Also one whose data moves while the pass is under way, which many open files make long."""
    with ExitStack() as kept:
        for _ in range(8009):
            kept.enter_context(socket.socket(socket.AF_UNIX))
        busy = namespace(lambda: kept.enter_context(child(PING_PONG)))
        assert busy.stdout is not None
        assert busy.stdout.readline()
        wait_until(lambda: look(walk, namespace).total("sockets") == 2 * 401 + 1, "all connections")
        passes = [look(walk, namespace) for _ in range(50)]
        busy.send_signal(signal.SIGKILL)
    assert [sum(g.older_than(86400) for g in found.tcp) for found in passes] == [0] * 50


def addresses(count: int) -> Iterator[str]:
    return (f"127.1.{n // 250}.{n % 250 + 1}" for n in range(count))


def test_sums_stay_exact_where_the_groups_overflow(
    walk: SocketWalk, namespace: Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    def connect() -> int:
        set_sysctl("core/somaxconn", 20_000)
        set_sysctl("ipv4/tcp_max_syn_backlog", 20_000)
        listener = namespace.keep(socket.create_server(("0.0.0.0", 0), backlog=20_000))  # noqa: S104
        port = int(listener.getsockname()[1])
        for n, address in enumerate(addresses(MANY)):
            client = namespace.keep(socket.create_connection((address, port)))
            if n % 100 == 0:
                client.sendall(bytes(LARGE))
        return port

    port = namespace(connect)
    found, rows = look_at_rest(walk, namespace)
    with capsys.disabled():
        print(f"\nlongest step with {len(rows):,} sockets: {found.whole.longest_step_seconds * 1e6:.0f} us")
    assert_as_ss(found, rows)
    assert found.whole.other_sockets == 0
    assert found.sockets_by("role", "holding") == {
        ("listener", "descriptor"): 1,
        ("initiated", "descriptor"): MANY,
        ("accepted", "accept-queue"): MANY,
    }
    assert found.one(symptom="unread").sockets == (MANY + 99) // 100
    endpoints = found.sockets_by("role", "endpoint")
    assert endpoints["initiated", None] >= MANY - 16_384
    assert endpoints["initiated", None] + sum(
        1 for role, end in endpoints if role == "initiated" and isinstance(end, Endpoint) and end.port == port
    ) == MANY  # fmt: skip


def own_table(entries: int = 1024) -> Namespace:
    """A namespace whose connections are in a hash table of its own."""
    return Namespace(before=lambda: set_sysctl("ipv4/tcp_child_ehash_entries", entries))


needs_own_tables = pytest.mark.skipif(
    not Path("/proc/sys/net/ipv4/tcp_child_ehash_entries").exists(), reason="before Linux 6.1 all namespaces share one"
)


@needs_own_tables
def test_a_namespace_with_a_hash_table_of_its_own_is_walked(walk: SocketWalk) -> None:
    with own_table() as namespace:
        scene = namespace(lambda: Scene(namespace))
        namespace(lambda: (scene.unread(5), scene.waiting(7)))
        found, rows = look_at_rest(walk, namespace)
        assert_as_ss(found, rows)
        assert found.one(holding="accept-queue").sockets == 7


@needs_own_tables
def test_hash_tables_left_out_are_counted_as_lost(walk: SocketWalk) -> None:
    with ExitStack() as kept:
        namespaces = [kept.enter_context(own_table()) for _ in range(37)]
        for one in namespaces:
            one(lambda one=one: Scene(one).waiting(1))  # type: ignore[misc]
        found = walk.read()
        numbers = {one.number for one in namespaces}
        seen = sum(g.sockets for g in found.groups if g.netns in numbers and g.holding == "accept-queue")
        assert seen == 37 or found.lost > 0


@pytest.mark.xfail(
    raises=AssertionError,
    strict=True,
    reason="subflows carry the socket of their MPTCP parent, and its receive queue is unread",
)
def test_multipath_connections_are_the_kernels_and_counted_with_their_memory(
    walk: SocketWalk, namespace: Namespace
) -> None:
    def connect() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP) as listener:
            listener.bind((HERE, 0))
            listener.listen(8)
            for _ in range(3):
                client = namespace.keep(socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP))
                client.connect(listener.getsockname())
                namespace.keep(listener.accept()[0])
                client.sendall(bytes(LARGE))

    if not Path("/proc/sys/net/mptcp").exists():
        pytest.skip("this kernel has no MPTCP")
    namespace(connect)
    found = look(walk, namespace)
    assert sum(g.sockets for g in found.groups if g.protocol == "mptcp") == 6
    assert found.sockets_by("holding")[("no-descriptor",)] == 0
    assert sum(g.memory_bytes for g in found.groups) >= 3 * LARGE


INSIDE = """
import os, socket
from whodunnet.kernel.bpf.socket_walk import SocketWalk
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
support = read_support(Roots())
kept = socket.create_server(("127.0.0.1", 0))
walk = SocketWalk(support)
found = walk.read()
print(os.readlink("/proc/self"), sorted({g.owner_pid for g in found.groups if g.role == "listener"}))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--pid", "--fork"], id="procfs of the host"),
        pytest.param(
            ["--pid", "--fork", "--mount-proc"],
            id="procfs of its own",
        ),
    ],
)
def test_pids_are_those_of_our_procfs(arguments: list[str]) -> None:
    command = ["unshare", "--net", *arguments, sys.executable, "-c", INSIDE]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.split()[1] == f"[{output.split()[0]}]"
