"""What the connections collector loses, it counts: no room, no group, a program that interrupts itself. Needs root."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netns.ends import close_in_turn, exchange
from netns.namespace import Namespace
from netns.scene import Scene, child
from whodunnet.kernel.bpf.connection_ends import TABLES, ConnectionEnds, Ends
from whodunnet.kernel.support import Support

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]
PLACES, GROUPS, MERGED = 1 << 17, 16_384, 4096  # bpf/include/open_connections.bpf.h, bpf/connections.bpf.c
COUNT = 7
LOAD_SECONDS = 5.0


@pytest.fixture
def ends(support: Support) -> Iterator[ConnectionEnds]:
    ends = ConnectionEnds(support)
    yield ends
    ends.close()


def fill(ends: ConnectionEnds, table: str, entries: int) -> None:
    """Entries that no connection of this machine has: all bits of the value, a number in the key."""
    ffi, lib, filled = ends._bpf.ffi, ends._bpf._lib, ends._bpf._map(table)
    key = ffi.new("char[]", lib.bpf_map__key_size(filled))
    value = ffi.new("char[]", b"\xff" * lib.bpf_map__value_size(filled))
    for n in range(entries):
        ffi.cast("unsigned int *", key)[0] = n
        assert lib.bpf_map_update_elem(lib.bpf_map__fd(filled), key, value, 0) == 0


def counts(found: Ends, port: int, netns: int) -> Counter[tuple[str, str]]:
    """Connections by role and ending, merged or not."""
    total: Counter[tuple[str, str]] = Counter()
    for end, _, connections, _ in (*found.fresh, *found.merged):
        if (end.netns, end.server.port) == (netns, port):
            total[end.role, end.ending] += connections
    return total


def test_connections_without_room_are_counted_once_and_told_all_the_same(
    ends: ConnectionEnds, namespace: Namespace, scene: Scene
) -> None:
    fill(ends, "connections", PLACES)
    before = ends.read().untracked

    def act() -> None:
        for client, server in scene.pairs(COUNT):
            exchange((client, server))
            close_in_turn(client, server)

    namespace(act)
    found = ends.read()
    assert counts(found, scene.port, namespace.number) == {
        ("initiated", "opened"): COUNT,
        ("initiated", "closed-here"): COUNT,
        ("accepted", "closed-by-peer"): COUNT,
    }
    assert COUNT <= found.untracked - before < 2 * COUNT  # others on this machine may connect too


def test_what_fits_in_no_group_is_counted_as_other(ends: ConnectionEnds, namespace: Namespace, scene: Scene) -> None:
    for table, room in ((TABLES[0], GROUPS), ("merged_ends", MERGED)):
        fill(ends, table, room)

    def act() -> None:
        for client, server in scene.pairs(COUNT):
            exchange((client, server))
            close_in_turn(client, server)

    namespace(act)
    found = ends.read()
    assert not counts(found, scene.port, namespace.number)
    assert all(found.other.get(ending, 0) >= COUNT for ending in ("opened", "closed-here", "closed-by-peer"))
    assert sum(found.other.values()) < 2 * 3 * COUNT


LOAD = """
import select
os.sched_setaffinity(0, {{{cpu}}})
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


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="what interrupts a program comes from another CPU")
def test_nothing_is_lost_uncounted_where_packets_interrupt_programs(ends: ConnectionEnds, namespace: Namespace) -> None:
    """Two CPUs make connections, and one of them receives all packets of both (RPS)."""
    receiving, other = sorted(os.sched_getaffinity(0))[:2]

    def start(kept: ExitStack) -> list[subprocess.Popen[str]]:
        Path("/sys/class/net/lo/queues/rx-0/rps_cpus").write_text(f"{1 << receiving:x}")
        return [kept.enter_context(child(LOAD.format(cpu=cpu))) for cpu in (receiving, other)]

    with ExitStack() as kept:
        loads = namespace(lambda: start(kept))
        ports = [said(load) for load in loads]
        time.sleep(LOAD_SECONDS)
        made = dict(zip(ports, (ended(load) for load in loads), strict=True))
    found = ends.read()
    assert min(made.values()) > 100
    lost = sum(3 * number - counts(found, port, namespace.number).total() for port, number in made.items())
    assert 0 <= lost <= found.missed


def said(load: subprocess.Popen[str]) -> int:
    assert load.stdout is not None
    return int(load.stdout.readline())


def ended(load: subprocess.Popen[str]) -> int:
    """How many connections it made."""
    assert load.stdin is not None
    load.stdin.close()
    return said(load)
