"""Each kind of leak and its look-alike, one below and one at every threshold."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.snapshot import Recording

from .nodes import (
    ALONE,
    LEAK,
    MIN,
    PAGE,
    culprits,
    finding,
    findings,
    group,
    history,
    is_cleared,
    leak,
    limit,
    memory_of,
    named,
    parties,
    pids,
    recording,
    said,
)

GROWTH = limit("min_growth")


def severities(node: Recording) -> list[str]:
    return [f.severity for f in findings(node)]


# --- response-never-read -----------------------------------------------------------------------------------------


def test_connections_that_nobody_reads_are_a_leak_of_their_owner() -> None:
    found = finding(leak("response-never-read", [MIN, MIN], age=60, each=100_000))
    assert (found.shape, found.claim, found.confidence) == ("response-never-read", "leaks", "proven")
    assert (found.severity, pids(found, "culprit")) == ("warning", [7])
    assert "203.0.113.9:443" in found.title


@pytest.mark.parametrize(("n", "severity"), [(MIN - 1, "info"), (MIN, "warning")])
def test_few_unread_connections_that_do_not_grow_hurt_nobody_yet(n: int, severity: str) -> None:
    assert severities(leak("response-never-read", [n, n], age=60, each=100)) == [severity]


@pytest.mark.parametrize(("n", "told"), [(limit("min_unread") - 1, 0), (limit("min_unread"), 1)])
def test_a_handful_of_slow_downloads_is_no_leak(n: int, told: int) -> None:
    assert len(findings(leak("response-never-read", [n, n], age=60, each=100))) == told


def test_few_unread_connections_that_grow_are_a_warning() -> None:
    n = limit("min_unread")
    assert severities(leak("response-never-read", [n, n + GROWTH], age=60, each=100)) == ["warning"]


@pytest.mark.parametrize(
    ("n", "share", "told"),
    [
        (limit("min_sockets_with_memory") - 1, 2.0, False),
        (limit("min_sockets_with_memory"), 0.999, False),
        (limit("min_sockets_with_memory"), 1.0, True),
    ],
)
def test_few_sockets_matter_if_they_hold_much(n: int, share: float, told: bool) -> None:
    each = round(share * LEAK.limit("min_memory_share") * 15_000 * PAGE / n)
    assert bool(findings(leak("response-never-read", [n, n], age=60, each=each, memory=memory_of(5_000)))) is told


@pytest.mark.parametrize(("moved", "told"), [(MIN // 2 + 1, False), (MIN // 2, True)])
def test_a_slow_reader_is_told_by_half_of_its_sockets_moving(moved: int, told: bool) -> None:
    assert bool(findings(leak("response-never-read", [MIN, MIN], moved=moved, age=60, each=100))) is told


def test_a_slow_reader_is_told_although_it_stood_still_at_first() -> None:
    moments = [[group("response-never-read", MIN, age=60, memory=9, unchanged=u)] for u in (None, MIN, 0)]
    assert is_cleared(recording(moments))


@pytest.mark.parametrize(
    ("age", "confidence"), [(limit("unread_age") - 1, "possible"), (limit("unread_age"), "proven")]
)
def test_unread_data_without_age_or_growth_is_only_possible(age: int, confidence: str) -> None:
    node = leak("response-never-read", [MIN, MIN], age=age, each=100)
    assert said(node) == [("response-never-read", confidence)]


@pytest.mark.parametrize(("old", "confidence"), [(MIN // 2 - 1, "possible"), (MIN // 2, "proven")])
def test_half_of_the_unread_connections_must_be_old(old: int, confidence: str) -> None:
    node = leak("response-never-read", [MIN, MIN], age=60, old=old, each=100)
    assert said(node) == [("response-never-read", confidence)]


@pytest.mark.parametrize(("growth", "confidence"), [(GROWTH - 1, "possible"), (GROWTH, "proven")])
def test_growth_by_chance_is_no_sign(growth: int, confidence: str) -> None:
    node = leak("response-never-read", [MIN, MIN + growth], age=1, each=100)
    assert said(node) == [("response-never-read", confidence)]


def test_a_leak_that_began_within_the_window_is_seen() -> None:
    assert said(leak("response-never-read", [0, MIN, MIN + 9], age=20, each=100)) == [("response-never-read", "proven")]


def test_a_burst_that_ended_is_no_leak() -> None:
    assert is_cleared(leak("response-never-read", [500, 300, 0], age=20))


@pytest.mark.parametrize("state", ["stopped", "frozen"])
@pytest.mark.parametrize("kind", ["response-never-read", "accept-not-called"])
def test_a_reader_that_is_halted_leaks_nothing(kind: str, state: str) -> None:
    found = finding(leak(kind, [MIN, MIN], age=60, each=100, workloads=named(7, state=state)))
    assert (found.shape, found.claim, found.confidence) == ("reader-stopped", "holds", "possible")
    assert (pids(found, "culprit"), pids(found, "reader")) == ([], [7])
    assert state in found.title
    assert found.severity == "info"
    assert "restart-workload" not in [r.action for r in found.remedies]


@pytest.mark.parametrize("state", ["running", "sleeping", "uninterruptible", None])
def test_a_reader_in_any_other_state_is_not_excused(state: str | None) -> None:
    assert culprits(leak("response-never-read", [MIN, MIN], age=60, each=9, workloads=named(7, state=state))) == [7]


# --- close-forgotten ---------------------------------------------------------------------------------------------

CLOSE_AGE, STALE = limit("close_wait_age"), limit("close_wait_stale")


def test_connections_closed_by_the_peer_that_become_more_are_a_leak() -> None:
    found = finding(leak("close-forgotten", [MIN, MIN + GROWTH], age=CLOSE_AGE, memory=memory_of(10)))
    assert (found.shape, found.confidence, pids(found, "culprit")) == ("close-forgotten", "proven", [7])


@pytest.mark.parametrize(("old", "told"), [(MIN - 1, False), (MIN, True)])
def test_enough_connections_must_have_been_closed_for_long(old: int, told: bool) -> None:
    node = leak("close-forgotten", [MIN + 40, MIN + 90], age=CLOSE_AGE, old=old)
    assert bool(findings(node)) is told


@pytest.mark.parametrize(("age", "told"), [(CLOSE_AGE - 1, []), (CLOSE_AGE, [("close-forgotten", "proven")])])
def test_close_wait_of_seconds_that_comes_and_goes_is_no_leak(age: int, told: list[tuple[str, str]]) -> None:
    """Of the many that were there at first, most are gone."""
    node = leak("close-forgotten", [ALONE, ALONE + 50], age=age, old=MIN)
    assert said(node) == told


@pytest.mark.parametrize(
    ("counts", "old", "told"),
    [
        ([MIN, ALONE], MIN, True),
        ([MIN, ALONE], MIN - 1, False),  # too few to follow
        ([MIN - 1, ALONE], MIN, False),
        ([MIN, ALONE - 1], MIN, False),
        ([100, ALONE], 80, True),
        ([100, ALONE], 79, False),  # a fifth of the first was closed
        ([ALONE, ALONE], ALONE, False),
        ([ALONE], ALONE, False),
        ([100, 100, ALONE], 100, True),
    ],
)
def test_many_that_nobody_has_closed_yet_may_be_a_leak(counts: list[int], old: int, told: bool) -> None:
    found = findings(leak("close-forgotten", counts, age=10, old=old, seconds=10))
    assert [(f.severity, f.confidence, pids(f, "culprit")) for f in found] == [("info", "possible", [7])] * told


@pytest.mark.parametrize(("n", "told"), [(ALONE - 1, []), (ALONE, [("close-forgotten", "proven")])])
def test_close_wait_that_does_not_grow_must_be_more_than_a_pool_keeps(n: int, told: list[tuple[str, str]]) -> None:
    """A pool clears them at its next use."""
    assert said(leak("close-forgotten", [n, n], age=STALE, memory=memory_of(10))) == told


@pytest.mark.parametrize(("age", "confidence"), [(STALE - 1, "possible"), (STALE, "proven")])
def test_close_wait_that_does_not_grow_must_be_older_than_a_pool_lets_it_be(age: int, confidence: str) -> None:
    assert said(leak("close-forgotten", [ALONE, ALONE], age=age, memory=memory_of(10))) == [
        ("close-forgotten", confidence)
    ]


@pytest.mark.parametrize(("old", "told"), [(151, False), (152, True)])
def test_whether_those_of_before_were_closed_shows_by_their_age(old: int, told: bool) -> None:
    """Those that are older than 5 s are compared with the 190 of 5.4 s ago, not with the 100 of 9.9 s ago."""
    counts = [100 + 18 * n for n in range(12)]
    assert bool(findings(leak("close-forgotten", counts, age=7, old=old, seconds=9.9))) is told


# --- never-connected, dead-not-closed ----------------------------------------------------------------------------

WITHOUT_PEER = pytest.mark.parametrize("kind", ["never-connected", "dead-not-closed"])


@WITHOUT_PEER
@pytest.mark.parametrize(("n", "told"), [(MIN - 1, False), (MIN, True)])
def test_growing_sockets_without_peer_are_a_leak_from_the_threshold_on(kind: str, n: int, told: bool) -> None:
    node = leak(kind, [n - GROWTH, n], memory=memory_of(10, alloc_sockets=n))
    assert said(node) == ([(kind, "proven")] if told else [])


@WITHOUT_PEER
@pytest.mark.parametrize(("n", "told"), [(ALONE - 1, False), (ALONE, True)])
def test_sockets_without_peer_that_do_not_grow_are_only_possible(kind: str, n: int, told: bool) -> None:
    assert said(leak(kind, [n, n])) == ([(kind, "possible")] if told else [])


@WITHOUT_PEER
def test_sockets_without_peer_that_come_and_go_are_no_growth(kind: str) -> None:
    """Dual-stack connects and health checks make and close them all the time: these are others each time."""
    assert is_cleared(leak(kind, [MIN, MIN + 20], moved=MIN // 2 + 1))


# --- accept-not-called -------------------------------------------------------------------------------------------

QUEUE, ACCEPT_AGE = limit("min_accept_queue"), limit("accept_age")


def test_a_queue_that_nobody_takes_from_is_its_listeners_doing() -> None:
    found = finding(leak("accept-not-called", [QUEUE, QUEUE], age=ACCEPT_AGE))
    assert (found.shape, pids(found, "culprit")) == ("accept-not-called", [7])
    assert "port 8080" in found.title
    assert parties(found, "peer") == []


@pytest.mark.parametrize(("n", "told"), [(QUEUE - 1, False), (QUEUE, True)])
def test_a_short_accept_queue_is_normal(n: int, told: bool) -> None:
    assert bool(findings(leak("accept-not-called", [n, n], age=60))) is told


@pytest.mark.parametrize(("age", "told"), [(ACCEPT_AGE - 1, False), (ACCEPT_AGE, True)])
def test_a_queue_of_new_connections_is_a_burst(age: int, told: bool) -> None:
    assert bool(findings(leak("accept-not-called", [90, 90], age=age))) is told


@pytest.mark.parametrize(("old", "told"), [(44, False), (45, True)])
def test_half_of_a_queue_must_be_old(old: int, told: bool) -> None:
    assert bool(findings(leak("accept-not-called", [90, 90], age=60, old=old))) is told


def test_a_queue_from_which_one_connection_was_taken_is_a_slow_server() -> None:
    assert is_cleared(leak("accept-not-called", [90, 90], moved=1, age=60))


def test_a_listener_that_nobody_can_name_is_not_accused() -> None:
    node = leak("accept-not-called", [90, 90], age=60, accept_queues=())
    assert [c for c in culprits(node) if c is not None] == []


# --- orphans -----------------------------------------------------------------------------------------------------


def orphans(
    n: int, *, age: float = 60, unsent: int = 9, moments: int = 2, each: int = 0, most: int = 4_000
) -> Recording:
    memory = memory_of(100, max_orphans=most, alloc_sockets=n)
    return recording([[group("orphans", n, age=age, unsent=unsent, memory=n * each)]] * moments, memory=memory)


@pytest.mark.parametrize(("n", "told"), [(MIN - 1, False), (MIN, True)])
def test_orphans_with_unsent_data_are_told_from_the_threshold_on(n: int, told: bool) -> None:
    assert said(orphans(n)) == ([("orphans", "possible")] if told else [])


@pytest.mark.parametrize(("age", "told"), [(limit("unread_age") - 1, False), (limit("unread_age"), True)])
def test_new_orphans_are_connections_that_just_ended(age: int, told: bool) -> None:
    assert bool(findings(orphans(90, age=age))) is told


def test_orphans_without_data_wait_for_nobody() -> None:
    assert is_cleared(orphans(90, unsent=0))


@pytest.mark.parametrize(("n", "confidence"), [(99, "possible"), (100, "likely")])
def test_orphans_count_from_a_quarter_of_the_kernels_limit_on(n: int, confidence: str) -> None:
    assert said(orphans(n, most=400)) == [("orphans", confidence)]


@pytest.mark.parametrize(("each", "confidence"), [(30_719, "possible"), (30_720, "likely")])
def test_orphans_count_if_they_hold_a_twentieth_of_the_limit(each: int, confidence: str) -> None:
    assert said(orphans(100, each=each)) == [("orphans", confidence)]


def test_orphans_are_nobodys_fault() -> None:
    found = finding(orphans(100, most=400))
    assert (found.claim, found.severity, parties(found, "culprit")) == ("holds", "warning", [])
    assert len(parties(found, "holder")) == 1


# --- Look-alikes -------------------------------------------------------------------------------------------------


def test_a_busy_server_is_no_leak() -> None:
    assert is_cleared(leak("serving", [20_000, 20_500, 21_000], seconds=90, age=0.5, each=4_000))


def test_idle_accepted_connections_that_grow_are_their_clients_doing() -> None:
    """Websockets and long polls: who accepted them did not open them."""
    assert is_cleared(leak("serving", [20_000, 20_500, 21_000], seconds=90, age=600))


def test_an_upload_on_a_slow_path_is_no_leak() -> None:
    assert is_cleared(leak("serving", [200, 200], age=1, each=1_000_000, unsent=200_000_000))


def test_sockets_of_other_protocols_are_no_leak() -> None:
    udp = replace(group("response-never-read", 900, age=60, unchanged=900), protocol="udp")
    assert is_cleared(recording([[udp], [udp]]))


def test_two_leaks_are_two_findings_the_larger_first() -> None:
    small = history("response-never-read", [MIN, MIN], pid=8, age=60, each=1_000)
    large = history("response-never-read", [MIN, MIN], pid=7, age=60, each=90_000)
    found = findings(recording([a + b for a, b in zip(small, large, strict=True)], workloads=named(7, 8)))
    assert [pids(f, "culprit") for f in found] == [[7], [8]]
    assert [f.confidence for f in found] == ["proven", "likely"]


def test_an_id_stays_the_same_while_the_leak_lasts_and_differs_from_the_next_one() -> None:
    before, after = (finding(leak("response-never-read", [n, n], age=60)) for n in (MIN, MIN + 70))
    other = finding(leak("response-never-read", [MIN, MIN], age=60, pid=8, workloads=named(8)))
    assert before.id == after.id != other.id
