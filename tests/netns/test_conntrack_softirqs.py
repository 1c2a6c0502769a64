"""Received packets do not wait for our reading of the conntrack table, while other ways to read it make them wait."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from bench.conntrack import flows, insert, room_for
from bench.softirqs import delays, longest_delays
from netns.namespace import Namespace
from whodunnet.collectors.conntrack import ConntrackCollector
from whodunnet.kernel import namespaces
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.conntrack import Conntrack

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces and to trace softirqs"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs a second CPU to send packets from"),
]

T = TypeVar("T")
Place = Callable[[Callable[[], T]], T]
ROOTS = Roots()
MANY = 200_000
ALLOWED_SECONDS = 0.001
ROUNDS = 5
LEAST_RAISED = 20
"""Packets come all the time; a reading of a sparse table takes a few milliseconds."""


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


@pytest.fixture(scope="module")
def full() -> Iterator[Path]:
    """A namespace with many entries, which is found by its mount."""
    name = f"whodunnet-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        with room_for(MANY):
            mount = Path("/run/netns", name)
            namespaces.inside(mount, None, lambda: insert(flows(MANY)))
            yield mount
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def least(call: Callable[[], object], rounds: int = ROUNDS, *, everybody: bool = False) -> float:
    """The least of several longest delays: what else keeps a virtual CPU waiting does not do so every time."""
    found = [d for d in longest_delays(call, rounds, everybody=everybody) if d.raised]
    assert sum(d.raised for d in found) >= LEAST_RAISED
    return min(d.longest_seconds for d in found)


def read(into: list[Conntrack]) -> None:
    into.append(ConntrackCollector(ROOTS, read_support(ROOTS)).collect())


def delayed_by_ours(place: Callable[[Callable[[], float]], float]) -> tuple[float, Conntrack]:
    samples: list[Conntrack] = []
    delay = place(lambda: least(partial(read, samples)))
    return delay, samples[-1]


@pytest.mark.parametrize("entries", [300, 1000, 5000])
def test_a_sparse_table_keeps_no_packet_waiting(namespace: Namespace, entries: int) -> None:
    namespace(lambda: insert(flows(entries)))
    delay, sample = delayed_by_ours(namespace)
    assert sample.entries_read == entries
    assert delay < ALLOWED_SECONDS


def test_a_full_table_keeps_no_packet_waiting(full: Path) -> None:
    delay, sample = delayed_by_ours(partial(namespaces.inside, full, None))
    assert (sample.entries_read, sample.method) == (MANY, "ctnetlink")
    assert delay < ALLOWED_SECONDS


@pytest.mark.parametrize(("entries", "method"), [(10, None), (500, "procfs"), (6000, "ctnetlink")])
def test_entries_of_another_namespace_in_the_way_keep_no_packet_waiting(
    namespace: Namespace, full: Path, entries: int, method: str | None
) -> None:
    namespace(lambda: insert(flows(entries)))
    delay, sample = delayed_by_ours(namespace)
    assert sample.counts[full.stat().st_ino] == MANY
    assert (sample.method, sample.entries_read) == (method, entries if method else 0)
    assert (sample.dump_failure is None) == (method is not None)
    assert delay < ALLOWED_SECONDS


def test_a_dump_of_an_empty_namespace_does_keep_them_waiting(namespace: Namespace, full: Path) -> None:
    assert full.exists()
    assert namespace(lambda: least(conntrack_tool, everybody=True)) > ALLOWED_SECONDS


def test_a_selective_dump_does_keep_them_waiting(full: Path) -> None:
    """By the mark, which is the oldest selection that the kernel makes itself."""
    delay = namespaces.inside(full, None, lambda: least(partial(conntrack_tool, "--mark", "77"), everybody=True))
    assert delay > ALLOWED_SECONDS


def conntrack_tool(*selection: str) -> None:
    subprocess.run(["conntrack", "-L", *selection], check=True, capture_output=True)


def test_a_softirq_waits_from_when_it_was_first_raised_and_for_whom_it_interrupted() -> None:
    line = "     my work-1-{}     [000] d.{}1.   {}: softirq_{}: vec=3 [action=NET_RX]"
    events = [
        (7, "s", "7.999900", "entry"), (7, "h", "7.999990", "raise"), (7, "h", "8.000010", "raise"),
        (7, "s", "8.001100", "entry"), (8, "h", "8.002000", "raise"), (7, "s", "8.012000", "entry"),
        (7, "H", "8.013000", "raise"), (9, "s", "8.016000", "entry"), (7, "h", "8.020000", "raise"),
        (7, "s", "8.020005", "entry"),
    ]  # fmt: skip
    trace = "\n".join(line.format(*event) for event in events)
    found = [delays(trace, task) for task in (7, 8, None)]
    assert [(d.raised, round(d.longest_seconds * 1e6)) for d in found] == [(2, 1110), (1, 10_000), (3, 10_000)]
