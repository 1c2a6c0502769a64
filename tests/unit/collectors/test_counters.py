"""The counters of every namespace of a recorded machine, and what others get of the same reading."""

import shutil
from pathlib import Path

import pytest

from whodunnet.collectors import counters
from whodunnet.collectors.counters import KEPT, CountersCollector
from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.collectors.tcp_memory import COUNTERS, TcpMemoryCollector
from whodunnet.kernel.procfs.files import read_bytes
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.tcp_memory import TcpMemory

MACHINES = Path(__file__).parents[2] / "fixtures/proc"
SECOND = 4026532178
SNMP = "Udp: InDatagrams RcvbufErrors\nUdp: 70 3\nIcmp: InMsgs\nIcmp: 0\n"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A copy of the recorded machine, with the older counters for its two namespaces."""
    found = Path(shutil.copytree(MACHINES / "linux-6.18", tmp_path / "machine", symlinks=True))
    for file in found.glob("proc/*/net/netstat"):
        (file.parent / "snmp").write_text(SNMP)
    return found


def test_counters_are_kept_for_each_namespace_but_for_those_at_zero(machine: Path) -> None:
    sample = CountersCollector(Roots.below(machine)).collect()
    assert (sample.netns_read, sample.netns_unread) == (2, 0)
    values = sample.by_netns[SECOND]
    assert (values["Udp.InDatagrams"], values["Udp.RcvbufErrors"]) == (70, 3)
    assert all(values.values())
    assert set(values) <= set(sample.known) <= KEPT
    assert sample.value(SECOND, "Icmp.InMsgs") == 0


def test_what_no_message_had_so_far_is_known_to_be_zero(machine: Path) -> None:
    assert CountersCollector(Roots.below(machine)).collect().value(SECOND, "IcmpMsg.InType3") == 0


def test_what_this_kernel_lacks_is_unknown(machine: Path) -> None:
    sample = CountersCollector(Roots.below(machine)).collect()
    assert sample.value(SECOND, "Udp.MemErrors") is None
    assert sample.value(SECOND, "Udp6.InErrors") is None
    assert sample.value(1, "Udp.RcvbufErrors") is None


def test_a_namespace_that_cannot_be_read_is_counted(machine: Path) -> None:
    (machine / "proc/42/net/snmp").unlink()
    (machine / "proc/self/mountinfo").write_bytes(b"")
    sample = CountersCollector(Roots.below(machine)).collect()
    assert (sample.netns_read, sample.netns_unread) == (1, 1)


def test_more_namespaces_than_the_limit_are_counted_as_unread(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "NAMESPACES_LIMIT", 1)
    sample = CountersCollector(Roots.below(machine)).collect()
    assert (sample.netns_read, sample.netns_unread) == (1, 1)


def test_another_collector_gets_its_counters_once_from_the_same_reading(machine: Path) -> None:
    collector = CountersCollector(Roots.below(machine), COUNTERS)
    assert collector.hand_over() is None
    collector.collect()
    handed = collector.hand_over()
    assert handed is not None
    assert handed[0] == TcpMemoryCollector(Roots.below(machine), read_support(Roots())).collect().counters
    assert collector.hand_over() is None


def test_a_snapshot_reads_each_file_once(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def spied(path: Path) -> bytes:
        read.append(str(path))
        return read_bytes(path)

    for module in ("net_counters", "netstat"):
        monkeypatch.setattr(f"whodunnet.kernel.procfs.{module}.read_bytes", spied)
    taker = SnapshotTaker(Roots.below(machine), read_support(Roots()), ("counters", "tcp_memory"))
    with taker:
        samples = taker.take().samples
        memory = samples["tcp_memory"]
        assert isinstance(memory, TcpMemory)
        assert memory.netns_read == 2
        assert len([path for path in read if path.endswith("netstat")]) == 2
        taker.take(("tcp_memory",))
        assert len([path for path in read if path.endswith("netstat")]) == 4
