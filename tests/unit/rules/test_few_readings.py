"""Connects that fail and connections that are reset, in windows with few readings or uneven ones: what lasts, what may
not have, and what nobody can tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import pytest
from msgspec.structs import replace

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.connection_window import sum_groups
from whodunnet.model.connections import ConnectionGroup, Connections
from whodunnet.model.finding import Finding, NotChecked
from whodunnet.model.snapshot import Recording, Snapshot

from .connects import opened, refused, said, silent, slow
from .endings import SERVER, accepted, initiated, listening, moments_of
from .nodes import answers, finding, moment, named
from .resetting import closed, cut
from .tracking import OWNERS

TOO_FEW = ([3.0, 3.0], [4.9, 0.2, 4.9], [6.0], [5.9, 0.05, 0.05])
ENOUGH = ([2.0, 2.0, 2.0], [1.0, 4.0, 4.0], [6.25, 1.0, 0.75], [2.5, 1.0, 1.0])
Groups = Callable[[int], Sequence[ConnectionGroup]]
LASTING: dict[str, tuple[Groups, str]] = {
    "connect-refused": (lambda n: [refused(n)], "refuses-all"),
    "connect-timeout": (silent, "nobody-answers"),
    "connect-slow": (lambda n: sum_groups([*slow(n), opened(3 * n)]), "lost-syns"),
    "resets": (lambda n: [*cut(n), *closed(2 * n)], "server-resets"),
}


def read(lengths: Sequence[float], *sums: Sequence[ConnectionGroup], **other: object) -> Recording:
    """Readings of these sums, the first of nothing, with so many seconds between them."""
    rows = moments_of([], *sums, **other)  # type: ignore[arg-type]
    at = list(accumulate(lengths, initial=0.0))
    return replace(rows, snapshots=tuple(replace(s, at=moment(t)) for s, t in zip(rows.snapshots, at, strict=True)))


def evenly(lengths: Sequence[float], of: Groups, each: float = 40, **other: object) -> Recording:
    """So many of everything a second."""
    return read(lengths, *(of(round(each * t)) for t in accumulate(lengths)), **other)


def untold(found: Recording, rule: str) -> list[str]:
    """Codes of what was not checked."""
    return [a.code for a in answers(found, rule) if isinstance(a, NotChecked)]


@pytest.mark.parametrize("lengths", TOO_FEW)
@pytest.mark.parametrize("rule", LASTING)
def test_what_may_be_a_start_or_over_is_no_warning_and_no_clean_bill(rule: str, lengths: list[float]) -> None:
    of, shape = LASTING[rule]
    found = evenly(lengths, of)
    assert said(found, rule) == [(shape, "info", "possible")]
    assert untold(found, rule) == ["too-few-readings"]
    assert diagnose(found, [rule]).outcome == "incomplete"
    (answer,) = (a for a in answers(found, rule) if isinstance(a, NotChecked))
    assert answer.reason.endswith(": look for longer")


@pytest.mark.parametrize("lengths", ENOUGH)
@pytest.mark.parametrize("rule", LASTING)
def test_what_goes_on_through_three_parts_is_a_warning(rule: str, lengths: list[float]) -> None:
    of, shape = LASTING[rule]
    found = evenly(lengths, of)
    assert [(s, severity) for s, severity, _ in said(found, rule)] == [(shape, "warning")]
    assert untold(found, rule) == []
    assert diagnose(found, [rule]).outcome == "finding"


@pytest.mark.parametrize("rule", LASTING)
@pytest.mark.parametrize("burst", [0, 1])
def test_a_burst_in_one_of_two_parts_is_nothing(rule: str, burst: int) -> None:
    of, _ = LASTING[rule]
    usual = list(closed(200)) if rule == "resets" else [opened(200)]
    sums = [[*of(100), *usual], [*of(100), *usual]] if burst == 0 else [usual, [*usual, *of(100)]]
    found = read([3.0, 3.0], *sums)
    assert (said(found, rule), untold(found, rule)) == ([], [])
    assert diagnose(found, [rule]).outcome == "healthy"


def test_a_first_start_is_nothing_once_it_answers_and_not_told_while_it_does_not() -> None:
    """In the second of two parts the server has begun to answer, or the client has not come back."""
    started = read([3.0, 3.0], [refused(60)], [refused(64), opened(56)])
    assert (said(started, "connect-refused"), untold(started, "connect-refused")) == ([], [])
    given_up = read([3.0, 3.0], [refused(60)], [refused(64)])
    assert said(given_up, "connect-refused") == [("refuses-all", "info", "possible")]
    assert untold(given_up, "connect-refused") == ["too-few-readings"]


@pytest.mark.parametrize(
    "sums",
    [
        ([refused(40), opened(20)], [refused(44), opened(76)]),
        ([opened(30), refused(30)], [opened(90), refused(30)]),
        ([opened(50), refused(10)], [opened(90), refused(30)]),
    ],
)
def test_a_restart_that_is_over_is_nothing(sums: Sequence[Sequence[ConnectionGroup]]) -> None:
    assert said(read([3.0, 3.0], *sums), "connect-refused") == []


def test_a_burst_between_two_parts_is_no_warning() -> None:
    """It looks in two parts as if it lasted."""
    found = read([4.9, 0.2, 4.9], [opened(100), refused(40)], [opened(100), refused(80)], [opened(110), refused(120)])
    assert [severity for _, severity, _ in said(found, "connect-refused")] == ["info"]


def test_what_would_be_information_with_many_readings_too_is_not_left_open() -> None:
    aborts = evenly([3.0, 3.0], lambda n: [initiated("reset-sent", {0.0: n}), accepted("reset-received", {0.0: n})])
    assert said(aborts, "resets") == [("client-aborts", "info", "possible")]
    habit = evenly([3.0, 3.0], cut)
    assert said(habit, "resets") == [("server-resets", "info", "possible")]
    start = evenly([3.0, 3.0], lambda n: [refused(n), opened(n // 8)], listeners=[listening()])
    listens = [("refuses-some", "info", "possible")]
    assert said(start, "connect-refused") == listens
    assert [untold(aborts, "resets"), untold(habit, "resets")] == [[], []]


def test_resets_after_a_pause_that_make_a_case_also_make_it_last() -> None:
    """A server that resets as soon as it has worked for a while, to clients that wait for it."""

    def waited(n: int) -> list[ConnectionGroup]:
        return [initiated("reset-received", {0.8: n}), accepted("reset-sent", {0.0: n}), *closed(2 * n)]

    assert said(evenly([2.0, 2.0, 2.0], waited), "resets") == [("server-resets", "warning", "proven")]
    assert said(evenly([6.25, 1.0, 0.75], waited), "resets") == [("server-resets", "warning", "proven")]


def test_resets_in_the_name_of_clients_that_last_are_told_of_few_readings_too() -> None:
    def between(n: int) -> list[ConnectionGroup]:
        return [opened(3 * n), accepted("reset-received", {0.0: n}), *closed(2 * n)]

    assert said(evenly([2.0, 2.0, 2.0], between), "resets") == [("reset-between", "warning", "likely")]
    assert said(evenly([6.25, 1.0, 0.75], between), "resets") == [("reset-between", "warning", "likely")]


def test_a_rule_says_once_that_readings_were_few() -> None:
    found = evenly([3.0, 3.0], lambda n: [refused(n), refused(n, to=replace(SERVER, port=9001))])
    assert len(said(found, "connect-refused")) == 2
    assert untold(found, "connect-refused") == ["too-few-readings"]


def test_the_finding_beside_it_says_why_it_is_not_sure() -> None:
    found: Finding = finding(evenly([3.0, 3.0], lambda n: [refused(n)]), "connect-refused")
    assert any("fewer than four times" in line for line in found.explanation)


@pytest.mark.parametrize("lengths", [[1.0, 1.0, 1.0], [6.25, 1.0, 0.75]])
@pytest.mark.parametrize("each", [0, 16])
def test_a_client_that_was_cut_once_does_not_go_on_in_the_name_of_another_of_its_address(
    lengths: list[float], each: int
) -> None:
    """Of the other one's connections some are cut, too few to be told."""

    def until(n: int) -> list[ConnectionGroup]:
        other = initiated("reset-received", {0.01: n * each}, owner_pid=17, comm="app17")
        all_cut = [initiated("reset-received", {0.01: 15}), other, accepted("reset-sent", {0.01: 15 + n * each})]
        return [*all_cut, *closed(2), *closed(320 * (n + 1), owner_pid=17, comm="app17")]

    owners = replace(OWNERS, by_pid={**OWNERS.by_pid, 17: named(17).by_pid[17]})
    assert said(read(lengths, *map(until, range(3)), workloads=owners), "resets") == []


def test_a_time_when_nobody_watched_is_no_part_of_it() -> None:
    """A recording that was stopped, and goes on five minutes later with new programs."""
    lengths = [10.0] * 6 + [300.0] + [10.0] * 6
    found = read(lengths, *([refused(400 * n)] for n in range(1, 14)))

    def of(snapshot: Snapshot, n: int) -> Snapshot:
        since, groups = (0.0, 400 * n) if n < 7 else (300.0, 400 * (n - 7))
        watched = Connections(
            groups=(refused(groups),) if groups else (), started_seconds=since, watched_seconds=10.0 * (n % 7) + 0.01
        )
        return replace(snapshot, samples=snapshot.samples | {"connections": watched})

    found = replace(found, snapshots=tuple(of(s, n) for n, s in enumerate(found.snapshots)))
    assert said(found, "connect-refused") == [("refuses-all", "warning", "likely")]
