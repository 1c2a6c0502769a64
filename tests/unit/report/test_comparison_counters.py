"""What of the node differs at two moments: counters, the table of connections, limits; and what is not compared."""

from __future__ import annotations

import msgspec

from whodunnet.model.conntrack import Conntrack
from whodunnet.model.workload import Workload, Workloads
from whodunnet.report.comparison import compare

from .pairs import (
    DAY,
    REBOOTED,
    a_day,
    a_failure,
    container,
    pod,
    process,
    replaced,
    taken,
    two_nodes,
)
from .populations import PAGE, kernel_totals, population


def test_counters_are_compared_namespace_by_namespace_and_not_where_they_began_anew() -> None:
    counters = compare(*a_day()).counters
    assert counters is not None
    assert [(c.counter, c.netns, c.difference) for c in counters.rows] == [
        ("TCPAbortOnMemory", 11, 2400),
        ("RcvPruned", 11, 600),
        ("RcvPruned", 12, 12),
    ]
    assert (counters.compared, counters.apart) == (2, 1)
    assert counters.rows[0].per_second == 2400 / DAY
    assert counters.rows[2].place == "pod shop/web-0, container web (77aa66190a2b)"


def test_counters_of_a_namespace_number_that_was_given_to_another_pod_are_not_compared() -> None:
    memory = kernel_totals(population())
    one, other = (Workload(container=container(c, name=c), pod=pod(c, c)) for c in "ab")
    before = taken(workloads=Workloads(by_netns={12: one}), tcp_memory=replaced(memory, counters={12: {"Pruned": 1}}))
    for inhabitant, compared in ((one, 1), (other, 0)):
        workloads = Workloads(by_netns={12: inhabitant})
        after = taken(DAY, workloads=workloads, tcp_memory=replaced(memory, counters={12: {"Pruned": 5}}))
        counters = compare(before, after).counters
        assert counters is not None
        assert (counters.compared, counters.apart, len(counters.rows)) == (compared, 1 - compared, compared)


def test_snapshots_of_the_same_moment_have_no_rate() -> None:
    """As two recorders of one node may take them, or a damaged clock tells."""
    before, (node, after) = a_day()
    counters = compare(before, (node, msgspec.structs.replace(after, at=before[1].at))).counters
    assert counters is not None
    assert {row.per_second for row in counters.rows} == {0.0}


def test_counters_go_on_within_one_boot_only() -> None:
    before, (_, after) = a_day()
    comparison = compare(before, (REBOOTED, after))
    assert comparison.counters is None
    assert (comparison.same_node, comparison.same_boot) == (True, False)
    assert [part.subject for part in comparison.not_compared] == ["counters"]
    assert any("was booted between" in note for note in comparison.notes)


def test_the_table_of_tracked_connections_is_compared_where_both_snapshots_have_it() -> None:
    before, (node, after) = a_day()
    small = Conntrack(loaded=True, count=9, max_entries=262_144, buckets=65_536, timeouts={"udp_timeout": 30, "a": 1})
    large = Conntrack(loaded=True, count=70_000, max_entries=524_288, buckets=65_536, timeouts={"udp_timeout": 60})
    tables = []
    for table in (small, large, Conntrack(loaded=True)):
        samples = {**after.samples, "conntrack": table}
        tables.append((node, msgspec.structs.replace(after, samples=samples)))
    comparison = compare(tables[0], tables[1])
    assert comparison.totals is not None
    total = comparison.totals[-1]
    assert (total.name, total.before, total.after, total.difference) == ("tracked_connections", 9, 70_000, 69_991)
    assert (total.limit_before, total.limit_after) == (262_144, 524_288)
    assert [(s.name, s.before, s.after, s.unit) for s in comparison.settings] == [
        ("nf_conntrack_max", 262_144, 524_288, "entries"), ("nf_conntrack_udp_timeout", 30, 60, "seconds"),
    ]  # fmt: skip
    for other in (before, tables[2]):
        totals = compare(other, tables[1]).totals
        assert totals is not None
        assert "tracked_connections" not in {t.name for t in totals}


def test_a_namespace_of_one_program_is_named_by_it() -> None:
    memory = kernel_totals(population())
    workloads = Workloads(sole_by_netns={12: process(7, "proxy", netns=12)})
    pair = [
        taken(at, workloads=workloads, tcp_memory=replaced(memory, counters={12: {"Pruned": n}}))
        for at, n in ((0.0, 1), (DAY, 5))
    ]
    counters = compare(*pair).counters
    assert counters is not None
    assert "proxy" in (counters.rows[0].place or "")


def test_limits_and_properties_that_differ_are_listed_and_no_others() -> None:
    assert {s.name: (s.before, s.after) for s in compare(*a_day()).settings} == {"tcp_mem.max": (9_177_012, 12_000_000)}
    assert {s.name for s in compare(*two_nodes()).settings} == {
        "hostname", "kernel", "virtual machine", "page size", "tcp_mem.max",
    }  # fmt: skip


def test_a_limit_that_was_not_known_is_null_not_zero() -> None:
    memory = kernel_totals(population())
    before, after = taken(tcp_memory=memory), taken(DAY, tcp_memory=replaced(memory, max_orphans=100))
    (setting,) = compare(before, after).settings
    assert (setting.name, setting.before, setting.after) == ("tcp_max_orphans", None, 100)


def test_pages_of_two_sizes_do_not_compare_and_their_bytes_do() -> None:
    totals = {t.name: t for t in compare(*two_nodes()).totals or ()}
    assert totals["used_pages"].difference is None
    assert totals["used_bytes"].difference == totals["used_bytes"].after - totals["used_bytes"].before
    assert totals["used_bytes"].after == totals["used_pages"].after * 16 * PAGE


def test_two_nodes_and_two_methods_are_said_to_compare_badly() -> None:
    comparison = compare(*two_nodes())
    assert (comparison.same_node, comparison.same_boot, comparison.seconds) == (False, False, None)
    assert [" do not compare" in note for note in comparison.notes] == [True, True]


def test_what_failed_at_one_moment_is_not_compared_and_says_why() -> None:
    comparison = compare(*a_failure())
    assert comparison.owners is None
    assert {p.subject: p.reason for p in comparison.not_compared} == {
        "owners": "after: the kernel refuses BPF programs (\x1bno)"
    }
    assert comparison.totals
    assert comparison.counters
    assert list(comparison.after.failures) == ["sockets"]


def test_what_nobody_collected_is_not_compared_either() -> None:
    comparison = compare(taken(), taken(DAY))
    assert (comparison.owners, comparison.totals, comparison.counters, comparison.settings) == (None, None, None, ())
    reasons = {part.subject: part.reason for part in comparison.not_compared}
    assert "before: the sockets collector was not run; after: the sockets" in reasons["owners"]
    assert "the tcp_memory collector was not run" in reasons["totals"]
    assert comparison.before.method is None
