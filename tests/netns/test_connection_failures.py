"""Connections that are reset, and connects that fail, as the connections collector tells them. Needs root."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns.ends import CLOSE, TOLERANCE, close_in_turn, exchange, in_state, look, median, tried
from netns.namespace import SILENT, Namespace, set_sysctl, wait_until
from netns.scene import HERE, Scene, reset
from whodunnet.collectors.connections import ConnectionsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]
needs_nft = pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")


@pytest.fixture
def collector(support: Support) -> Iterator[ConnectionsCollector]:
    collector = ConnectionsCollector(Roots(), support)
    collector.start()
    yield collector
    collector.close()


def test_a_reset_is_told_with_its_direction_and_state(
    collector: ConnectionsCollector, namespace: Namespace, scene: Scene
) -> None:
    def act() -> None:
        for client, server in scene.pairs(5):  # SO_LINGER
            exchange((client, server))
            reset(server)
            wait_until(lambda client=client: in_state(client, CLOSE), "the reset")  # type: ignore[misc]
        for client, server in scene.unread(3):  # closed with unread data
            wait_until(lambda server=server: server.recv(1, socket.MSG_PEEK), "data")  # type: ignore[misc]
            server.close()
            wait_until(lambda client=client: in_state(client, CLOSE), "the reset")  # type: ignore[misc]
        for client, server in scene.pairs(2):  # the other way
            reset(client)
            wait_until(lambda server=server: in_state(server, CLOSE), "the reset")  # type: ignore[misc]

    namespace(act)
    found = look(collector, namespace)
    assert found.counts(scene.port) == {
        ("initiated", "opened", "established"): 10,
        ("accepted", "reset-sent", "established"): 8,
        ("initiated", "reset-received", "established"): 8,
        ("initiated", "reset-sent", "established"): 2,
        ("accepted", "reset-received", "established"): 2,
    }
    assert found.one("accepted", "reset-received").owner_pid is None  # nobody of the server was there


def test_a_reset_instead_of_an_answer_is_told_from_one_that_comes_after_it(
    collector: ConnectionsCollector, namespace: Namespace, scene: Scene
) -> None:
    """By both ends, whether the request was read or not; nobody answers who was asked nothing."""

    def cut(client: socket.socket, server: socket.socket) -> None:
        reset(server)
        wait_until(lambda: in_state(client, CLOSE), "the reset")

    def act() -> None:
        for client, server in scene.pairs(5):
            client.sendall(b"x")
            assert server.recv(1) == b"x"
            cut(client, server)
        for client, server in scene.unread(3):
            wait_until(lambda server=server: server.recv(1, socket.MSG_PEEK), "data")  # type: ignore[misc]
            cut(client, server)
        for client, server in scene.pairs(7):
            exchange((client, server))
            cut(client, server)
        for client, server in scene.pairs(2):
            server.sendall(b"x")
            assert client.recv(1) == b"x"
            cut(client, server)
        for client, server in scene.pairs(4):
            cut(client, server)

    namespace(act)
    found = look(collector, namespace)
    for role, ending in (("accepted", "reset-sent"), ("initiated", "reset-received")):
        ends = [g for g in found.groups if (g.role, g.ending) == (role, ending)]
        assert sum(g.connections for g in ends if g.unanswered) == 5 + 3
        assert sum(g.connections for g in ends if not g.unanswered) == 7 + 2 + 4


def test_every_failed_connect_is_told_from_the_others(collector: ConnectionsCollector, namespace: Namespace) -> None:
    def act() -> tuple[list[str], int]:
        set_sysctl("ipv4/tcp_syn_retries", 1)
        with socket.create_server((HERE, 0)) as listener:
            free = listener.getsockname()
        ends = [tried(free) for _ in range(5)]
        ends += [tried((SILENT, 9), 0.4) for _ in range(3)]
        begin = time.monotonic()
        ends += [tried((SILENT, 10)) for _ in range(2)]
        assert time.monotonic() - begin > 2 * 2.5
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40000")
        with socket.create_server((HERE, 11)) as listener, socket.create_connection((HERE, 11)), listener.accept()[0]:
            ends += [tried((HERE, 11)) for _ in range(4)]
        return ends, syns_retransmitted()

    ends, retransmitted = namespace(act)
    assert ends == (
        [f"ConnectionRefusedError {errno.ECONNREFUSED}"] * 5 + ["TimeoutError"] * 3
        + [f"TimeoutError {errno.ETIMEDOUT}"] * 2 + [f"OSError {errno.EADDRNOTAVAIL}"] * 4
    )  # fmt: skip
    found = look(collector, namespace)
    assert found.one("initiated", "refused").connections == 5
    assert found.counts(9) == {("initiated", "given-up", "syn-sent"): 3}
    assert retransmitted >= 2
    assert found.counts(10) == {
        ("initiated", "timed-out", "syn-sent"): 2,
        ("initiated", "syn-retransmitted", "syn-sent"): retransmitted,
    }
    assert found.counts(11)["initiated", "not-sent", "syn-sent"] == 4
    assert abs(median(found.one("initiated", "given-up")) - 0.4) < TOLERANCE
    first = found.one("initiated", "syn-retransmitted").quantile(0.0)
    assert first is not None
    assert abs(first - 1.0) < TOLERANCE
    assert median(found.one("initiated", "timed-out")) >= 2.5
    assert {g.owner_pid for g in found.groups} == {os.getpid()}


@needs_nft
def test_what_a_rule_does_to_a_connect_is_told(collector: ConnectionsCollector, namespace: Namespace) -> None:
    """Dropped once, and so opened after a second; answered by ICMP; and an open connection that is cut."""

    def act() -> tuple[list[str], int]:
        nft("add table inet t")
        nft("add chain inet t out { type filter hook output priority 0; }")
        nft("add rule inet t out tcp dport 21 reject with icmp type port-unreachable")
        nft("add rule inet t out tcp dport 22 reject with icmp type host-unreachable")
        ends = [tried((HERE, 21)) for _ in range(3)] + [tried((HERE, 22)) for _ in range(2)]
        before = syns_retransmitted()
        nft("add rule inet t out tcp dport 23 tcp flags syn limit rate over 1/hour burst 1 packets accept")
        nft("add rule inet t out tcp dport 23 tcp flags syn drop")
        with (
            socket.create_server((HERE, 23)) as listener,
            socket.create_connection((HERE, 23)) as client,
            listener.accept()[0],
        ):
            client.setsockopt(socket.SOL_TCP, socket.TCP_USER_TIMEOUT, 700)
            nft("insert rule inet t out tcp dport 23 drop")
            client.sendall(b"lost")
            wait_until(lambda: in_state(client, CLOSE), "the kernel to give up")
        return ends, before

    ends, retransmitted = namespace(act)
    refused, unreachable = f"ConnectionRefusedError {errno.ECONNREFUSED}", f"OSError {errno.EHOSTUNREACH}"
    assert ends == [refused] * 3 + [unreachable] * 2
    found = look(collector, namespace)
    # An answer that comes while connect() still has the socket locked is taken with the next SYN (tcp_v4_err).
    rejected, broken = found.counts(21), found.counts(22)
    again = ("initiated", "syn-retransmitted", "syn-sent")
    assert rejected.pop(again, 0) + broken.pop(again, 0) == retransmitted, found.groups
    assert rejected == {("initiated", "rejected", "syn-sent"): 3}
    assert broken == {("initiated", "broken", "syn-sent"): 2}
    assert found.counts(23)["initiated", "syn-retransmitted", "syn-sent"] == 1
    assert found.counts(23)["initiated", "timed-out", "established"] == 1
    opened = found.one("initiated", "opened")
    assert 1.0 <= median(opened) < 1.3
    (span,) = opened.spans
    assert span.until is not None
    assert span.since <= median(opened) < span.until


@needs_nft
def test_a_reset_that_answers_a_write_is_told_from_one_that_comes_by_itself(
    collector: ConnectionsCollector, namespace: Namespace, scene: Scene
) -> None:
    """The server's end outlives what somebody in between resets, until it closes."""

    def act() -> None:
        idle, lost = scene.pairs(3), scene.pairs(2)
        for client, server in (*idle, *lost):
            exchange((client, server))
        for client, server in idle:
            reset(server)
            wait_until(lambda client=client: in_state(client, CLOSE), "the reset")  # type: ignore[misc]
        nft("add table inet t")
        nft("add chain inet t in { type filter hook input priority 0; }")
        nft(f"add rule inet t in tcp dport {scene.port} reject with tcp reset")
        for client, _ in lost:
            client.sendall(b"again")
            wait_until(lambda client=client: in_state(client, CLOSE), "the reset")  # type: ignore[misc]
        nft("flush table inet t")
        for _, server in lost:
            server.close()

    namespace(act)
    found = look(collector, namespace)
    assert found.one("initiated", "reset-received", asked=False).connections == 3
    assert found.one("initiated", "reset-received", asked=True).connections == 2
    outlived = found.one("accepted", "reset-received", state="fin-wait-1")
    assert outlived.connections == 2


def syns_retransmitted() -> int:
    """The kernel's own count, of the namespace of the calling thread."""
    lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(dict(zip(names, values, strict=True))["TCPSynRetrans"])


def nft(command: str) -> None:
    subprocess.run(["nft", *command.split()], check=True)


def test_a_connect_that_was_under_way_before_has_its_time(support: Support, namespace: Namespace) -> None:
    """A program that gives up later than we came did not give up at once."""

    def connect() -> tuple[socket.socket, float]:
        client, begin = socket.socket(), time.monotonic()
        client.setblocking(False)
        assert client.connect_ex((SILENT, 9)) == errno.EINPROGRESS
        wait_until(lambda: syns_retransmitted() == 1, "the first repeat")
        return client, begin

    client, begin = namespace(connect)
    collector = ConnectionsCollector(Roots(), support)
    collector.start()
    client.close()
    seconds = time.monotonic() - begin
    found = look(collector, namespace)
    collector.close()
    given_up = found.one("initiated", "given-up")
    assert found.counts(9) == {("initiated", "given-up", "syn-sent"): 1}
    assert seconds - TOLERANCE < median(given_up) <= seconds + 0.001  # the kernel has that begin in whole ms
    assert given_up.owner_pid == os.getpid()


def test_a_socket_that_connects_again_begins_anew(collector: ConnectionsCollector, namespace: Namespace) -> None:
    """First refused, then with success, on the same socket."""

    def act() -> tuple[int, int]:
        with socket.create_server((HERE, 0)) as listener, socket.socket() as client:
            with socket.create_server((HERE, 0)) as gone:
                refusing = gone.getsockname()
            with pytest.raises(ConnectionRefusedError):
                client.connect(refusing)
            client.connect(listener.getsockname())
            server = listener.accept()[0]
            exchange((client, server))
            close_in_turn(client, server)
            return int(refusing[1]), int(listener.getsockname()[1])

    refusing, port = namespace(act)
    found = look(collector, namespace)
    assert found.counts(refusing) == {("initiated", "refused", "syn-sent"): 1}
    assert found.counts(port)["initiated", "opened", "established"] == 1
    assert found.one("initiated", "closed-here").connections == 1
    assert not [g for g in found.groups if g.ending.startswith("reset")]
