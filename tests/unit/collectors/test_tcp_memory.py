import shutil
from pathlib import Path

import msgspec
import pytest

from whodunnet.collectors import tcp_memory
from whodunnet.collectors.tcp_memory import COUNTERS, TcpMemoryCollector
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, read_support
from whodunnet.model.tcp_memory import TcpMemory

MACHINES = Path(__file__).parents[2] / "fixtures/proc"
SECOND = 4026532178


@pytest.fixture
def support() -> Support:
    return msgspec.structs.replace(read_support(Roots()), page_size_bytes=4096, possible_cpus=2)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A copy of the recorded machine, to be damaged."""
    return Path(shutil.copytree(MACHINES / "linux-6.18", tmp_path / "machine", symlinks=True))


def collect(root: Path, support: Support) -> TcpMemory:
    return TcpMemoryCollector(Roots.below(root), support).collect()


def test_a_recorded_node_is_read_whole(support: Support) -> None:
    sample = collect(MACHINES / "linux-6.18", support)
    assert (sample.low_pages, sample.pressure_pages, sample.max_pages) == (287901, 383869, 575802)
    assert (sample.used_pages, sample.alloc_sockets, sample.inuse_sockets) == (59953, 201127, 1)
    assert (sample.inuse6_sockets, sample.orphans, sample.time_wait_sockets) == (0, 0, 0)
    assert (sample.max_orphans, sample.max_time_wait, sample.under_pressure) == (131072, 131072, False)
    assert (sample.memory_total_bytes, sample.cpus, sample.drift_pages) == (25_276_514_304, 2, 512)
    assert (sample.netns_read, sample.netns_unread) == (2, 0)


def test_counters_are_kept_for_each_namespace_by_name(support: Support) -> None:
    sample = collect(MACHINES / "linux-6.18", support)
    assert all(set(counters) == set(COUNTERS) for counters in sample.counters.values())
    assert sample.counters[SECOND]["TCPAbortOnClose"] == 0


def test_in_a_child_namespace_the_global_limits_are_unknown(support: Support) -> None:
    sample = collect(MACHINES / "child-netns", support)
    assert (sample.low_pages, sample.max_pages, sample.max_orphans) == (None, None, None)
    assert (sample.used_pages, sample.max_time_wait) == (59953, 131072)


def test_a_counter_that_the_kernel_lacks_is_not_reported(machine: Path, support: Support) -> None:
    shutil.copy(MACHINES / "linux-4.9/proc/self/net/netstat", machine / "proc/42/net/netstat")
    counters = collect(machine, support).counters[SECOND]
    assert counters["TCPMemoryPressures"] == 2
    assert "TCPRcvQDrop" not in counters


def test_a_namespace_that_cannot_be_read_is_counted(machine: Path, support: Support) -> None:
    (machine / "proc/42/net/netstat").unlink()
    (machine / "proc/self/mountinfo").write_bytes(b"")
    sample = collect(machine, support)
    assert (sample.netns_read, sample.netns_unread) == (1, 1)


def test_a_namespace_whose_process_ended_is_read_by_its_mount(
    machine: Path, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "proc/42/net/netstat").unlink()
    visited: list[tuple[Path, int]] = []

    def inside(_visitor: object, path: Path, inum: int, _call: object) -> dict[str, int]:
        visited.append((path, inum))
        return {"ListenDrops": 7}

    monkeypatch.setattr("whodunnet.kernel.namespaces.Visitor.inside", inside)
    sample = collect(machine, support)
    assert visited == [(Path("/run/netns/wdnfixture"), SECOND)]
    assert (sample.counters[SECOND], sample.netns_unread) == ({"ListenDrops": 7}, 0)


def test_more_namespaces_than_the_limit_are_counted_as_unread(
    support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_memory, "NAMESPACES_LIMIT", 1)
    sample = collect(MACHINES / "linux-6.18", support)
    assert (sample.netns_read, sample.netns_unread) == (1, 1)


def test_a_process_that_moved_while_it_was_read_lends_no_counters(
    support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whodunnet.kernel.namespaces.of_process", lambda _roots, _pid: 1)
    assert collect(MACHINES / "linux-6.18", support).counters == {}


@pytest.mark.parametrize("file", ["meminfo", "self/net/protocols", "self/net/sockstat6"])
def test_what_is_missing_is_none_and_nothing_else(machine: Path, support: Support, file: str) -> None:
    whole = collect(machine, support)
    (machine / "proc" / file).unlink()
    part = collect(machine, support)
    changed = {name for name in whole.__struct_fields__ if getattr(whole, name) != getattr(part, name)}
    assert len(changed) == 1
    assert getattr(part, changed.pop()) is None


def test_without_sockstat_there_is_no_sample(machine: Path, support: Support) -> None:
    (machine / "proc/self/net/sockstat").unlink()
    with pytest.raises(UnreadableError, match="sockstat does not exist") as caught:
        collect(machine, support)
    assert caught.value.code == "missing-file"


def test_a_malformed_file_is_never_taken_for_a_missing_one(machine: Path, support: Support) -> None:
    (machine / "proc/sys/net/ipv4/tcp_mem").write_text("1 2")
    with pytest.raises(MalformedError, match="tcp_mem: 2 numbers"):
        collect(machine, support)


def test_the_machine_we_run_on_can_be_read() -> None:
    sample = TcpMemoryCollector(Roots(), read_support(Roots())).collect()
    assert sample.netns_read >= 1
    assert sample.used_pages >= 0
