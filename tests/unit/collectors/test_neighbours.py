"""The neighbours collector: when entries are read, and of what they are."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pytest

from whodunnet.collectors import neighbours
from whodunnet.collectors.neighbours import NeighboursCollector
from whodunnet.errors import UnreadableError
from whodunnet.kernel.netlink.neighbours import Counted, Neighbour
from whodunnet.kernel.procfs.neighbours import NeighbourStatistics
from whodunnet.kernel.roots import Roots

POD = 5


class Kernel:
    """Two tables, and the entries of one namespace."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entries = {4: 100, 6: 10}
        self.fulls = 3
        self.read: list[tuple[int, ...]] = []
        self.found: Counter[Neighbour] = Counter()
        self.asked: dict[int, list[bytes]] = {}
        monkeypatch.setattr(neighbours, "read_statistics", self.statistics)
        monkeypatch.setattr(neighbours, "read_thresholds", lambda _roots, _family: (128, 512, 1024))
        monkeypatch.setattr(neighbours, "visit_all", self.visit_all)
        monkeypatch.setattr(neighbours.socket, "if_nameindex", lambda: [(2, "eth0")])

    def statistics(self, _roots: Roots, family: int, _task: str) -> NeighbourStatistics:
        if family not in self.entries:
            raise UnreadableError("no such file", code="missing-file")
        counters = {"table_fulls": self.fulls, "forced_gc_runs": 1}
        return NeighbourStatistics(entries=self.entries[family], counters=counters)

    def visit_all(self, _roots: Roots, call: partial[Any]) -> tuple[dict[int, Any], int]:
        families = call.args[0]
        self.read.append(families)
        return {POD: {family: (Counted(self.found, self.asked, cut=False), {2: "eth0"}) for family in families}}, 0


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def test_with_room_in_both_tables_no_entry_is_read(kernel: Kernel) -> None:
    sample = NeighboursCollector(Roots()).collect()
    assert (kernel.read, sample.places) == ([], ())
    assert sample.ipv4 is not None
    assert (sample.ipv4.entries, sample.ipv4.max_entries, sample.ipv4.table_fulls) == (100, 1024, 3)
    assert sample.ipv4.res_failed is None


@pytest.mark.parametrize(("entries", "read"), [(511, []), (512, [(4,)])])
def test_from_half_full_on_the_entries_of_that_table_are_read(
    kernel: Kernel, entries: int, read: list[tuple[int, ...]]
) -> None:
    kernel.entries[4] = entries
    NeighboursCollector(Roots()).collect()
    assert kernel.read == read


def test_a_table_that_overflows_meanwhile_is_read(kernel: Kernel) -> None:
    collector = NeighboursCollector(Roots())
    collector.collect()
    kernel.fulls += 1
    collector.collect()
    assert kernel.read == [(4, 6)]


def test_entries_are_read_again_only_when_they_changed(kernel: Kernel) -> None:
    collector = NeighboursCollector(Roots())
    for kernel.entries[4] in (600, 620, 651, 652, 700):
        collector.collect()
    assert len(kernel.read) == 2
    kernel.fulls += 1
    kernel.entries[4] = 701
    collector.collect()
    assert len(kernel.read) == 3


def test_entries_are_told_apart_by_whether_anybody_answered(kernel: Kernel) -> None:
    kernel.entries[4] = 900
    kernel.found = Counter(
        {
            Neighbour(2, "reachable", exempt=False): 5, Neighbour(2, "stale", exempt=False): 4,
            Neighbour(2, "failed", exempt=False): 30, Neighbour(2, "incomplete", exempt=False): 10,
            Neighbour(2, "permanent", exempt=True): 7, Neighbour(2, "noarp", exempt=False): 2,
            Neighbour(9, "stale", exempt=False): 1,
        }
    )  # fmt: skip
    kernel.asked = {2: [bytes([10, 0, n // 250, n % 250]) for n in range(200)]}
    sample = NeighboursCollector(Roots()).collect()
    first, second = sample.places
    assert (first.netns, first.device, first.family) == (POD, "eth0", 4)
    assert (first.answered, first.unanswered, first.unasked, first.exempt, first.counted) == (9, 40, 2, 7, 51)
    assert second.device == "if9"
    assert (len(first.asked), first.asked[0], first.asked[-1]) == (50, "10.0.0.0", "10.0.0.196")
    assert sample.places_of == (4,)


def test_of_a_few_addresses_without_an_answer_none_is_kept(kernel: Kernel) -> None:
    kernel.entries[4] = 900
    kernel.found = Counter({Neighbour(2, "failed", exempt=False): 31})
    kernel.asked = {2: [bytes([10, 0, 0, n]) for n in range(31)]}
    assert NeighboursCollector(Roots()).collect().places[0].asked == ()


def test_devices_beyond_the_bound_are_counted(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "PLACES_LIMIT", 1)
    kernel.entries[4] = 900
    kernel.found = Counter({Neighbour(2, "stale", exempt=False): 5, Neighbour(3, "stale", exempt=False): 4})
    sample = NeighboursCollector(Roots()).collect()
    assert ([place.counted for place in sample.places], sample.left_out) == ([5], 4)


def test_without_ipv6_there_is_one_table(kernel: Kernel) -> None:
    del kernel.entries[6]
    sample = NeighboursCollector(Roots()).collect()
    assert (sample.ipv4 is None, sample.ipv6) == (False, None)


def test_where_neither_is_shown_it_is_a_failure_that_is_nobodys_to_mend(kernel: Kernel) -> None:
    kernel.entries = {}
    with pytest.raises(UnreadableError, match="first network namespace only") as found:
        NeighboursCollector(Roots()).collect()
    assert found.value.code == "missing-file"
