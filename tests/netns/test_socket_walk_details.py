"""What the BPF walk says beside numbers: unchanged, roles, ends, ages, and what it does at its bounds. Needs root."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netns.namespace import (
    SILENT,
    Namespace,
    set_sysctl,
    wait_until,
)
from netns.scene import (
    HERE,
    LARGE,
    MANY,
    MPTCP,
    SMALL,
    Found,
    Pair,
    Scene,
    assert_as_ss,
    child,
    fill,
    is_ready,
    look,
    look_at_rest,
    tcp_info,
)
from whodunnet.kernel.bpf.socket_walk import SocketWalk
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, Endpoint

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]


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
        listener = namespace.keep(socket.create_server(("0.0.0.0", 0), backlog=20_000))
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
