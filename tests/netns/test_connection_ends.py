"""The connections collector beside real servers and clients: exactly what these did, and who did it. Needs root."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netns.ends import (
    CLOSE_WAIT,
    TOLERANCE,
    ask,
    close_in_turn,
    exchange,
    fails_to_ask,
    in_state,
    look,
    median,
    nginx,
    socket_of,
    uvicorn,
)
from netns.namespace import Namespace, wait_until
from netns.scene import HERE, Scene, child, is_ready
from whodunnet.collectors.connections import ConnectionsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]
MANY_CLIENTS = 6007
UVICORN_SECONDS = 5.0
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


@pytest.fixture
def collector(support: Support) -> Iterator[ConnectionsCollector]:
    collector = ConnectionsCollector(Roots(), support)
    collector.start()
    yield collector
    collector.close()


def all_closed_by_peer(clients: list[http.client.HTTPConnection]) -> None:
    for client in clients:
        wait_until(lambda client=client: in_state(socket_of(client), CLOSE_WAIT), "the server's close")  # type: ignore[misc]


def test_an_idle_timeout_is_measured_and_failed_reuses_are_counted(
    collector: ConnectionsCollector, namespace: Namespace, tmp_path: Path
) -> None:
    """Uvicorn closes after 5 s; http.client does not look before it uses a connection again."""
    count, again, port = 13, 7, 8000

    def act() -> tuple[int, int, float]:
        with uvicorn(tmp_path, port) as server:
            clients = [http.client.HTTPConnection(HERE, port) for _ in range(count)]
            begin = time.monotonic()
            for client in clients:
                ask(client)
            all_closed_by_peer(clients)
            failed = sum(fails_to_ask(client) for client in clients[:again])
            for client in clients:
                client.close()
            return server.pid, failed, time.monotonic() - begin

    pid, failed, seconds = namespace(act)
    found = look(collector, namespace)
    assert failed == again
    assert found.counts(port) == {
        ("initiated", "opened", "established"): count,
        ("accepted", "closed-here", "established"): count,
        ("initiated", "closed-by-peer", "established"): count,
        ("initiated", "reset-received", "close-wait"): failed,
    } | {key: n for key, n in found.counts(port).items() if key[1] == "late-data"}
    server, client = found.one("accepted", "closed-here"), found.one("initiated", "closed-by-peer")
    for group in (server, client):
        assert abs(median(group) - UVICORN_SECONDS) <= TOLERANCE
        assert not group.last_word
    # Until the write that was answered by a reset: how soon that came after the close is up to a busy machine.
    assert UVICORN_SECONDS - TOLERANCE <= median(found.one("initiated", "reset-received")) <= seconds
    assert (server.owner_pid, client.owner_pid) == (pid, os.getpid())
    assert (server.server, server.client) == (client.server, client.client)


@needs_nginx
@pytest.mark.parametrize("tls", [False, True])
def test_nginx_closes_after_its_timeout_whether_it_says_farewell_or_not(
    collector: ConnectionsCollector, namespace: Namespace, tmp_path: Path, tls: bool
) -> None:
    count, seconds, port = 11, 2, 8001

    def act() -> int:
        context = ssl._create_unverified_context()
        with nginx(tmp_path, port, seconds, tls) as server:
            clients = [
                http.client.HTTPSConnection(HERE, port, context=context)
                if tls
                else http.client.HTTPConnection(HERE, port)
                for _ in range(count)
            ]
            for client in clients:
                ask(client)
            all_closed_by_peer(clients)
            for client in clients:
                client.close()
            return server.pid

    pid = namespace(act)
    found = look(collector, namespace)
    server, client = found.one("accepted", "closed-here"), found.one("initiated", "closed-by-peer")
    assert (server.connections, client.connections) == (count, count)
    assert (server.owner_pid, server.comm) == (pid, "nginx")
    assert abs(median(server) - seconds) <= TOLERANCE
    assert abs(median(client) - seconds) <= TOLERANCE
    assert (server.last_word, client.last_word) == (tls, tls)
    # The client closes without having read the farewell, and so by a reset: after the end, and no fault.
    resets = {(g.role, g.ending): g.connections for g in found.groups if g.ending.startswith("reset")}
    assert resets.pop(("initiated", "reset-sent"), 0) == (count if tls else 0)
    assert not any(g.state == "established" for g in found.groups if g.ending.startswith("reset"))


@pytest.mark.parametrize(
    ("listening", "family", "address", "shown"),
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        ("::1", socket.AF_INET6, "::1", "::1"),
        ("::", socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1"),
        ("::", socket.AF_INET, "127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_client_that_closes_first_is_said_to(
    collector: ConnectionsCollector,
    namespace: Namespace,
    listening: str,
    family: socket.AddressFamily,
    address: str,
    shown: str,
) -> None:
    count = 17

    def act() -> int:
        kind = socket.AF_INET6 if ":" in listening else socket.AF_INET
        with socket.create_server((listening, 0), family=kind, dualstack_ipv6=listening == "::") as listener:
            port = int(listener.getsockname()[1])
            for _ in range(count):
                client = socket.socket(family)
                client.connect((address, port))
                server = listener.accept()[0]
                exchange((client, server))
                close_in_turn(client, server)
            return port

    port = namespace(act)
    found = look(collector, namespace)
    assert found.counts(port) == {
        ("initiated", "opened", "established"): count,
        ("initiated", "closed-here", "established"): count,
        ("accepted", "closed-by-peer", "established"): count,
    }
    assert {(g.server.address, g.client) for g in found.groups} == {(shown, shown)}
    assert {g.owner_pid for g in found.groups} == {os.getpid()}


NAMED = """
from pathlib import Path
Path("/proc/self/comm").write_text({name!r})
"""
CLIENT = """
client = socket.create_connection(("127.0.0.1", {port}))
client.recv(1)
client.close()
print(flush=True)
"""
CLOSER = """
inherited = socket.socket(fileno=int(sys.argv[1]))
inherited.recv(1)
inherited.close()
print(flush=True)
"""


def test_processes_that_are_gone_keep_their_names(collector: ConnectionsCollector, namespace: Namespace) -> None:
    """Also the one that was handed a connection that another had accepted."""

    def act() -> tuple[int, int, int]:
        with socket.create_server((HERE, 0)) as listener:
            port = int(listener.getsockname()[1])
            with child(NAMED.format(name="short-lived") + CLIENT.format(port=port)) as client:
                accepted = listener.accept()[0]
                program = NAMED.format(name="handed-over") + CLOSER.replace("sys.argv[1]", str(accepted.fileno()))
                with child(program, pass_fds=[accepted.fileno()]) as closer:
                    accepted.close()
                    closer_pid, client_pid = closer.pid, client.pid
                    os.kill(client.pid, signal.SIGKILL)
                    assert closer.stdout is not None
                    assert closer.stdout.readline()
            return port, client_pid, closer_pid

    port, client_pid, closer_pid = namespace(act)
    found = look(collector, namespace)
    assert not Path(f"/proc/{client_pid}").exists()
    client, server = found.one("initiated", "closed-here"), found.one("accepted", "closed-by-peer")
    assert (client.owner_pid, client.comm) == (client_pid, "short-lived")
    assert (server.owner_pid, server.comm) == (closer_pid, "handed-over")
    assert 0 < client.process_started_seconds < time.clock_gettime(time.CLOCK_BOOTTIME)
    assert found.counts(port)["initiated", "closed-here", "established"] == 1


def test_a_connection_open_before_has_its_owner(support: Support, namespace: Namespace, scene: Scene) -> None:
    """Of a pool that was filled before we came, and that nobody has touched when the server closes."""
    made = namespace(lambda: scene.pairs(9))
    collector = ConnectionsCollector(Roots(), support)
    collector.start()
    for client, server in made:
        server.shutdown(socket.SHUT_WR)
        assert is_ready(client, 1, 5)
    found = look(collector, namespace)
    collector.close()
    client = found.one("initiated", "closed-by-peer")
    assert (client.connections, client.owner_pid) == (9, os.getpid())
    assert found.counts(scene.port) == {
        ("initiated", "closed-by-peer", "established"): 9,
        ("accepted", "closed-here", "established"): 9,
    }


def test_numbers_grow_from_snapshot_to_snapshot(
    collector: ConnectionsCollector, namespace: Namespace, scene: Scene
) -> None:
    for round_number in range(1, 6):
        namespace(lambda: [close_in_turn(client, server) for client, server in scene.pairs(3)])
        found = look(collector, namespace)
        assert set(found.counts(scene.port).values()) == {3 * round_number}
        assert sum(s.connections for s in found.one("initiated", "closed-here").spans) == 3 * round_number


LOAD = """
import select
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
print(listener.getsockname()[1], flush=True)
made = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    client = socket.create_connection(listener.getsockname())
    server = listener.accept()[0]
    client.close()
    server.recv(1)
    server.close()
    made += 1
print(made, flush=True)
"""


def test_connections_made_while_tables_are_emptied_are_all_counted(
    collector: ConnectionsCollector, namespace: Namespace
) -> None:
    with ExitStack() as kept:
        load = namespace(lambda: kept.enter_context(child(LOAD)))
        assert load.stdin is not None
        assert load.stdout is not None
        port = int(load.stdout.readline())
        for _ in range(100):
            collector.collect()
        load.stdin.close()
        made = int(load.stdout.readline())
    assert made > 1000
    assert look(collector, namespace).counts(port) == {
        ("initiated", "opened", "established"): made,
        ("initiated", "closed-here", "established"): made,
        ("accepted", "closed-by-peer", "established"): made,
    }


def test_sums_stay_exact_where_the_groups_overflow(collector: ConnectionsCollector, namespace: Namespace) -> None:
    """Each client has an address of its own, and three groups, in a table of 16,384."""

    def connect() -> int:
        with socket.create_server(("0.0.0.0", 0), backlog=64) as listener:
            port = int(listener.getsockname()[1])
            for n in range(MANY_CLIENTS):
                address = f"127.1.{n // 250}.{n % 250 + 1}"
                close_in_turn(socket.create_connection((HERE, port), source_address=(address, 0)), listener.accept()[0])
            return port

    port = namespace(connect)
    found = look(collector, namespace)
    assert set(found.counts(port).values()) == {MANY_CLIENTS}
    assert sum(g.connections for g in found.groups if g.client is None) >= 3 * MANY_CLIENTS - 16_384


def test_a_socket_that_connects_to_itself_was_opened_here(
    collector: ConnectionsCollector, namespace: Namespace
) -> None:
    """It passes SYN_RECV, as one that a listener makes."""

    def act() -> tuple[int, int]:
        with socket.socket() as one:
            one.bind((HERE, 0))
            one.connect(one.getsockname())
            exchange((one, one))
            return os.getpid(), int(one.getsockname()[1])

    pid, port = namespace(act)
    found = look(collector, namespace)
    assert found.counts(port) == {
        ("initiated", "opened", "established"): 1,
        ("initiated", "closed-here", "established"): 1,
    }
    assert {g.owner_pid for g in found.groups} == {pid}
    assert median(found.one("initiated", "opened")) < 1.0


FAREWELL = b"ERROR 4031: gone away because of inactivity"


@pytest.mark.parametrize(
    ("written", "reads_first", "asked"),
    [
        (b"q" * 60, False, True),
        (b"\1\0\0\0\1", False, False),
        (b"q" * 60, True, False),
        (b"e" * len(FAREWELL), False, False),
    ],
    ids=["a request", "its own farewell", "an answer to the farewell", "as long as the farewell"],
)
def test_a_request_after_an_unread_farewell_is_told_from_a_farewell(
    collector: ConnectionsCollector, namespace: Namespace, written: bytes, reads_first: bool, asked: bool
) -> None:
    def act() -> int:
        with socket.create_server((HERE, 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server = listener.accept()[0]
            client.sendall(b"q" * 60)
            server.recv(99)
            server.sendall(FAREWELL)
            server.close()
            wait_until(lambda: in_state(client, CLOSE_WAIT), "the server's close")
            if reads_first:
                client.recv(99)
            client.sendall(written)
            wait_until(lambda: not in_state(client, CLOSE_WAIT), "the reset")
            client.close()
            return int(listener.getsockname()[1])

    port = namespace(act)
    found = look(collector, namespace)
    (reset,) = (g for g in found.groups if g.server.port == port and g.ending == "reset-received")
    assert (reset.state, reset.asked) == ("close-wait", asked)


def test_a_close_before_any_word_is_told_from_one_after_a_single_byte(
    collector: ConnectionsCollector, namespace: Namespace
) -> None:
    def act() -> int:
        with socket.create_server((HERE, 0)) as listener:
            for words in (b"", b"", b"", b"x", b"x"):
                client = socket.create_connection(listener.getsockname())
                server = listener.accept()[0]
                server.sendall(words)
                server.close()
                wait_until(lambda client=client: in_state(client, CLOSE_WAIT), "the close")  # type: ignore[misc]
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                wait_until(lambda client=client: not in_state(client, CLOSE_WAIT), "the reset")  # type: ignore[misc]
                client.close()
            return int(listener.getsockname()[1])

    port = namespace(act)
    ends = [g for g in look(collector, namespace).groups if g.server.port == port and g.state == "close-wait"]
    assert {g.ending for g in ends} == {"reset-received"}
    assert {
        unanswered: sum(g.connections for g in ends if g.unanswered is unanswered) for unanswered in (True, False)
    } == {
        True: 3,
        False: 2,
    }
