"""The conntrack collector on a made-up /proc, and how it chooses to read entries."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.collectors import conntrack
from whodunnet.collectors.conntrack import (
    BUCKET_SECONDS,
    DATAGRAM_ENTRIES,
    ENTRY_SECONDS,
    INNER_GROUPS,
    STAY_SECONDS,
    ConntrackCollector,
    way_to_read,
)
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.netlink.conntrack import FlowDump
from whodunnet.kernel.netlink.conntrack_groups import Entry, FlowTable
from whodunnet.kernel.procfs.conntrack import TableSize
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support, read_support
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.inner_flows import InnerFlows
from whodunnet.model.sample import Failure
from whodunnet.model.sockets import Endpoint

TEXT = (Path(__file__).parents[2] / "fixtures/netlink/conntrack/nat.txt").read_text()
OWN, OTHER, INNER = 4026531840, 4026532999, 4026532777
HEADER = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop\n"
ENTRY = Entry(b"\1\2\3\4", b"\5\6\7\x08", bytes(4), bytes(4), 80, 0, 6, 3, 3, 0, 431000)


@pytest.fixture(scope="module")
def support() -> Support:
    return read_support(Roots())


def statistics(entries: int, drop: int = 0) -> str:
    row = " ".join(f"{number:08x}" for number in (entries, *range(1, 10), drop, 11))
    return HEADER + row + "\n" + row + "\n"


def process(proc: Path, name: str, netns: int, entries: int | None) -> None:
    """A process with its namespace, and what it sees of the table."""
    (proc / name / "ns").mkdir(parents=True)
    (proc / name / "ns/net").symlink_to(f"net:[{netns}]")
    if entries is not None:
        (proc / name / "net/stat").mkdir(parents=True)
        (proc / name / "net/stat/nf_conntrack").write_text(statistics(entries, drop=7))
        (proc / name / "net/nf_conntrack").write_text(TEXT)


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """Two namespaces; 15 entries in ours, which is also that of the first process."""
    process(tmp_path, "1", OWN, 15)
    process(tmp_path, "22", OTHER, 400)
    for name in ("self", "thread-self"):
        (tmp_path / name).symlink_to("1")
    (tmp_path / "1/mountinfo").write_text("")
    files = {"count": 15, "max": 1000, "buckets": 256, "tcp_timeout_established": 432000, "udp_timeout": 30}
    directory = tmp_path / "sys/net/netfilter"
    directory.mkdir(parents=True)
    for name, value in files.items():
        (directory / f"nf_conntrack_{name}").write_text(f"{value}\n")
    return Roots(proc=tmp_path)


def write(roots: Roots, name: str, value: object) -> None:
    (roots.proc / f"sys/net/netfilter/nf_conntrack_{name}").write_text(f"{value}\n")


def collect(roots: Roots, support: Support) -> Conntrack:
    return ConntrackCollector(roots, support).collect()


def dumping(monkeypatch: pytest.MonkeyPatch, entries: int = 3) -> list[dict[str, int]]:
    """A kernel that dumps so many equal entries; the timeouts it was asked with, each time."""
    asked: list[dict[str, int]] = []

    def dump(timeouts: dict[str, int]) -> FlowDump:
        asked.append(timeouts)
        table = FlowTable(timeouts)
        for _ in range(entries):
            table.add(ENTRY)
        return FlowDump(table, 1, 0.25, 0.0003)

    monkeypatch.setattr(conntrack.ctnetlink, "dump_flows", dump)
    return asked


def test_a_kernel_without_tracking_is_a_fact_and_costs_nothing(tmp_path: Path, support: Support) -> None:
    begin = time.perf_counter()
    assert collect(Roots(proc=tmp_path), support) == Conntrack(loaded=False)
    assert time.perf_counter() - begin < 0.005


def test_everything_comes_together(roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = dumping(monkeypatch)
    sample = collect(roots, support)
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


def test_an_empty_table_is_not_dumped(roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = dumping(monkeypatch)
    write(roots, "count", 0)
    sample = collect(roots, support)
    assert (sample.count, sample.groups, sample.method, sample.dump_failure, asked) == (0, (), None, None, [])


def test_few_entries_in_a_large_table_are_read_as_text(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = dumping(monkeypatch)
    write(roots, "buckets", 262144)
    sample = collect(roots, support)
    assert (sample.method, sample.entries_read, sample.malformed, asked) == ("procfs", 15, 0, [])
    assert sample.dump_seconds > 0


def test_a_dump_that_fails_leaves_the_rest_and_says_why(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> FlowDump:
        raise UnreadableError("the conntrack table cannot be dumped", "missing-capability", "CAP_NET_ADMIN")

    monkeypatch.setattr(conntrack.ctnetlink, "dump_flows", refuse)
    sample = collect(roots, support)
    assert (sample.count, sample.max_entries, sample.groups, sample.method) == (15, 1000, (), None)
    assert sample.dump_failure is not None
    assert (sample.dump_failure.code, sample.dump_failure.missing_capability) == ("missing-capability", "CAP_NET_ADMIN")


def test_without_statistics_in_procfs_ctnetlink_gives_them(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping(monkeypatch)
    (roots.proc / "1/net/stat/nf_conntrack").unlink()
    monkeypatch.setattr(conntrack.ctnetlink, "read_statistics", lambda: {"drop": 3})
    assert collect(roots, support).statistics == {"drop": 3}


def test_a_count_that_is_no_number_is_malformed(roots: Roots, support: Support) -> None:
    write(roots, "count", "many")
    with pytest.raises(MalformedError):
        collect(roots, support)


def test_a_process_that_moved_on_counts_for_no_namespace(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping(monkeypatch)
    monkeypatch.setattr(conntrack.namespaces, "of_process", lambda _roots, pid: OWN if pid == 1 else 5)
    sample = collect(roots, support)
    assert (sample.counts, sample.netns_unread) == ({OWN: 15}, 1)


def test_in_a_container_the_namespace_of_the_first_process_is_read_from_outside_without_rights(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping(monkeypatch)
    (roots.proc / "thread-self").unlink()
    process(roots.proc, "thread-self", OTHER, 400)
    inside_container = msgspec.structs.replace(roots, top=roots.proc.parent)
    sample = collect(inside_container, support)
    assert (sample.netns, sample.count, sample.max_entries, sample.statistics["drop"]) == (OWN, 15, 1000, 14)
    assert sample.groups == ()
    assert sample.dump_failure is not None, "the namespace is a dead link here, so that nobody can enter it"
    assert collect(roots, support).netns == OTHER, "on the machine itself it is our own"


def test_in_a_container_the_namespace_of_the_first_process_is_entered(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch
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
    sample = collect(msgspec.structs.replace(roots, top=roots.proc.parent), support)
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


def inner_table(monkeypatch: pytest.MonkeyPatch, *tables: Conntrack) -> list[int]:
    """Namespaces that are entered, in turn; what is read there."""
    entered: list[int] = []
    answers = iter(tables)

    def inside(_self: object, _path: Path, inum: int, _call: Callable[[], Conntrack]) -> Conntrack:
        entered.append(inum)
        return next(answers)

    monkeypatch.setattr(conntrack.Visitor, "inside", inside)
    return entered


def translated(n: int, source_as: str | None = "10.1.0.2") -> FlowGroup:
    return FlowGroup(
        family=4,
        protocol="tcp",
        source=f"172.17.{n // 250}.{n % 250}",
        source_as=source_as,
        destination=None,
        entries=n,
    )


def test_tables_of_others_are_read_where_they_may_have_filled_ours(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping(monkeypatch)
    write(roots, "max", 60)
    process(roots.proc, "23", INNER, 1)
    groups = (translated(9_000, None), *(translated(n) for n in range(1, INNER_GROUPS + 1)))
    entered = inner_table(monkeypatch, Conntrack(loaded=True, groups=groups))
    sample = collect(roots, support)
    assert entered == [OTHER], "the other one has too few to matter"
    assert sample.inner == {OTHER: groups[1:]}


def to(n: int, source: str, **changed: Any) -> FlowGroup:
    """One entry to one of many destinations."""
    destination = Endpoint(f"10.9.{n // 250}.{n % 250}", 80)
    return FlowGroup(
        **{"family": 4, "protocol": "tcp", "source": source, "destination": destination, "entries": 1} | changed
    )


@pytest.mark.parametrize("entries", [1, 20])
def test_what_had_no_room_is_weighed_as_the_namespaces_own(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    dumping(monkeypatch)
    write(roots, "max", 60)
    behind = [to(n, "10.0.5.2", source_as="10.1.0.2", entries=entries) for n in range(500)]
    own = [to(n, "10.1.0.2") for n in range(500, 3_500)]
    inner_table(monkeypatch, Conntrack(loaded=True, groups=(*behind, *own)))
    sample = collect(roots, support)
    groups = tuple(msgspec.structs.replace(group, source="10.1.0.2", source_as=None) for group in (*behind, *own))
    flows = InnerFlows(msgspec.structs.replace(sample, groups=groups), None)
    assert sum(flows.senders(OTHER, group).get("10.0.5.2", 0) for group in groups) == 500 * entries
    assert len(sample.inner[OTHER]) == INNER_GROUPS + 1


def test_what_a_namespace_only_lets_through_or_answers_takes_no_room(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping(monkeypatch)
    write(roots, "max", 60)
    kept = (to(1, "10.0.5.2", source_as="10.1.0.2"), to(2, "10.1.0.2"))
    inner_table(monkeypatch, Conntrack(loaded=True, groups=(*kept, *(translated(n, None) for n in range(1, 3_000)))))
    assert collect(roots, support).inner == {OTHER: kept}


@pytest.mark.parametrize(
    "cut",
    [{"groups": tuple(translated(n) for n in range(1, INNER_GROUPS + 2))}, {"other_entries": 1}, {"malformed": 1}],
)
def test_of_a_table_that_is_not_told_whole_nothing_is_said(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch, cut: dict[str, Any]
) -> None:
    dumping(monkeypatch)
    write(roots, "max", 60)
    inner_table(monkeypatch, Conntrack(loaded=True, **{"groups": (translated(9),), **cut}))
    assert collect(roots, support).inner == {}


def test_tables_of_others_are_not_read_where_that_would_take_long(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping(monkeypatch)
    write(roots, "max", 60)
    monkeypatch.setattr(conntrack, "INNER_ENTRIES", 1)
    assert inner_table(monkeypatch, Conntrack(loaded=True)) == []
    assert collect(roots, support).inner == {}


def test_of_the_tables_of_others_the_four_largest_that_fit_together_are_read(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping(monkeypatch)
    write(roots, "max", 60)
    for n in range(6):
        process(roots.proc, str(30 + n), INNER + n, 300 - n)
    monkeypatch.setattr(conntrack, "INNER_ENTRIES", 1_195)
    monkeypatch.setattr(conntrack, "_count", lambda *args: {OTHER: 2_000}.get(args[2], 300 - (args[2] - INNER)))
    entered = inner_table(monkeypatch, *[Conntrack(loaded=True)] * 6)
    collect(roots, support)
    assert entered == [INNER + n for n in range(4)], "one is too large, and with one more it would be five"


@pytest.mark.parametrize(("limit", "times"), [(61, 0), (0, 0), (60, 1)])
def test_tables_of_others_are_left_alone_while_ours_has_room(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch, limit: int, times: int
) -> None:
    dumping(monkeypatch)
    write(roots, "max", limit)
    entered = inner_table(monkeypatch, Conntrack(loaded=True))
    collect(roots, support)
    assert len(entered) == times


def test_of_a_table_that_translates_nothing_only_that_is_kept(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping(monkeypatch)
    write(roots, "max", 60)
    inner_table(monkeypatch, Conntrack(loaded=True, groups=(translated(9, None),)))
    assert collect(roots, support).inner == {OTHER: ()}


def test_a_table_of_others_that_cannot_be_read_is_not_said_to_translate_nothing(
    roots: Roots, support: Support, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumping(monkeypatch)
    write(roots, "max", 60)
    inner_table(monkeypatch, Conntrack(loaded=True, dump_failure=Failure(code="unreadable", reason="no")))
    assert collect(roots, support).inner == {}
    (roots.proc / "22/ns/net").unlink()
    monkeypatch.undo()
    dumping(monkeypatch)
    assert collect(roots, support).inner == {}


def _groups() -> list[object]:
    table = FlowTable({"tcp_timeout_established": 432000})
    table.add(ENTRY)
    return list(table.groups())
