"""The conntrack collector where the kernel loses a part, the table changes meanwhile, and namespaces go away."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.conntrack import Entry, flows, insert
from netns.namespace import Namespace, set_sysctl, wait_until
from whodunnet.collectors.conntrack import ConntrackCollector, read_here
from whodunnet.kernel.netlink import conntrack as ctnetlink
from whodunnet.kernel.procfs.conntrack import read_size
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.conntrack import Conntrack

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]

ROOTS = Roots()
STEADY = 20_000
SOL_NETLINK, ADD_MEMBERSHIP, NEW_ENTRIES = 270, 1, 1  # uapi linux/netlink.h, nfnetlink_compat.h: NFNLGRP_CONNTRACK_NEW
TRACKED = "add table ip watch; add chain ip watch input { type filter hook input priority 0; }; "
TRACKED += "add rule ip watch input ct state new accept"
CONNECTING = """
import socket
server = socket.create_server(("127.0.0.1", 8080), backlog=1000)
while True:
    client = socket.create_connection(("127.0.0.1", 8080))
    accepted, _ = server.accept()
    client.close()
    accepted.close()
"""
COMING_AND_GOING = 'trap "exit 0" TERM; while :; do ip netns add "$1"; unshare --net true; ip netns del "$1"; done'
"""Ends between two commands: an `ip` left alone would make the namespace after it was removed."""


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


def here() -> Conntrack:
    return read_here(ROOTS, 0)


class Overrun(ctnetlink.ConntrackSocket):
    """Is told of new entries too, with a buffer that has no room for that: the kernel then says ENOBUFS."""

    left = 0

    def __init__(self, receive_bytes: int) -> None:
        super().__init__(receive_bytes)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, NEW_ENTRIES)

    def _request(self, kind: int, body: bytes) -> None:
        super()._request(kind, body)
        if Overrun.left:
            insert(iter([Entry(bytes((198, 19, 255, Overrun.left)), bytes((198, 19, 0, 1)), 1000)]))
            Overrun.left -= 1


def test_a_dump_that_lost_a_part_is_begun_again_once(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctnetlink, "ConntrackSocket", Overrun)
    monkeypatch.setattr(Overrun, "left", 1)
    namespace(lambda: insert(flows(STEADY)))
    dump = namespace(lambda: ctnetlink.dump_flows({}))
    assert (dump.overruns, dump.table.records) == (1, STEADY + 1)


def test_a_dump_that_loses_a_part_again_has_no_groups_and_says_why(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctnetlink, "ConntrackSocket", Overrun)
    monkeypatch.setattr(Overrun, "left", len(ctnetlink.RECEIVE_BYTES))
    namespace(lambda: insert(flows(STEADY)))
    sample = namespace(here)
    assert (sample.count, sample.groups, Overrun.left) == (STEADY, (), 0)
    assert sample.dump_failure is not None
    assert sample.dump_failure.reason == "the kernel lost a part of the conntrack dump 2 times (ENOBUFS)"


def test_a_dump_that_keeps_softirqs_waiting_is_given_up_early(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctnetlink, "SLOW_SECONDS", 1e-9)
    namespace(lambda: insert(flows(STEADY)))
    sample = namespace(here)
    assert (sample.count, sample.groups) == (STEADY, ())
    assert sample.dump_failure is not None
    assert sample.dump_failure.reason.startswith("the conntrack dump was given up: 4 of its first 4 parts kept a CPU")


def test_a_dump_whose_parts_are_slow_is_read_in_smaller_ones(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = property(lambda asked: len(asked._buffer) == ctnetlink.RECEIVE_BYTES[0])
    monkeypatch.setattr(ctnetlink.ConntrackSocket, "is_slow", large)
    namespace(lambda: insert(flows(STEADY)))
    dump = namespace(lambda: ctnetlink.dump_flows({}))
    assert (dump.overruns, dump.table.records) == (1, STEADY)


def test_entries_that_stay_are_read_once_while_others_come_and_go(namespace: Namespace) -> None:
    """The kernel may tell an entry twice, or not at all, where its place in the table changed: few of many."""
    for name in ("fin_wait", "last_ack", "time_wait", "close"):
        namespace(lambda name=name: set_sysctl(f"netfilter/nf_conntrack_tcp_timeout_{name}", 1))  # type: ignore[misc]
    namespace(lambda: insert(flows(STEADY)))
    namespace(lambda: subprocess.run(["nft", "-f", "-"], input=TRACKED, text=True, check=True))
    with running(namespace(lambda: start(sys.executable, "-c", CONNECTING))):
        wait_until(lambda: count(namespace) > STEADY + 100, "connections that come")
        samples = [namespace(here) for _ in range(10)]
    changing = {s.entries_read - steady(s) for s in samples}
    assert len(changing) > 1
    assert min(changing) > 0
    for sample in samples:
        assert (sample.method, sample.dump_failure, sample.malformed) == ("ctnetlink", None, 0)
        assert abs(steady(sample) - STEADY) <= STEADY // 100


def steady(sample: Conntrack) -> int:
    return sum(g.entries for g in sample.groups if g.source.startswith("198.18."))


def count(namespace: Namespace) -> int:
    size = namespace(lambda: read_size(ROOTS))
    assert size is not None
    return size.count


def start(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def running(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait()


def test_namespaces_that_come_and_go_meanwhile_disturb_no_reading(namespace: Namespace) -> None:
    collector = ConntrackCollector(ROOTS, read_support(ROOTS))
    namespace(lambda: insert(flows(100)))
    name = f"whodunnet-{uuid.uuid4().hex[:8]}"
    met: set[int] = set()
    try:
        with running(start("sh", "-c", COMING_AND_GOING, "sh", name)):
            for _ in range(100):
                sample = namespace(collector.collect)
                assert (sample.loaded, sample.count) == (True, 100)
                met.update(sample.counts)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    assert len(met) > 10
