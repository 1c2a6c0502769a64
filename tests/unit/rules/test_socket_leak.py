"""How sure, how bad, and how much was in sight."""

from __future__ import annotations

import pytest

from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording

from .nodes import (
    LEAKS,
    MIN,
    PAGE,
    answers,
    at_each,
    finding,
    findings,
    group,
    history,
    leak,
    memory_of,
    named,
    parties,
    recording,
    said,
)

# --- Confidence --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LEAKS)
def test_one_snapshot_alone_is_never_more_than_possible(kind: str) -> None:
    found = findings(leak(kind, [900], age=7_200, each=PAGE, unsent=900, memory=memory_of(15_000, max_orphans=9)))
    assert [f.confidence for f in found] == ["possible"]


def test_growth_needs_more_than_one_snapshot() -> None:
    assert findings(leak("held-open", [9_000], age=7_200)) == []


def two_owners(mine: int, theirs: int) -> Recording:
    """pid 7 leaks; the sockets of pid 8 are unread too, but are read now and then."""
    moments = [
        [
            group("response-never-read", MIN, age=60, memory=mine, unchanged=MIN),
            group("response-never-read", MIN, pid=8, age=1, memory=theirs, unchanged=0),
        ]
    ] * 2
    return recording(moments, workloads=named(7, 8))


@pytest.mark.parametrize(("mine", "confidence"), [(499_999, "likely"), (500_000, "proven")])
def test_proven_needs_half_of_the_memory_that_is_stuck(mine: int, confidence: str) -> None:
    assert said(two_owners(mine, 1_000_000 - mine)) == [("response-never-read", confidence)]


@pytest.mark.parametrize(("others", "confidence"), [(76, "likely"), (75, "proven")])
def test_proven_needs_half_of_the_sockets_of_that_shape(others: int, confidence: str) -> None:
    """Another owner has as many of them, which do not grow."""
    mine = history("close-forgotten", [60, 75], age=40)
    theirs = [[group("close-forgotten", others, pid=8, age=40)]] * 2
    node = recording([a + b for a, b in zip(mine, theirs, strict=True)], workloads=named(7, 8), memory=memory_of(10))
    assert said(node) == [("close-forgotten", confidence)]


@pytest.mark.parametrize(("used", "confidence"), [(12_501, "likely"), (12_500, "proven")])
def test_proven_needs_the_owners_of_four_fifths_of_the_memory(used: int, confidence: str) -> None:
    node = leak("response-never-read", [100, 100], age=60, each=100 * PAGE, memory=memory_of(used, alloc_sockets=100))
    assert said(node) == [("response-never-read", confidence)]


@pytest.mark.parametrize(("alloc", "confidence"), [(126, "likely"), (125, "proven")])
def test_where_memory_is_too_little_to_tell_proven_needs_four_fifths_of_the_sockets(
    alloc: int, confidence: str
) -> None:
    node = leak("close-forgotten", [90, 100], age=60, memory=memory_of(256, alloc_sockets=alloc))
    assert said(node) == [("close-forgotten", confidence)]


def test_memory_of_processes_that_nobody_knows_is_not_attributed() -> None:
    moments = [[
        group("response-never-read", 100, age=60, memory=700_000, unchanged=100),
        group("serving", 10, pid=99, age=1, memory=300_000),
    ]] * 2  # fmt: skip
    assert said(recording(moments)) == [("response-never-read", "likely")]


# --- Severity ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "mine", "severity"),
    [
        (14_999, 14_000, "warning"),
        (15_000, 7_499, "warning"),
        (15_000, 7_500, "critical"),
        (20_000, 10_000, "critical"),
    ],
)
def test_critical_is_memory_used_up_and_half_of_it_tied_up(used: int, mine: int, severity: str) -> None:
    moments = [[
        group("response-never-read", 1_000, age=60, memory=mine * PAGE, unchanged=1_000),
        group("serving", 10, pid=8, age=1, memory=(used - mine) * PAGE),
    ]] * 2  # fmt: skip
    node = recording(moments, workloads=named(7, 8), memory=memory_of(used))
    assert finding(node).severity == severity


def test_one_snapshot_of_a_node_without_memory_is_a_warning() -> None:
    found = finding(leak("response-never-read", [1_000], age=60, each=15 * PAGE, memory=memory_of(15_000)))
    assert (found.severity, found.confidence) == ("warning", "possible")


@pytest.mark.parametrize(("used", "severity"), [(9_999, "info"), (10_000, "warning")])
def test_a_halted_reader_is_a_warning_only_if_memory_is_short_and_its_doing(used: int, severity: str) -> None:
    node = leak(
        "response-never-read", [100, 100], age=60, each=used * PAGE // 100 + PAGE, memory=memory_of(used),
        workloads=named(7, state="stopped"),
    )  # fmt: skip
    assert finding(node).severity == severity


def test_orphans_are_never_critical() -> None:
    node = leak("orphans", [1_000, 1_000], age=60, unsent=9, each=20 * PAGE, memory=memory_of(20_000))
    assert finding(node).severity == "warning"


def test_pressure_on_the_whole_node_has_a_victim() -> None:
    node = leak("response-never-read", [1_000, 1_000], age=60, each=15 * PAGE, memory=memory_of(15_000))
    assert len(parties(finding(node), "victim")) == 1


# --- Cleared or not checked --------------------------------------------------------------------------------------


def in_sight(found: int, alloc: int) -> list[object]:
    node = recording([[group("serving", found, age=1)]] * 2, memory=memory_of(100, alloc_sockets=alloc))
    return list(answers(node))


@pytest.mark.parametrize(("found", "answer"), [(800, NotChecked), (801, Cleared)])
def test_nothing_is_cleared_while_a_fifth_of_the_kernels_sockets_is_out_of_sight(found: int, answer: type) -> None:
    assert [type(a) for a in in_sight(found, 1_000)] == [answer]


@pytest.mark.parametrize(("alloc", "answer"), [(9, Cleared), (10, NotChecked)])
def test_a_few_sockets_out_of_sight_are_too_few_for_a_leak(alloc: int, answer: type) -> None:
    assert [type(a) for a in in_sight(0, alloc)] == [answer]


@pytest.mark.parametrize(("around", "answer"), [(9, Cleared), (10, NotChecked)])
def test_what_came_and_went_before_the_pass_is_not_out_of_sight(around: int, answer: type) -> None:
    """The number that counts is the one read around the pass: short connections make the other one meaningless."""
    node = recording([[]] * 2, memory=memory_of(100, alloc_sockets=500), alloc_sockets=around)
    assert [type(a) for a in answers(node)] == [answer]


@pytest.mark.parametrize(("found", "answer"), [(990, NotChecked), (991, Cleared)])
def test_without_bpf_nothing_is_cleared_while_a_leak_would_fit_in_what_was_out_of_sight(
    found: int, answer: type
) -> None:
    node = recording([[group("serving", found, age=1)]] * 2, memory=memory_of(100, alloc_sockets=1_000),
                     method="sock_diag", fallback_reason="no BPF here")  # fmt: skip
    assert [type(a) for a in answers(node)] == [answer]


@pytest.mark.parametrize(("holding", "sees_all", "answer"), [
    ("no-descriptor", False, NotChecked), ("no-descriptor", True, Cleared), ("descriptor", False, Cleared),
])  # fmt: skip
def test_nothing_is_cleared_while_sockets_may_belong_to_processes_out_of_sight(
    holding: str, sees_all: bool, answer: type
) -> None:
    node = recording([[group("serving", 90, age=1, holding=holding)]] * 2, all_processes=sees_all)
    assert [type(a) for a in answers(node)] == [answer]


def test_nothing_is_cleared_while_a_namespace_could_not_be_entered() -> None:
    node = recording([[]] * 2, netns_unread=2, missing_capability="CAP_SYS_ADMIN", fallback_reason="no BPF here")
    (answer,) = answers(node)
    assert isinstance(answer, NotChecked)
    assert (answer.code, answer.missing_capability) == ("missing-capability", "CAP_SYS_ADMIN")
    assert "2 network namespaces" in answer.reason
    assert "no BPF here" in answer.reason


@pytest.mark.parametrize(("method", "code"), [("bpf", "unreadable"), ("sock_diag", "unsupported")])
def test_sockets_out_of_sight_are_excused_only_where_bpf_could_not_run(method: str, code: str) -> None:
    node = recording([[]] * 2, memory=memory_of(100, alloc_sockets=1_000), method=method)
    (answer,) = answers(node)
    assert isinstance(answer, NotChecked)
    assert answer.code == code


def test_what_was_found_is_said_although_much_was_out_of_sight() -> None:
    node = leak("response-never-read", [MIN, MIN], age=60, each=9, memory=memory_of(10, alloc_sockets=9_000))
    found = finding(node)
    assert found.shape == "response-never-read"
    assert "There may be more than this: only 50 of the kernel's 9,000" in " ".join(found.explanation)


def test_a_failed_collector_is_not_checked_with_its_reason() -> None:
    failure = Failure(code="missing-capability", reason="it may not", missing_capability="CAP_BPF")
    node = at_each(leak("serving", [1, 1]), "sockets", failure)
    (answer,) = answers(node)
    assert isinstance(answer, NotChecked)
    assert (answer.code, answer.missing_capability, answer.reason) == ("missing-capability", "CAP_BPF", "it may not")


def test_a_collector_that_was_not_run_is_not_checked() -> None:
    node = at_each(leak("serving", [1, 1]), "sockets", Failure(code="not-collected", reason="nobody asked"))
    assert [type(a) for a in answers(node)] == [NotChecked]


def sensitivity(node: Recording) -> str:
    (answer,) = answers(node)
    assert isinstance(answer, Cleared)
    assert answer.evidence[0].repeat
    return answer.sensitivity


def test_a_clearing_says_what_this_window_could_have_seen() -> None:
    assert "no growth can be seen" in sensitivity(leak("serving", [9]))
    assert "growth within 10 s" in sensitivity(leak("serving", [9, 9]))
    short, long = (sensitivity(leak("serving", [9, 9, 9], seconds=s)) for s in (59, 60))
    assert "held open show only in 60 s or more" in short
    assert "held open" not in long
    assert "two snapshots: idle connections that are held open do not show" in sensitivity(
        leak("serving", [9, 9], seconds=60)
    )
    assert "a close is missing" not in sensitivity(leak("close-forgotten", [MIN - 1] * 3, age=60))
    assert "a close is missing is told from 30 s on" in sensitivity(leak("close-forgotten", [MIN] * 3, age=10))
    without = {"method": "sock_diag", "fallback_reason": "an old kernel"}
    blind = sensitivity(recording([[group("serving", 9)]] * 2, memory=memory_of(10, alloc_sockets=9), **without))
    assert "without BPF (an old kernel), sockets that were never connected or are dead are not seen" in blind
