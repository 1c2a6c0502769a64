"""The connections collector on bad days: multipath TCP, short-lived namespaces, thousands of endpoints. Needs root."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from netns.ends import close_in_turn, look
from netns.namespace import Namespace, wait_until
from netns.scene import HERE, MPTCP, child
from whodunnet.collectors.connections import GROUPS_LIMIT, MERGED_LIMIT, ConnectionsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]
ENDPOINTS = 3001
NAMESPACES = 40


@pytest.fixture
def collector(support: Support) -> Iterator[ConnectionsCollector]:
    collector = ConnectionsCollector(Roots(), support)
    collector.start()
    yield collector
    collector.close()


def test_a_multipath_connection_is_seen_by_its_subflow(collector: ConnectionsCollector, namespace: Namespace) -> None:
    def act() -> int:
        with ExitStack() as kept:
            try:
                listener = kept.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP))
            except OSError:
                pytest.skip("this kernel has no MPTCP")
            listener.bind((HERE, 0))
            listener.listen()
            client = kept.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP))
            client.connect(listener.getsockname())
            server = kept.enter_context(listener.accept()[0])
            client.send(b"x")
            server.recv(1)
            client.close()
            assert server.recv(1) == b""
            server.close()
            return int(listener.getsockname()[1])

    port = namespace(act)

    def told() -> Counter[str]:
        counts = look(collector, namespace).counts(port)
        assert counts["initiated", "opened", "established"] == 1
        return Counter(ending for (_, ending, state), n in counts.items() if state == "established" for _ in range(n))

    # A worker of the kernel closes subflows, some time after close() has returned (mptcp_worker, net/mptcp/protocol.c).
    wait_until(lambda: sum(told().values()) >= 3, "both closes")
    assert told()["closed-here"] <= 1
    assert sum(told().values()) == 3


ONE_CONNECTION = """
with socket.create_server(("127.0.0.1", 8080)) as listener:
    client = socket.create_connection(listener.getsockname())
    server = listener.accept()[0]
    client.close()
    server.recv(1)
    server.close()
print(flush=True)
"""


def test_each_namespace_that_is_gone_keeps_what_ended_in_it(collector: ConnectionsCollector) -> None:
    """All of them have the same addresses and the same port."""
    pids = {}
    for _ in range(NAMESPACES):
        with Namespace() as brief, ExitStack() as kept:
            process = brief(lambda kept=kept: kept.enter_context(child(ONE_CONNECTION)))  # type: ignore[misc]
            assert process.stdout is not None
            assert process.stdout.readline()
            pids[process.pid] = brief.number
    groups = [g for g in collector.collect().groups if g.owner_pid in pids]
    assert {g.owner_pid: g.netns for g in groups} == pids
    assert Counter((g.role, g.ending) for g in groups) == {
        ("initiated", "opened"): NAMESPACES,
        ("initiated", "closed-here"): NAMESPACES,
        ("accepted", "closed-by-peer"): NAMESPACES,
    }


def test_every_endpoint_of_thousands_is_counted(collector: ConnectionsCollector, namespace: Namespace) -> None:
    """More than a sample has room for."""

    def connect() -> None:
        for n in range(ENDPOINTS):
            with socket.create_server((f"127.2.{n // 250}.{n % 250 + 1}", 8080)) as listener:
                close_in_turn(socket.create_connection(listener.getsockname()), listener.accept()[0])

    before = collector.collect().other
    namespace(connect)
    sample = collector.collect()
    counted = Counter(sample.other) - Counter(before)
    for g in sample.groups:
        if g.netns == namespace.number:
            counted[g.ending] += g.connections
    assert sample.missed == 0
    assert counted == {"opened": ENDPOINTS, "closed-here": ENDPOINTS, "closed-by-peer": ENDPOINTS}
    assert len(sample.groups) <= GROUPS_LIMIT + 2 * MERGED_LIMIT < 3 * ENDPOINTS
