from __future__ import annotations

import pytest

from whodunnet.model.finding import Cleared, Evidence, Finding, NotChecked
from whodunnet.model.kernel_log import KernelLog, LogLine
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Workloads

from .nodes import (
    FROM_BOOT,
    MEMORY,
    PAGE,
    answers,
    at_each,
    findings,
    group,
    in_container,
    memory_of,
    named,
    owners,
    parties,
    pids,
    recording,
    tcp_memories,
)

RULE = "tcp-memory"
A, B = 4_026_531_840, 4_026_532_200


def told(*memories: TcpMemory) -> list[str]:
    """Severities, or the kind of another answer."""
    return [a.severity if isinstance(a, Finding) else type(a).__name__ for a in answers(tcp_memories(*memories), RULE)]


def only(node: Recording) -> Finding:
    (found,) = findings(node, RULE)
    return found


def reading(found: Finding | Cleared, words: str) -> Evidence | None:
    return next((e for e in found.evidence if words in e.statement), None)


@pytest.mark.parametrize(
    ("used", "answer"), [(0, "Cleared"), (9_999, "Cleared"), (10_000, "warning"), (14_999, "warning"),
                         (15_000, "critical"), (15_200, "critical")],
)  # fmt: skip
def test_memory_is_judged_by_the_kernels_own_limits(used: int, answer: str) -> None:
    assert told(memory_of(used), memory_of(used)) == [answer]


def test_the_pressure_flag_alone_is_a_warning() -> None:
    """It stays set until use falls to the low mark."""
    assert told(memory_of(8_000, under_pressure=True)) == ["warning"]


def test_a_flag_that_the_kernel_does_not_show_is_no_sign() -> None:
    assert told(memory_of(8_000, under_pressure=None)) == ["Cleared"]


def test_the_highest_fill_of_the_window_counts() -> None:
    assert told(memory_of(100), memory_of(15_000), memory_of(100)) == ["critical"]
    (cleared,) = answers(tcp_memories(memory_of(100), memory_of(9_000), memory_of(200)), RULE)
    assert isinstance(cleared, Cleared)
    assert (cleared.evidence[0].value, cleared.evidence[0].limit) == (9_000, 10_000)


def test_the_pages_and_the_percentage_of_a_summary_are_of_the_same_moment() -> None:
    found = only(tcp_memories(memory_of(18_000), memory_of(3_000)))
    assert found.summary == "TCP memory used up: 18000 of 15000 pages (120 %)"


def test_an_entry_into_pressure_within_the_window_is_a_warning_although_it_is_over() -> None:
    before, after = ({A: {"TCPMemoryPressures": n}} for n in (3, 4))
    assert told(memory_of(100, counters=before), memory_of(100, counters=after)) == ["warning"]
    assert told(memory_of(100, counters=after), memory_of(100, counters=after)) == ["Cleared"]


def test_what_one_full_socket_refuses_is_no_shortage_of_the_node() -> None:
    before, after = ({A: {"RcvPruned": n, "TCPRcvQDrop": n}} for n in (3, 900))
    assert told(memory_of(100, counters=before), memory_of(100, counters=after)) == ["Cleared"]


def test_in_a_child_namespace_the_limit_does_not_exist() -> None:
    for missing in ({"max_pages": None}, {"pressure_pages": None}):
        (answer,) = answers(tcp_memories(memory_of(20_000, **missing)), RULE)
        assert isinstance(answer, NotChecked)
        assert answer.missing_capability == "CAP_SYS_ADMIN"
        assert "host's network namespace" in answer.reason


def test_a_flag_that_was_set_once_is_a_warning_although_it_is_clear_at_the_end() -> None:
    found = only(tcp_memories(memory_of(100, under_pressure=True), memory_of(100, under_pressure=False)))
    assert found.severity == "warning"


def test_memory_that_could_not_be_read_is_not_checked() -> None:
    node = at_each(tcp_memories(memory_of(1)), "tcp_memory", Failure(code="missing-file", reason="no sockstat"))
    (answer,) = answers(node, RULE)
    assert isinstance(answer, NotChecked)
    assert (answer.code, answer.reason) == ("missing-file", "no sockstat")


@pytest.mark.parametrize(("moments", "confidence"), [(1, "possible"), (2, "proven")])
def test_one_reading_is_possible_and_two_are_proof(moments: int, confidence: str) -> None:
    found = only(tcp_memories(*[memory_of(15_000)] * moments))
    assert (found.claim, found.confidence) == ("holds", confidence)


def test_the_summary_is_the_number_and_its_limit() -> None:
    found = only(tcp_memories(memory_of(15_150)))
    assert found.summary == "TCP memory used up: 15150 of 15000 pages (101 %)"
    assert found.reason == "TcpMemoryExhausted"
    assert only(tcp_memories(memory_of(10_000))).reason == "TcpMemoryPressure"


@pytest.mark.parametrize(("used", "limit"), [(15_000, 15_000), (14_999, 10_000)])
def test_the_reading_is_compared_with_the_limit_that_it_has_passed(used: int, limit: int) -> None:
    first = only(tcp_memories(memory_of(used))).evidence[0]
    assert (first.value, first.limit, first.comparison) == (used, limit, ">=")


@pytest.mark.parametrize(("flag", "value"), [(True, "yes"), (False, "no")])
def test_the_pressure_flag_is_shown_where_the_kernel_has_it(flag: bool, value: str) -> None:
    found = reading(only(tcp_memories(memory_of(15_000, under_pressure=flag))), "pressure flag")
    assert found is not None
    assert found.value == value
    assert reading(only(tcp_memories(memory_of(15_000, under_pressure=None))), "pressure flag") is None


def test_the_whole_node_is_the_victim() -> None:
    (victim,) = parties(only(tcp_memories(memory_of(15_000))), "victim")
    assert victim.node == "n1"


def test_why_small_messages_pass_is_explained_only_where_memory_is_used_up() -> None:
    critical, warning = (" ".join(only(tcp_memories(memory_of(n))).explanation) for n in (15_000, 10_000))
    assert "Small messages still pass" in critical
    assert "Small messages still pass" not in warning


# --- Who holds it ------------------------------------------------------------------------------------------------


def held_by(*shares: int, of: int = 15_000, workloads: Workloads | None = None) -> Recording:
    """pids 1, 2, ... serve with so many pages each."""
    groups = [group("serving", 10, pid=pid, memory=n * PAGE, age=1) for pid, n in enumerate(shares, 1)]
    everybody = workloads or named(*range(1, len(shares) + 1))
    return recording([groups] * 2, memory=memory_of(of), workloads=everybody)


@pytest.mark.parametrize(("largest", "shape"), [(7_499, "spread"), (7_500, "few")])
def test_an_owner_of_half_of_it_is_named_and_else_it_is_spread(largest: int, shape: str) -> None:
    found = only(held_by(largest, 15_000 - largest - 4_000, 4_000))
    assert found.shape == shape
    assert ("app1 holds most of it" in found.title) is (shape == "few")


def test_holding_accuses_nobody() -> None:
    found = only(held_by(15_000))
    assert (parties(found, "culprit"), pids(found, "holder")) == ([], [1])


def test_at_most_three_holders_are_listed_the_largest_first() -> None:
    found = only(held_by(1_000, 3_000, 2_000, 4_000, 5_000))
    assert pids(found, "holder") == [5, 4, 2]
    assert [p.share for p in parties(found, "holder")] == [0.3333, 0.2667, 0.2]
    assert len(parties(found, "holder")) == MEMORY.limit("listed_holders")


def test_the_processes_of_a_container_hold_together() -> None:
    found = only(held_by(4_000, 3_500, 7_500, workloads=owners(in_container("web", 1, 2), named(3).by_pid)))
    assert sorted((p.sockets, p.memory_bytes) for p in parties(found, "holder")) == [
        (10, 7_500 * PAGE), (20, 7_500 * PAGE),
    ]  # fmt: skip


def test_without_sockets_no_holder_is_named() -> None:
    found = only(tcp_memories(memory_of(15_000)))
    assert (found.shape, parties(found, "holder")) == (None, [])


def test_whoever_holds_nothing_is_no_holder() -> None:
    assert pids(only(held_by(15_000, 0)), "holder") == [1]


# --- What was refused --------------------------------------------------------------------------------------------


def refused(first: dict[int, dict[str, int]], last: dict[int, dict[str, int]]) -> dict[str, object]:
    found = only(tcp_memories(memory_of(15_000, counters=first), memory_of(15_000, counters=last)))
    return {e.statement.split()[0]: e.value for e in found.evidence if e.unit == "times"}


def test_what_was_refused_in_the_window_is_summed_over_the_namespaces() -> None:
    assert refused({A: {"RcvPruned": 5}, B: {"RcvPruned": 1}}, {A: {"RcvPruned": 8}, B: {"RcvPruned": 3}}) == {
        "RcvPruned": 5
    }


def test_a_namespace_that_went_away_takes_its_counters_with_it() -> None:
    assert refused({A: {"RcvPruned": 5}, B: {"RcvPruned": 900}}, {A: {"RcvPruned": 6}}) == {"RcvPruned": 1}


def test_a_namespace_made_anew_under_the_same_number_is_never_negative() -> None:
    first = {A: {"RcvPruned": 5}, B: {"RcvPruned": 900}}
    assert refused(first, {A: {"RcvPruned": 6}, B: {"RcvPruned": 2}}) == {"RcvPruned": 1}
    assert refused(first, {A: {}, B: {"RcvPruned": 0}}) == {}


def test_counts_from_before_the_window_are_no_evidence() -> None:
    assert refused({A: {"TCPAbortOnMemory": 900}}, {A: {"TCPAbortOnMemory": 900}}) == {}
    assert refused({}, {A: {"TCPAbortOnMemory": 900}}) == {}


def test_counters_that_have_nothing_to_do_with_memory_are_left_out() -> None:
    assert refused({A: {"TCPTimeouts": 0}}, {A: {"TCPTimeouts": 9}}) == {}


# --- The limit itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pages", "low"), [(15_000 * 2 + 5, True), (15_000 * 2, False), (15_000, False)])
def test_a_limit_below_half_of_what_the_kernel_would_set_was_set_by_somebody(pages: int, low: bool) -> None:
    """The kernel: a sixteenth of the memory, three quarters of it, twice (tcp_init_mem)."""
    memory = memory_of(15_000, memory_total_bytes=(pages // 6 + (pages % 6 > 0)) * 64 * PAGE)
    words = " ".join(only(tcp_memories(memory)).explanation)
    assert ("Somebody has set it" in words) is low


def test_the_default_limits_of_a_recorded_node_are_not_low() -> None:
    memory = memory_of(600_000, low_pages=287_901, pressure_pages=383_869, max_pages=575_802,
                       memory_total_bytes=25_276_514_304)  # fmt: skip
    assert "Somebody" not in " ".join(only(tcp_memories(memory)).explanation)


# --- The kernel log ----------------------------------------------------------------------------------------------


def with_log(log: KernelLog, used: int = 15_000) -> Recording:
    return tcp_memories(memory_of(used), memory_of(used), kernel_log=log)


LINE = "TCP: out of memory -- consider tuning tcp_mem"


def test_log_lines_are_context_with_the_age_of_the_newest() -> None:
    log = KernelLog(
        source="/dev/kmsg", reaches_back_seconds=99.0, counts={"tcp-out-of-memory": 12, "other": 3},
        lines=(LogLine("tcp-out-of-memory", 1.0, LINE), LogLine("tcp-out-of-memory", FROM_BOOT - 20, LINE),
               LogLine("other", FROM_BOOT, "x")),
    )  # fmt: skip
    found = reading(only(with_log(log)), "Kernel log")
    assert found is not None
    assert (found.value, found.unit, found.source) == (12, "lines", "/dev/kmsg")
    assert "the newest 30 s ago" in found.statement
    assert LINE in found.statement


def test_log_lines_never_make_a_finding_or_its_severity() -> None:
    log = KernelLog(source="journal", reaches_back_seconds=None, counts={"tcp-out-of-memory": 9_999})
    assert [type(a) for a in answers(with_log(log, 100), RULE)] == [Cleared]
    assert only(with_log(log, 10_000)).severity == "warning"


def test_a_silent_log_is_no_evidence_and_no_excuse() -> None:
    log = KernelLog(source="journal", reaches_back_seconds=None)
    assert reading(only(with_log(log)), "Kernel log") is None


def test_a_clearing_says_where_it_could_not_count() -> None:
    (answer,) = answers(tcp_memories(memory_of(9, netns_read=4, netns_unread=2)), RULE)
    assert isinstance(answer, Cleared)
    assert "counted in 4 namespaces, 2 not readable" in answer.sensitivity


# --- Found by review -----------------------------------------------------------------------------------------------


def test_too_many_orphans_are_no_shortage_of_memory() -> None:
    before, after = ({A: {"TCPAbortOnMemory": n}} for n in (3, 900))
    crowded = {"orphans": 4_100, "max_orphans": 4_000}
    assert told(memory_of(100, counters=before, **crowded), memory_of(100, counters=after, **crowded)) == ["Cleared"]


def test_a_limit_of_zero_is_judged() -> None:
    assert told(memory_of(0, low_pages=0, pressure_pages=0, max_pages=0)) == ["critical"]


def test_memory_whose_owners_are_not_known_is_not_called_spread_over_many() -> None:
    found = only(held_by(750))
    assert found.shape != "spread"
    assert "spread" not in found.title


def test_the_memory_that_nobody_was_found_for_is_shown() -> None:
    found = only(held_by(7_500))
    assert any(e.value in (0.5, 7_500) for e in found.evidence)


def test_a_holder_that_has_no_name_is_called_by_its_pid() -> None:
    found = only(held_by(15_000, workloads=Workloads(unknown_pids=1)))
    assert "pid 1" in found.title


def test_the_summary_stays_short_with_the_largest_limits() -> None:
    huge = 2**63 - 1
    memory = memory_of(huge - 1, low_pages=huge, pressure_pages=huge - 1, max_pages=huge)
    assert len(only(tcp_memories(memory)).summary.encode()) <= 80
