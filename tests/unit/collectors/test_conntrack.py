"""The conntrack collector on a made-up /proc, and how it chooses to read entries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.collectors import conntrack
from whodunnet.collectors.conntrack import BUCKET_SECONDS, DATAGRAM_ENTRIES, ENTRY_SECONDS, STAY_SECONDS, way_to_read
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.netlink.conntrack import FlowDump
from whodunnet.kernel.netlink.conntrack_groups import FlowTable
from whodunnet.kernel.procfs.conntrack import TableSize
from whodunnet.kernel.roots import Roots
from whodunnet.model.conntrack import Conntrack

from .conntrack_node import ENTRY, OTHER, OWN, collect, dumping, process, two_namespaces, write


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return two_namespaces(tmp_path)


def test_a_kernel_without_tracking_is_a_fact_and_is_asked_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = dumping(monkeypatch)
    assert collect(Roots(proc=tmp_path)) == Conntrack(loaded=False)
    assert asked == []


def test_everything_comes_together(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = dumping(monkeypatch)
    sample = collect(roots)
    assert (sample.loaded, sample.netns, sample.count, sample.max_entries, sample.buckets) == (True, OWN, 15, 1000, 256)
    assert (sample.statistics["drop"], sample.statistics["clashres"]) == (14, 2)
    assert "entries" not in sample.statistics
    assert sample.timeouts == {"tcp_timeout_established": 432000, "udp_timeout": 30}
    assert (sample.counts, sample.netns_unread) == ({OWN: 15, OTHER: 400}, 0)
    assert (sample.method, sample.overruns, sample.dump_seconds, sample.longest_receive_seconds) == (
        "ctnetlink", 1, 0.25, 0.0003,
    )  # fmt: skip
    assert [(g.entries, g.idle_seconds) for g in sample.groups] == [(3, 3 * 999)]
    assert sample.entries_read == 3
    assert asked == [sample.timeouts]


def test_an_empty_table_is_not_dumped(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = dumping(monkeypatch)
    write(roots, "count", 0)
    sample = collect(roots)
    assert (sample.count, sample.groups, sample.method, sample.dump_failure, asked) == (0, (), None, None, [])


def test_few_entries_in_a_large_table_are_read_as_text(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = dumping(monkeypatch)
    write(roots, "buckets", 262144)
    sample = collect(roots)
    assert (sample.method, sample.entries_read, sample.malformed, asked) == ("procfs", 15, 0, [])
    assert sample.dump_seconds > 0


def test_a_dump_that_fails_leaves_the_rest_and_says_why(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> FlowDump:
        raise UnreadableError("the conntrack table cannot be dumped", "missing-capability", "CAP_NET_ADMIN")

    monkeypatch.setattr(conntrack.ctnetlink, "dump_flows", refuse)
    sample = collect(roots)
    assert (sample.count, sample.max_entries, sample.groups, sample.method) == (15, 1000, (), None)
    assert sample.dump_failure is not None
    assert (sample.dump_failure.code, sample.dump_failure.missing_capability) == ("missing-capability", "CAP_NET_ADMIN")


def test_without_statistics_in_procfs_ctnetlink_gives_them(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    dumping(monkeypatch)
    (roots.proc / "1/net/stat/nf_conntrack").unlink()
    monkeypatch.setattr(conntrack.ctnetlink, "read_statistics", lambda: {"drop": 3})
    assert collect(roots).statistics == {"drop": 3}


def test_a_count_that_is_no_number_is_malformed(roots: Roots) -> None:
    write(roots, "count", "many")
    with pytest.raises(MalformedError):
        collect(roots)


def test_a_process_that_moved_on_counts_for_no_namespace(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    dumping(monkeypatch)
    monkeypatch.setattr(conntrack.namespaces, "of_process", lambda _roots, pid: OWN if pid == 1 else 5)
    sample = collect(roots)
    assert (sample.counts, sample.netns_unread) == ({OWN: 15}, 1)


def test_in_a_container_the_namespace_of_the_first_process_is_read_from_outside_without_rights(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping(monkeypatch)
    (roots.proc / "thread-self").unlink()
    process(roots.proc, "thread-self", OTHER, 400)
    inside_container = msgspec.structs.replace(roots, top=roots.proc.parent)
    sample = collect(inside_container)
    assert (sample.netns, sample.count, sample.max_entries, sample.statistics["drop"]) == (OWN, 15, 1000, 14)
    assert sample.groups == ()
    assert sample.dump_failure is not None, "the namespace is a dead link here, so that nobody can enter it"
    assert collect(roots).netns == OTHER, "on the machine itself it is our own"


def test_in_a_container_the_namespace_of_the_first_process_is_entered(
    roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping(monkeypatch)
    (roots.proc / "thread-self").unlink()
    process(roots.proc, "thread-self", OTHER, 400)
    entered: list[Path] = []

    def inside(path: Path, inum: int | None, call: Callable[[], Conntrack]) -> Conntrack:
        assert inum is None
        entered.append(path)
        return call()

    monkeypatch.setattr(conntrack.namespaces, "inside", inside)
    sample = collect(msgspec.structs.replace(roots, top=roots.proc.parent))
    assert entered == [roots.proc / "1/ns/net"]
    assert sample.method == "ctnetlink"


@pytest.mark.parametrize(
    ("count", "buckets", "everything", "way"),
    [
        (1_000_000, 262_144, 1_000_000, "ctnetlink"),
        (1_000, 262_144, 1_000, "ctnetlink"),
        (990, 262_144, 990, "procfs"),
        (1, 262_144, 1, "procfs"),
        (15, 256, 15, "ctnetlink"),
        (15, 65_536, 15, "procfs"),
        (300, 65_536, 300, "ctnetlink"),
        (5_000, 262_144, 500_000, "procfs"),
        (20_000, 262_144, 500_000, "ctnetlink"),
    ],
)
def test_the_way_is_by_how_far_the_kernel_walks_for_a_datagram(
    count: int, buckets: int, everything: int, way: str
) -> None:
    assert way_to_read(TableSize(count=count, max_entries=None, buckets=buckets), everything) == way


def test_a_needle_in_a_haystack_is_not_looked_for() -> None:
    with pytest.raises(UnreadableError, match="10 tracked connections among 1999990 of other network namespaces"):
        way_to_read(TableSize(count=10, max_entries=None, buckets=262_144), 2_000_000)


@given(st.integers(1, 2_000_000), st.integers(1, 2**22), st.integers(0, 2_000_000))
def test_ctnetlink_is_never_asked_where_it_would_walk_too_far(count: int, buckets: int, others: int) -> None:
    try:
        way = way_to_read(TableSize(count=count, max_entries=None, buckets=buckets), count + others)
    except UnreadableError:
        return
    for_one = (buckets * BUCKET_SECONDS + others * ENTRY_SECONDS) / count
    assert way == "procfs" or for_one * DATAGRAM_ENTRIES <= STAY_SECONDS


def test_the_sample_survives_a_recording() -> None:
    sample = Conntrack(loaded=True, counts={OWN: 1}, groups=tuple(_groups()))
    assert msgspec.json.decode(msgspec.json.encode(sample), type=Conntrack) == sample


def _groups() -> list[object]:
    table = FlowTable({"tcp_timeout_established": 432000})
    table.add(ENTRY)
    return list(table.groups())
