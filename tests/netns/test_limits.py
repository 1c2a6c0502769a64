"""descriptor-limit, nic-drops and the entries of neighbours on a real kernel, and what only looks like a fault.

A full table of neighbours is of the whole kernel, and is made in a virtual machine only.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from netns.namespace import SILENT_NETWORK, Namespace, ip, wait_until
from whodunnet.collectors import neighbours
from whodunnet.collectors.descriptors import DescriptorsCollector
from whodunnet.collectors.links import LinksCollector
from whodunnet.collectors.neighbours import NeighboursCollector
from whodunnet.collectors.snapshots import SnapshotTaker, now
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import node, read_support
from whodunnet.model.finding import Cleared, Finding
from whodunnet.model.links import Links
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.workload import Process
from whodunnet.rules.catalogue import needed_collectors
from whodunnet.rules.rule import judge

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]
LIMITED = Path(__file__).with_name("limited.py")
PAIR = ("link add one0 type veth peer name two0", "addr add 10.9.0.1/24 dev one0", "link set two0 up",
        "link set one0 up", "neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev one0 nud permanent")  # fmt: skip


# --- Descriptors -------------------------------------------------------------------------------------------------


@contextmanager
def limited(limit: int, opened: int) -> Iterator[subprocess.Popen[str]]:
    """The server, once it is ready."""
    command = ["unshare", "--net", sys.executable, str(LIMITED), str(limit), str(opened)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert int(process.stdout.readline()) == process.pid
            yield process
        finally:
            process.communicate()


def judged(rule: str, readings: int = 2) -> list[Any]:
    support = read_support(Roots())
    with SnapshotTaker(Roots(), support, needed_collectors([rule])) as taker:
        snapshots = tuple(taker.take() for _ in range(readings))
    return list(judge(rule, Recording(node=node(support), snapshots=snapshots)))


def test_a_server_that_can_accept_nothing_more_is_named_with_who_waits() -> None:
    with limited(200, 0) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("connect\n")
        server.stdin.flush()
        assert server.stdout.readline() == "done\n"
        found = [f for f in judged("descriptor-limit") if isinstance(f, Finding) and pid_of(f) == server.pid]
        (use,) = (use for use in DescriptorsCollector(Roots()).collect().fullest if use.pid == server.pid)
        shown = run(f"ls -l /proc/{server.pid}/fd").splitlines()[1:]
    (finding,) = found
    assert (finding.shape, finding.confidence, finding.parties[0].role) == ("exhausted", "proven", "culprit")
    assert (finding.evidence[0].value, finding.evidence[0].limit) == (len(shown), 200) == (200, 200)
    assert use.sockets == sum("-> socket:" in line for line in shown) > 150
    assert "sockets" in finding.title


def test_a_pool_at_half_of_its_limit_is_not_named() -> None:
    with limited(200, 90) as server:
        assert [f for f in judged("descriptor-limit") if isinstance(f, Finding) and pid_of(f) == server.pid] == []


def pid_of(finding: Finding) -> int | None:
    process = finding.parties[0].process
    return process.pid if isinstance(process, Process) else None


# --- Devices -----------------------------------------------------------------------------------------------------


class Watched:
    """A pair of devices in a namespace of its own, of which readings are taken."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.collector = LinksCollector(Roots())
        self.snapshots: list[Snapshot] = []

    def take(self) -> None:
        self.snapshots.append(Snapshot(at=now(), samples={"links": self.namespace(self.collector.collect)}))

    def findings(self) -> list[Finding]:
        """About the devices of this namespace: others may have their own."""
        recording = Recording(node=node(read_support(Roots())), snapshots=tuple(self.snapshots))
        return [
            f
            for f in judge("nic-drops", recording)
            if isinstance(f, Finding) and f.parties[0].device in ("one0", "two0")
        ]


@pytest.fixture
def pair() -> Iterator[Watched]:
    with Namespace(*PAIR) as namespace:
        yield Watched(namespace)


def run(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def send(count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            try:
                sender.sendto(bytes(1000), ("10.9.0.2", 9))
            except OSError:
                continue  # the queue says that it is full


def drops(watched: Watched) -> int:
    """As tc(8) shows them: a second source."""
    return int(json.loads(watched.namespace(lambda: run("tc -s -j qdisc show dev one0")))[0]["drops"])


def test_a_queue_with_a_tiny_limit_is_a_finding_with_the_number_of_tc(pair: Watched) -> None:
    pair.namespace(lambda: run("tc qdisc add dev one0 root tbf rate 80kbit burst 2kb limit 4kb"))
    pair.take()
    before = drops(pair)
    pair.namespace(lambda: send(500))
    pair.take()
    (finding,) = pair.findings()
    assert (finding.shape, finding.severity, finding.confidence) == ("queue-full", "warning", "proven")
    assert finding.evidence[0].value == drops(pair) - before > 400
    assert "tbf" in finding.title


def test_drops_of_before_the_window_are_nothing(pair: Watched) -> None:
    pair.namespace(lambda: run("tc qdisc add dev one0 root tbf rate 80kbit burst 2kb limit 4kb"))
    pair.namespace(lambda: send(500))
    assert drops(pair) > 400
    pair.take()
    pair.take()
    assert pair.findings() == []


def carrier_losses(watched: Watched) -> int:
    """As a sysfs of that namespace shows them: a second source."""
    shown = ["unshare", "--mount", "sh", "-c", "mount -t sysfs none /sys && cat /sys/class/net/one0/carrier_down_count"]
    return int(watched.namespace(lambda: subprocess.run(shown, check=True, capture_output=True, text=True).stdout))


def test_a_line_that_comes_and_goes_is_a_finding(pair: Watched) -> None:
    pair.take()
    before = carrier_losses(pair)
    for n in range(1, 4):
        pair.namespace(lambda: ip("link set two0 down"))
        wait_until(lambda n=n: carrier_losses(pair) == before + n, "the carrier to be lost")  # type: ignore[misc]
        pair.namespace(lambda: ip("link set two0 up"))
        wait_until(lambda: "LOWER_UP" in pair.namespace(lambda: run("ip link show dev one0")), "the carrier")
    pair.take()
    found = {f.parties[0].device: f for f in pair.findings()}
    assert found["one0"].shape == "flaps"
    assert found["one0"].evidence[0].value == 3


def test_a_pod_that_starts_is_none() -> None:
    made = ("link add one0 type veth peer name two0", "link set one0 up")
    with Namespace(*made) as namespace:
        watched = Watched(namespace)
        watched.take()
        namespace(lambda: ip("link set two0 up"))
        wait_until(lambda: "LOWER_UP" in namespace(lambda: run("ip link show dev one0")), "the carrier")
        watched.take()
        assert watched.findings() == []


def shown_by_ip(watched: Watched) -> dict[str, tuple[int, int, int, int]]:
    """Packets and drops of both devices, received and sent."""
    shown = watched.namespace(lambda: json.loads(run("ip -s -j link show type veth")))
    both = {one["ifname"]: (one["stats64"]["rx"], one["stats64"]["tx"]) for one in shown}
    return {name: (rx["packets"], rx["dropped"], tx["packets"], tx["dropped"]) for name, (rx, tx) in both.items()}


def test_counters_are_those_of_ip(pair: Watched) -> None:
    pair.namespace(lambda: send(70))
    kept: list[tuple[Links, dict[str, tuple[int, int, int, int]]]] = []

    def is_still() -> bool:
        """A device that has just come up tells its neighbours so for seconds."""
        before = shown_by_ip(pair)
        kept.append((pair.namespace(LinksCollector(Roots()).collect), before))
        return before == shown_by_ip(pair)

    wait_until(is_still, "counters that stay")
    links, shown = kept[-1]
    ours = {
        name: (one.rx_packets, one.rx_dropped, one.tx_packets, one.tx_dropped)
        for name, one in links.by_netns[pair.namespace.number].items()
    }
    assert ours == shown
    assert ours["two0"][0] >= 70


def test_the_other_end_in_a_pods_namespace_is_found(pair: Watched) -> None:
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as pod:
        try:
            own = Path("/proc/self/ns/net").readlink()
            wait_until(lambda: Path(f"/proc/{pod.pid}/ns/net").readlink() != own, "the namespace")
            pair.namespace(lambda: ip("link add host9 type veth peer name inside"))
            pair.namespace(lambda: ip("link set host9 up"))
            pair.namespace(lambda: ip(f"link set inside netns {pod.pid}"))
            run(f"nsenter -t {pod.pid} -n ip link set inside up")
            links = pair.namespace(pair.collector.collect)
            inode = Path(f"/proc/{pod.pid}/ns/net").stat().st_ino
            assert links.other_end(pair.namespace.number, "host9") == (inode, "inside")
            assert links.other_end(inode, "inside") == (pair.namespace.number, "host9")
        finally:
            pod.kill()


# --- Neighbours --------------------------------------------------------------------------------------------------


def test_addresses_that_nobody_has_are_counted_in_their_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the table were half full, so that its entries are read."""
    monkeypatch.setattr(neighbours, "HALF", 0.0)
    with Namespace(*SILENT_NETWORK) as namespace:

        def ask() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for n in range(10, 60):
                    sender.sendto(b"x", (f"10.9.0.{n}", 9))

        namespace(ask)
        sample = namespace(NeighboursCollector(Roots()).collect)
        shown = namespace(lambda: run("ip -4 neigh show nud all dev silent")).splitlines()
    (place,) = [p for p in sample.places if p.netns == namespace.number and p.family == 4 and p.device == "silent"]
    assert (place.unanswered, place.exempt) == (50, 1)
    assert place.counted + place.exempt == len(shown)
    assert len(place.asked) == 50
    assert sample.ipv4 is not None
    assert sample.ipv4.entries >= 51


def test_a_table_with_room_is_cleared_with_its_limit() -> None:
    """Against sysctl(8) beside the first process."""
    command = "nsenter -t 1 -n sysctl -n net.ipv4.neigh.default.gc_thresh3"
    shown = subprocess.run(command.split(), check=False, capture_output=True, text=True).stdout
    if not shown:
        pytest.skip("the first process is not in the first network namespace here, whose setting it is")
    (answer,) = judged("neighbour-table")
    assert isinstance(answer, Cleared)
    assert int(shown) in {e.limit for e in answer.evidence}
