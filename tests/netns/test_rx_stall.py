"""Real stalls, each by a real cause, from the kernel to the name in a finding. Needs root."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.conntrack import flows, insert, room_for
from bench.softirqs import packets
from netns.namespace import Namespace
from netns.stall_causes import (
    RECEIVER,
    SELECTIVE_DUMP,
    SENDER,
    filter_slowly,
    furnish_threaded_link,
    hog,
    receive_many,
    run_on,
    starve,
)
from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.kernel import namespaces
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, node
from whodunnet.model.finding import Answer, Finding, Party
from whodunnet.model.snapshot import Recording
from whodunnet.model.workload import Process
from whodunnet.rules.rule import judge

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces and to load BPF programs"),
    pytest.mark.skipif(
        not {RECEIVER, SENDER} <= os.sched_getaffinity(0), reason="needs two CPUs, one to receive and one to send"
    ),
]
ENTRIES = 200_000
DUMPS = 5


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


@pytest.fixture(scope="module")
def full() -> Iterator[Path]:
    """A namespace with many entries in its conntrack table."""
    name = f"whodunnet-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        with room_for(ENTRIES):
            mount = Path("/run/netns", name)
            namespaces.inside(mount, None, lambda: insert(flows(ENTRIES)))
            yield mount
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def answers(support: Support, act: Callable[[], object]) -> list[Answer]:
    """What the rule says of a window in which something is done."""
    with SnapshotTaker(Roots(), support, ("stalls",)) as taker:
        taker.start()
        first = taker.take()
        act()
        return list(judge("rx-stall", Recording(node=node(support), snapshots=(first, taker.take()))))


def findings(support: Support, act: Callable[[], object]) -> list[Finding]:
    return [a for a in answers(support, act) if isinstance(a, Finding)]


def culprits(found: list[Finding]) -> list[Party]:
    return [p for f in found for p in f.parties if p.role == "culprit"]


def pid_of(party: Party) -> int | None:
    return party.process.pid if isinstance(party.process, Process) else None


def dump(namespace: Path) -> int:
    """A selective dump on the receiving CPU; the number of the process, which is gone."""
    child = namespaces.inside(namespace, None, lambda: run_on(RECEIVER, *SELECTIVE_DUMP))
    assert child.wait() == 0
    return child.pid


def test_who_dumps_a_large_table_again_and_again_is_the_culprit(support: Support, full: Path) -> None:
    """Processes that are gone before anybody asks for their names, as one culprit."""
    pids: list[int] = []
    with packets(RECEIVER, SENDER):
        found = findings(support, lambda: pids.extend(dump(full) for _ in range(DUMPS)))
    (finding,) = (f for f in found if f.shape == "softirqs-disabled")
    (culprit,) = culprits([finding])
    assert pid_of(culprit) in pids
    assert finding.title.startswith("conntrack ")
    assert "in sendto()" in finding.title
    assert "ctnetlink_dump_table" in finding.title
    assert finding.confidence == "proven"
    assert all(pid_of(p) in pids for p in culprits(found))


def test_the_verb_tells_each_stall_and_who_it_was_until_it_is_ended(full: Path) -> None:
    command = [sys.executable, "-m", "whodunnet", "stalls", "--format", "json"]
    pids: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        assert watch.stderr is not None
        assert watch.stderr.readline().startswith("Watching")
        with packets(RECEIVER, SENDER):
            pids.extend(dump(full) for _ in range(DUMPS))
        watch.send_signal(signal.SIGINT)
        out, err = watch.communicate(timeout=60)
    documents: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert (watch.returncode, err) == (0, "")
    *stalls, summary = documents
    named = [s for s in stalls if s["culprit"] is not None]
    assert {s["culprit"]["process"]["pid"] for s in named} <= set(pids)
    assert any(s["held"][0]["functions"][0] == "ctnetlink_dump_table" for s in named)
    assert summary["line"] == "summary"
    assert summary["stalls"] == len(stalls)
    (cpu,) = (c for c in summary["cpus"] if c["cpu"] == RECEIVER)
    assert cpu["longest_seconds"] >= max(s["wait_seconds"] for s in named)
    assert cpu["p50_seconds"] < 0.001


@pytest.mark.skipif(shutil.which("ethtool") is None, reason="ethtool is not installed")
def test_a_real_time_task_over_a_napi_thread_is_the_culprit(support: Support, namespace: Namespace) -> None:
    namespace(furnish_threaded_link)
    hogs: list[int] = []

    found = findings(support, lambda: hogs.append(starve(namespace)))
    assert [f.shape for f in found if culprits([f])] == ["starved-thread"]
    assert [pid_of(p) for p in culprits(found)] == hogs


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
def test_a_long_softirq_is_nobodys_by_name(support: Support, namespace: Namespace) -> None:
    namespace(filter_slowly)
    found = findings(support, lambda: namespace(receive_many))
    assert [f.shape for f in found if f.shape in ("softirq-hog", "overload")]
    assert culprits(found) == []
    hogs = [f for f in found if f.shape == "softirq-hog"]
    assert all("NET_RX" in f.title for f in hogs)


def test_a_hog_in_user_mode_that_keeps_no_packet_waiting_is_no_finding(support: Support) -> None:
    def busy() -> None:
        with packets(RECEIVER, SENDER), hog(3.0) as child:
            child.wait()

    found = findings(support, busy)
    assert culprits(found) == []
    assert [f.shape for f in found if f.severity != "info" and f.shape not in ("steal",)] == []
