"""The receiving side of a real kernel: numbers by a second source, and packets that found no room."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from netns.namespace import Namespace
from whodunnet.collectors.snapshots import now
from whodunnet.collectors.softnet import SoftnetCollector
from whodunnet.kernel.cpus import read_online
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import node, read_support
from whodunnet.model.finding import Finding
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.softnet import WRAP, Softnet
from whodunnet.rules.rule import judge

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")]
two_cpus = pytest.mark.skipif(not {0, 1} <= set(read_online(Roots())), reason="needs CPUs 0 and 1: one sends")
needs_nft = pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft(8) for rules that take long")
FLOOD = Path(__file__).with_name("flood.py")


@pytest.fixture(scope="module")
def collector() -> SoftnetCollector:
    return SoftnetCollector(Roots(), read_support(Roots()))


def shell(command: str) -> str:
    return subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout


def taken(collector: SoftnetCollector) -> Snapshot:
    return Snapshot(at=now(), samples={"softnet": collector.collect()})


def dropped(snapshot: Snapshot) -> int:
    sample = snapshot.samples["softnet"]
    assert isinstance(sample, Softnet)
    return sum(work.dropped for work in sample.by_cpu.values())


def test_every_cpu_that_is_online_is_there_with_its_thread(collector: SoftnetCollector) -> None:
    found = collector.collect()
    assert tuple(found.by_cpu) == read_online(Roots())
    for cpu, work in found.by_cpu.items():
        pid = shell(f"pgrep -x ksoftirqd/{cpu}").strip()
        run, wait, _ = map(int, Path(f"/proc/{pid}/schedstat").read_text().split())
        assert work.thread_run_ns is not None
        assert work.thread_wait_ns is not None
        assert 0 <= run - work.thread_run_ns < 5e9
        assert 0 <= wait - work.thread_wait_ns < 5e9


def test_time_of_a_cpu_is_all_of_its_time(collector: SoftnetCollector) -> None:
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    for work in collector.collect().by_cpu.values():
        assert work.total_ms is not None
        assert 0.8 * uptime < work.total_ms / 1000 < 1.1 * uptime


def test_packets_are_counted_as_they_are_taken(collector: SoftnetCollector) -> None:
    """Of everything on the machine at least those that are sent here; a packet over loopback is processed once."""

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(4000):
                sender.sendto(b"x", ("127.0.0.1", 9))

    before = collector.collect()
    with Namespace() as namespace:
        namespace(send)
    after = collector.collect()
    rise = sum((w.processed - before.by_cpu[cpu].processed) % WRAP for cpu, w in after.by_cpu.items())
    assert rise >= 4000


def test_settings_are_those_of_the_first_namespace_also_from_another(collector: SoftnetCollector) -> None:
    """kthreadd lives there, also where a security module guards the first process."""
    found = collector.collect()
    assert found.max_backlog == int(shell("nsenter -t 2 -n sysctl -n net.core.netdev_max_backlog"))
    assert found.budget == int(shell("nsenter -t 2 -n sysctl -n net.core.netdev_budget"))


def test_interrupts_of_devices_are_those_of_the_table(collector: SoftnetCollector) -> None:
    table = {int(n): rest for n, rest in re.findall(r"^ *(\d+):(.*)$", Path("/proc/interrupts").read_text(), re.M)}
    for device in collector.collect().devices.values():
        for interrupt in device.interrupts:
            assert table[interrupt.number].endswith(interrupt.name)


@two_cpus
@needs_nft
def test_packets_that_find_no_room_are_a_finding_with_their_number(collector: SoftnetCollector) -> None:
    support = read_support(Roots())
    first = taken(collector)
    inside = f"mount -t sysfs none /sys && ip link set lo up && exec {sys.executable} {FLOOD}"
    sent, passed = map(int, shell(f"unshare --net --mount sh -c '{inside}'").split())
    last = taken(collector)
    assert passed < sent / 2, "the rules were not slow enough for this machine"
    rise = (dropped(last) - dropped(first)) % WRAP
    assert rise == pytest.approx(sent - passed, rel=0.01)
    (answer,) = judge("softnet-drops", Recording(node=node(support), snapshots=(first, last)))
    assert isinstance(answer, Finding)
    assert (answer.shape, answer.confidence) == ("steered", "proven")
    assert "CPU 0" in answer.title
    assert answer.evidence[0].value == rise
