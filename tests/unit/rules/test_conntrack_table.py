"""When the table of tracked connections is a finding, and how bad: fill, drops, growth, chains, other namespaces."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.conntrack import Conntrack
from whodunnet.model.finding import Cleared, Evidence, Finding, NotApplicable, NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.workload import Workload
from whodunnet.rules.rule import judge

from .flows import (
    CHILD,
    CLIENT,
    FULL_LINE,
    HOST,
    RULE,
    SERVICE,
    SIZE,
    PodAt,
    answer,
    busy,
    churn,
    crowd,
    dropping,
    idle,
    in_role,
    is_cleared,
    logged,
    node,
    of,
    only,
    table,
    told,
    twice,
)
from .nodes import moment, process

BUSY = crowd(100, each=90)


def evidence(found: Recording, words: str) -> Evidence | None:
    said = answer(found)
    assert isinstance(said, Finding | Cleared)
    return next((e for e in said.evidence if words in e.statement), None)


# --- How full ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (0, "Cleared"),
        (6_000, "Cleared"),
        (8_499, "Cleared"),
        (8_500, "warning"),
        (9_999, "warning"),
        (10_000, "critical"),
    ],
)
def test_fill_decides_where_nothing_is_dropped(entries: int, said: str) -> None:
    assert told(node(of(entries), of(entries))) == said


@pytest.mark.parametrize(("entries", "said"), [(9_499, "warning"), (9_500, "critical")])
def test_drops_are_for_lack_of_room_in_a_table_that_is_nearly_full(entries: int, said: str) -> None:
    assert told(node(of(entries), dropping(of(entries), 1))) == said


def test_drops_in_a_table_with_room_are_something_else() -> None:
    found = node(of(500), dropping(of(500), 9_000), log=logged())
    assert is_cleared(found)
    assert evidence(found, "drop (") is not None


def test_what_was_dropped_before_the_window_is_no_sign() -> None:
    assert is_cleared(node(dropping(of(500), 9_000), dropping(of(500), 9_000)))


def test_the_highest_fill_of_the_window_counts_and_is_shown_at_its_time() -> None:
    found = node(of(100), of(9_000), of(200))
    assert told(found) == "warning"
    (highest,) = [e for e in only(found).evidence if "highest in this window" in e.statement]
    assert (highest.value, highest.limit, highest.boot_seconds) == (9_000, SIZE, moment(5).boot_seconds)


def test_a_table_thrown_out_of_is_a_warning_although_no_reading_saw_it_full() -> None:
    assert told(node(of(500), dropping(of(500), 1, "early_drop"))) == "warning"


def test_counters_of_another_namespace_are_not_compared() -> None:
    other = replace(dropping(of(9_800), 500), netns=CHILD)
    assert told(node(of(9_800), other)) == "warning"


def test_counters_that_begin_anew_are_no_drops() -> None:
    assert told(node(dropping(of(9_800), 500), of(9_800))) == "warning"


def test_a_table_without_limit_is_never_full() -> None:
    assert is_cleared(node(of(90_000, size=0), dropping(of(90_000, size=0), 5)))


def test_one_reading_of_a_full_table_is_critical_and_possible() -> None:
    found = only(node(table(churn(CLIENT, SERVICE, 10_000))))
    assert (found.severity, found.confidence) == ("critical", "possible")


def test_without_connection_tracking_the_rule_does_not_apply() -> None:
    assert isinstance(answer(node(Conntrack(loaded=False))), NotApplicable)


def test_a_module_that_was_loaded_meanwhile_is_judged() -> None:
    assert told(node(Conntrack(loaded=False), of(9_000))) == "warning"


def test_a_table_of_unknown_size_is_not_checked() -> None:
    why = Failure(code="missing-capability", reason="not allowed", missing_capability="CAP_SYS_ADMIN")
    said = answer(node(Conntrack(loaded=True, dump_failure=why)))
    assert isinstance(said, NotChecked)
    assert (said.code, said.missing_capability) == ("missing-capability", "CAP_SYS_ADMIN")
    assert "not allowed" in said.reason
    bare = answer(node(Conntrack(loaded=True, count=5)))
    assert isinstance(bare, NotChecked)
    assert bare.code == "unreadable"


def test_entries_that_could_not_be_read_are_judged_by_their_number_and_accuse_nobody() -> None:
    why = Failure(code="missing-capability", reason="not without CAP_NET_ADMIN", missing_capability="CAP_NET_ADMIN")
    found = only(node(table(count=9_900, dump_failure=why), dropping(table(count=9_900, dump_failure=why), 3)))
    assert (found.severity, found.claim, found.shape, in_role(found, "culprit")) == ("critical", "holds", None, [])
    assert "not without CAP_NET_ADMIN" in " ".join(found.explanation)


def test_nobody_is_named_by_entries_of_when_there_were_fewer() -> None:
    why = Failure(code="unreadable", reason="it does not work")
    found = only(node(table(churn(CLIENT, SERVICE, 8_000)), table(count=9_900, dump_failure=why)))
    assert (found.shape, in_role(found, "culprit")) == (None, [])


def test_the_nodes_own_number_is_judged_once() -> None:
    own = of(9_000, counts={HOST: 9_000})
    assert told(node(own, own)) == "warning"


def test_a_clearing_says_what_the_window_could_have_seen() -> None:
    said = answer(node(of(3_000), of(6_100)))
    assert isinstance(said, Cleared)
    assert "2 snapshots (61 % at most; too few to tell growth that goes on from a burst); drops" in said.sensitivity
    blind = answer(node(of(10, statistics={}), of(10, statistics={})))
    assert isinstance(blind, Cleared)
    assert "drops could not be counted" in blind.sensitivity


def test_the_kernels_column_names_are_kept() -> None:
    full = of(9_900)
    found = only(node(full, dropping(dropping(full, 3), 8, "insert_failed")))
    said = " ".join(e.statement for e in found.evidence)
    assert "drop (" in said
    assert "insert_failed (" in said


# --- Growth ------------------------------------------------------------------------------------------------------


def growing(*entries: int, seconds: float = 60.0) -> Recording:
    """One pod opens connections and keeps them."""
    pod = PodAt(1)
    return node(*(table(*BUSY[:20], idle(pod.address, SERVICE, n)) for n in entries), seconds=seconds, pods=[pod])


def test_growth_that_fills_the_table_in_time_is_a_warning_with_whoever_grows() -> None:
    found = only(growing(1_000, 2_500, 4_000))
    assert (found.severity, found.reason, found.shape) == ("warning", "ConntrackTableFilling", "idle-established")
    assert in_role(found, "culprit") == ["web-1"]
    assert "full in 84 s" in found.title


def test_a_burst_that_ends_is_no_finding() -> None:
    assert is_cleared(growing(1_000, 4_000, 4_000))
    assert is_cleared(growing(1_000, 3_900, 4_000))
    assert is_cleared(growing(1_000, 4_500, 4_000))
    assert is_cleared(growing(500, 5_000, 6_200))


def test_growth_that_takes_longer_than_the_threshold_is_no_finding() -> None:
    assert is_cleared(growing(3_900, 3_950, 4_000, seconds=60))


def test_growth_of_a_table_that_is_less_than_half_full_is_no_finding() -> None:
    assert is_cleared(growing(1_000, 2_000, 3_000))


def test_two_readings_are_too_few_for_growth_of_entries_that_stay() -> None:
    said = answer(growing(1_000, 5_000))
    assert isinstance(said, Cleared)
    assert "too few to tell growth that goes on from a burst" in said.sensitivity


@pytest.mark.parametrize(("lately", "said"), [(100, "warning"), (50, "warning"), (49, "Cleared"), (0, "Cleared")])
def test_of_two_readings_the_youngest_entries_tell_whether_short_connections_go_on(lately: int, said: str) -> None:
    """2,000 more in 20 s: 100 a second, unless most of them came in its first half."""
    before, after = churn(CLIENT, SERVICE, 1_000), churn(CLIENT, SERVICE, 3_000, ages=_young(3_000, lately))
    now = [table(*BUSY[:10], closed, size=6_000) for closed in (before, after)]
    assert told(node(*now, seconds=20)) == said


def test_short_connections_that_level_off_below_the_warning_are_no_finding() -> None:
    """30 a second end at 3,600 entries, however straight the line is until then."""
    tables = [table(*BUSY[:40], churn(CLIENT, SERVICE, n, ages=_young(n, 30))) for n in (600, 1_500, 2_400)]
    assert is_cleared(node(*tables, seconds=60))
    faster = [table(*BUSY[:40], churn(CLIENT, SERVICE, n, ages=_young(n, 60))) for n in (600, 1_500, 2_400)]
    assert told(node(*faster, seconds=60)) == "warning"


def _young(n: int, a_second: int) -> tuple[int, ...]:
    """Ages of n closed connections, so many of them in each of the last ten seconds."""
    return (a_second, a_second, 3 * a_second, 5 * a_second, n - 10 * a_second) + (0,) * 7


def test_whoever_only_was_there_is_not_accused_of_growth() -> None:
    """A large idle pool that stays as it is, beside a smaller one that grows."""
    old, new = PodAt(1, "old"), PodAt(2, "new")
    tables = [table(idle(old.address, SERVICE, 5_000), idle(new.address, SERVICE, n)) for n in (100, 800, 1_500)]
    found = only(node(*tables, seconds=60, pods=[old, new]))
    assert in_role(found, "culprit") == ["new-2"]


# --- Chains and other namespaces ---------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["chainlength", "chaintoolong"])
def test_chains_that_are_too_long_are_a_finding_of_their_own(column: str) -> None:
    thin = of(500, buckets=16, statistics={column: 0})
    assert is_cleared(node(thin, dropping(thin, 9, column)))
    found = only(node(thin, dropping(thin, 10, column)))
    assert (found.shape, found.severity, in_role(found, "culprit")) == ("chains", "warning", [])
    assert [r.command for r in found.remedies if r.action == "tune"] == [
        "echo 4096 > /sys/module/nf_conntrack/parameters/hashsize"
    ]


@pytest.mark.parametrize(("entries", "said"), [(8_499, "Cleared"), (8_500, "warning"), (10_000, "critical")])
def test_another_namespace_is_compared_with_the_same_limit_by_itself(entries: int, said: str) -> None:
    pod = PodAt(1)
    found = of(100, counts={HOST: 100, pod.netns: entries})
    assert told(node(found, found, pods=[pod])) == said


def test_the_tenant_of_a_full_namespace_has_it_and_is_not_accused() -> None:
    pod = PodAt(1)
    tenant = of(100, counts={HOST: 100, pod.netns: 9_000})
    found = only(node(tenant, tenant, pods=[pod]))
    assert (found.claim, found.confidence, found.shape) == ("holds", "proven", "other-namespace")
    assert (in_role(found, "holder"), in_role(found, "culprit")) == (["web-1"], [])
    assert found.title.startswith("shop/web-1 has 9,000 tracked connections in a network namespace of its own")


@pytest.mark.parametrize(("states", "pid"), [
    ({40: None, 9: None}, 9), ({40: "sleeping", 9: "zombie"}, 40), ({9: "gone"}, None), ({}, None),
])  # fmt: skip
def test_another_namespace_is_asked_by_way_of_a_process_in_it(states: dict[int, str | None], pid: int | None) -> None:
    tenant = of(100, counts={HOST: 100, CHILD: 9_000})
    by_pid = {n: Workload(process=replace(process(n), state=state), netns=CHILD) for n, state in states.items()}
    elsewhere = {3: Workload(process=process(3), netns=HOST)}
    found = only(node(tenant, tenant, by_pid={**by_pid, **elsewhere}))
    commands = [r.command for r in found.remedies if "nsenter" in (r.command or "")]
    assert commands == ([f"nsenter -t {pid} -n whodunnet diagnose"] if pid is not None else [])


def test_the_sole_program_of_another_namespace_is_one_by_which_to_ask() -> None:
    tenant = of(100, counts={HOST: 100, CHILD: 9_000})
    found = only(node(tenant, tenant, sole={CHILD: Workload(process=process(12), netns=CHILD)}))
    assert found.remedies[1].command == "nsenter -t 12 -n whodunnet diagnose"


def test_a_line_that_names_a_namespace_makes_its_table_critical() -> None:
    tenant = of(100, counts={HOST: 100, CHILD: 9_000})
    text = FULL_LINE.replace("full", f"full in netns {CHILD}")
    found = only(node(tenant, tenant, log=logged(5.0, text=text)))
    assert (found.severity, found.title.split(" has ")[0]) == ("critical", f"Network namespace {CHILD}")


def test_the_sum_over_namespaces_is_compared_with_nothing() -> None:
    many = of(5_000, counts={HOST: 5_000, **{CHILD + n: 5_000 for n in range(20)}})
    assert is_cleared(node(many, many))


def test_at_most_eight_namespaces_are_listed() -> None:
    many = of(100, counts={CHILD + n: 9_000 + n for n in range(20)})
    titles = [a.title for a in judge(RULE, node(many, many)) if isinstance(a, Finding)]
    assert len(titles) == 8
    assert "9,019" in titles[0]


def test_why_names_fail_first_is_said_where_packets_are_dropped() -> None:
    full = " ".join(only(twice(busy(CLIENT, SERVICE, 9_900), dropped=5)).explanation)
    assert "looks like DNS or the cloud" in full
    assert "looks like DNS or the cloud" not in " ".join(only(twice(busy(CLIENT, SERVICE, 9_000))).explanation)


def test_what_follows_is_only_expected_where_packets_are_dropped() -> None:
    expected = ("service-hang", "dns-race", "connect-timeout", "connect-slow", "dns")
    assert only(twice(busy(CLIENT, SERVICE, 9_900), dropped=5)).would_explain == expected
    assert only(twice(busy(CLIENT, SERVICE, 9_900))).would_explain == ()
