"""How much a live view prints, and how much CPU it takes, in one second."""

from __future__ import annotations

from whodunnet.cli.pace import LineLimit, Rest


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_beyond_the_limit_are_counted_and_told_once_when_their_second_is_over() -> None:
    clock = Clock()
    limit = LineLimit(2, clock)
    assert [limit.has_room(kind) for kind in ("new", "gone", "new", "gone", "new")] == [True, True, False, False, False]
    assert limit.hidden() is None
    clock.now += 1
    assert limit.hidden() == {"new": 2, "gone": 1}
    assert limit.hidden() is None
    assert limit.has_room("new")


def test_every_second_has_room_again_however_long_it_was_quiet() -> None:
    clock = Clock()
    limit = LineLimit(1, clock)
    for _ in range(3):
        clock.now += 1.5
        assert [limit.has_room("new"), limit.has_room("new")] == [True, False]
    assert limit.hidden(at_end=True) == {"new": 3}


def test_nobody_rests_below_the_share_and_who_is_above_rests_until_the_second_is_over() -> None:
    clock, cpu = Clock(), Clock()
    rest = Rest(0.5, clock, cpu)
    clock.now, cpu.now = 100.6, 100.4
    assert rest.seconds() == 0
    cpu.now = 100.5
    assert round(rest.seconds(), 6) == 0.4
    clock.now = 101.0
    assert rest.seconds() == 0
    cpu.now = 101.1
    assert round(rest.seconds(), 6) == 1.0
