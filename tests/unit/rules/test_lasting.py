"""What goes on through a window whose readings are few, or at uneven times: failing connects, and resets."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.snapshot import Recording

from .connects import node, opened, refused, said, silent, slow
from .endings import FAR_SERVER, initiated, listening, moments_of
from .nodes import finding, moment
from .resetting import TELLING, closed, cut, early
from .test_connect_starts import ELSEWHERE

PER_SECOND = 100
WHOLE = (0.0, 8.0)
AFTER_A_DEAR_FIRST = (5.0, 2.5, 0.5)
"""A recorder rests after a snapshot that took long."""
SURE, UNSURE = ("warning", "likely"), ("info", "possible")


def within(span: tuple[float, float], second: float) -> float:
    """Seconds of a span until then."""
    return max(min(second, span[1]) - span[0], 0.0)


def steps(lengths: Sequence[float], *sums: Sequence[ConnectionGroup], listens: str = "") -> Recording:
    """Readings that far apart, with all that came until each; listens: whether somebody did, where that is known."""
    heard = moments_of(*sums, seconds=sum(lengths), listeners=[listening()])
    silent = moments_of(*sums, seconds=sum(lengths), listeners=[ELSEWHERE])
    bare = moments_of(*sums, seconds=sum(lengths))
    of = {"+": heard, "-": silent, "?": bare}
    shots = [of[one].snapshots[n] for n, one in enumerate(listens or "?" * len(sums))]
    at = [moment(sum(lengths[:n])) for n in range(len(sums))]
    return replace(bare, snapshots=tuple(replace(s, at=a) for s, a in zip(shots, at, strict=True)))


def episode(lengths: Sequence[float], span: tuple[float, float], *, listens: str = "") -> Recording:
    """A hundred connects a second, refused within this span only."""
    sums = []
    for n in range(len(lengths) + 1):
        bad = round(PER_SECOND * within(span, sum(lengths[:n])))
        good = round(PER_SECOND * sum(lengths[:n])) - bad
        sums.append([*([refused(bad)] if bad else []), *([opened(good)] if good else [])])
    return steps(lengths, *sums, listens=listens)


def judged(recording: Recording, rule: str = "connect-refused") -> list[tuple[str, str]]:
    return [(severity, confidence) for _, severity, confidence in said(recording, rule)]


def test_a_restart_that_is_over_does_not_last_however_long_the_steps_are() -> None:
    """Readings at equal distances say that nothing goes on; uneven ones must not say that it does."""
    over = (2.3, 4.8)
    assert judged(episode((2.0, 2.0, 2.0, 2.0), over)) == []
    found = episode((3.0, 4.5, 0.5), over, listens="+-++")
    assert said(found, "connect-refused") == [("comes-and-goes", *UNSURE)]
    assert any("nothing says whether it lasted" in line for line in finding(found, "connect-refused").explanation)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        (AFTER_A_DEAR_FIRST, SURE),
        ((3.0, 4.5, 0.5), SURE),
        ((6.4, 0.8, 0.8), SURE),
        ((6.4, 0.79, 0.81), UNSURE),  # between the first step and the last it is not long enough to tell
        ((6.9, 0.3, 0.3, 0.5), UNSURE),
        ((4.0, 4.0), UNSURE),  # so may a moment be that falls on the reading in the middle
        ((7.9, 0.1), UNSURE),
        ((8.0,), UNSURE),
        ((0.25, 7.5, 0.25), SURE),
        ((2.7, 2.7, 2.6), SURE),
        ((5.35, 1.0, 1.0, 0.65), SURE),
    ],
)
def test_what_lasts_is_as_sure_where_it_is_seen_at_both_ends_and_between(
    lengths: Sequence[float], expected: tuple[str, str]
) -> None:
    assert judged(episode(lengths, WHOLE)) == [expected]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((4.9, 8.0), SURE),
        ((5.1, 8.0), None),  # not in the first part
        ((0.0, 7.45), UNSURE),  # not in the last step
        ((0.0, 7.51), UNSURE),  # over within the last step: a fiftieth of it, and most of all before
        ((0.0, 7.99), SURE),
    ],
)
def test_of_two_parts_the_first_step_and_the_last_have_to_have_it(
    span: tuple[float, float], expected: tuple[str, str] | None
) -> None:
    assert judged(episode(AFTER_A_DEAR_FIRST, span)) == ([expected] if expected else [])


def test_two_moments_apart_with_nothing_between_do_not_last() -> None:
    lengths = (3.0, 4.5, 0.5)
    sums = [[refused(n), opened(m)] for n, m in ((0, 0), (50, 250), (50, 300), (90, 340))]
    assert judged(steps(lengths, *([g for g in groups if g.connections] for groups in sums))) == [UNSURE]


@pytest.mark.parametrize(
    ("rule", "groups"),
    [
        ("connect-timeout", silent(60)),
        ("connect-slow", [*slow(60), opened(60)]),
        ("connect-refused", [initiated("not-sent", {0.0: 60})]),
        ("resets", [*cut(60), *closed(90)]),
        ("resets", [initiated("reset-received", {0.01: 60}), *closed(90)]),
        ("resets", [initiated("reset-received", {0.01: 60}, to=FAR_SERVER)]),
        ("resets", [early(60), *closed(90), TELLING]),
    ],
)
def test_of_three_readings_nobody_knows_whether_it_lasts_and_of_four_everybody(
    rule: str, groups: Sequence[ConnectionGroup]
) -> None:
    assert judged(node(*groups, moments=3), rule) == [UNSURE]
    ((severity, confidence),) = judged(node(*groups, moments=4), rule)
    assert (severity, confidence != "possible") == ("warning", True)


def resetting(*shares: float) -> Recording:
    """So much of a hundred until each reading, in steps of uneven length; of 250 connections the others are closed."""
    lengths, sums = AFTER_A_DEAR_FIRST, list[list[ConnectionGroup]]()
    for n, share in enumerate(shares):
        bad, made = round(100 * share), round(250 * sum(lengths[:n]) / sum(lengths))
        sums.append([*(cut(bad) if bad else ()), *(closed(made - bad) if made - bad else ())])
    return steps(lengths, *sums)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0, 0.6, 0.92, 1), ("warning", "proven")),
        ((0, 0.6, 1, 1), ("info", "possible")),  # none in the last step
        ((0, 0.6, 0.6, 0.75), ("info", "possible")),  # none between
    ],
)
def test_resets_of_two_parts_have_to_be_in_the_first_step_and_the_last(
    shares: Sequence[float], expected: tuple[str, str]
) -> None:
    assert said(resetting(*shares), "resets") == [("server-resets", *expected)]


@pytest.mark.parametrize("ending", ["client-aborts", "closed-early"])
def test_resets_of_other_kinds_are_as_sure_where_they_are_seen_at_both_ends(ending: str) -> None:
    def sums(n: int) -> list[ConnectionGroup]:
        bad = initiated("reset-sent", {0.0: 3 * n}) if ending == "client-aborts" else early(n)
        return [bad, *closed(2 * n), TELLING]

    lasting = steps(AFTER_A_DEAR_FIRST, [], *(sums(n) for n in (50, 75, 80)))
    assert [(f[0], f[2] != "possible") for f in said(lasting, "resets")] == [(ending, True)]
    over = steps(AFTER_A_DEAR_FIRST, [], sums(50), sums(75), [*sums(75)[:1], *closed(160), TELLING])
    assert [(f[0], f[2]) for f in said(over, "resets")] == [(ending, "possible")]
