"""The softnet collector on a recorded machine, and on machines that say less."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from whodunnet.collectors import softnet
from whodunnet.collectors.softnet import SoftnetCollector
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, read_support
from whodunnet.model.softnet import Softnet

MACHINE = Path(__file__).parents[2] / "fixtures/proc/softnet-6.18"


@pytest.fixture(scope="module")
def support() -> Support:
    return read_support(Roots())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MACHINE, tmp_path / "machine"))


def collect(top: Path, support: Support) -> Softnet:
    return SoftnetCollector(Roots.below(top), support).collect()


def test_a_recorded_machine_is_put_together_by_cpu(support: Support) -> None:
    found = collect(MACHINE, support)
    assert set(found.by_cpu) == {0, 1}
    first, second = found.by_cpu.values()
    assert (first.dropped, first.steered, first.thread_wait_ns) == (0x135575, 0x15A584, 58_260_748_653)
    assert first.net_rx is not None
    assert first.steal_ms is not None
    assert second.thread_wait_ns is None  # this machine's fixture has one ksoftirqd only
    assert (found.max_backlog, found.budget, found.budget_us, found.irq_pressure_us) == (1000, 300, 8000, None)
    assert list(found.devices) == ["eth0"]
    assert found.virtual == 1


@pytest.mark.parametrize("gone", ["softirqs", "stat", "14", "irq"])
def test_what_a_machine_does_not_say_is_none_and_the_rest_remains(copy: Path, support: Support, gone: str) -> None:
    path = copy / "proc" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = collect(copy, support)
    assert found.by_cpu[0].dropped == 0x135575
    missing = {"softirqs": "net_rx", "stat": "total_ms", "14": "thread_wait_ns"}.get(gone)
    assert missing is None or getattr(found.by_cpu[0], missing) is None


def test_without_sysfs_of_devices_the_cpus_remain(copy: Path, support: Support) -> None:
    shutil.rmtree(copy / "sys/class")
    found = collect(copy, support)
    assert (found.devices, found.virtual, len(found.by_cpu)) == ({}, 0, 2)


def test_without_softnet_stat_there_is_no_reading(copy: Path, support: Support) -> None:
    (copy / "proc/self/net/softnet_stat").unlink()
    with pytest.raises(UnreadableError, match="softnet_stat does not exist here"):
        collect(copy, support)


def test_a_file_of_another_form_is_ours_to_mend(copy: Path, support: Support) -> None:
    (copy / "proc/softirqs").write_text("what\n")
    with pytest.raises(MalformedError):
        collect(copy, support)


def test_threads_are_looked_for_once_and_again_for_a_cpu_that_comes(
    copy: Path, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[frozenset[int]] = []
    find = softnet.find_ksoftirqds
    monkeypatch.setattr(softnet, "find_ksoftirqds", lambda roots, cpus: asked.append(cpus) or find(roots, cpus))
    collector = SoftnetCollector(Roots.below(copy), support)
    assert collector.collect().by_cpu == collector.collect().by_cpu
    path = copy / "proc/self/net/softnet_stat"
    path.write_text(path.read_text() + path.read_text().splitlines()[1].replace(" 00000001 ", " 00000002 ") + "\n")
    assert set(collector.collect().by_cpu) == {0, 1, 2}
    assert asked == [frozenset({0, 1}), frozenset({2})]
