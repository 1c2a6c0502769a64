from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from whodunnet.report.chart import make_chart
from whodunnet.report.chart_text import render_terminal

from .golden import compare, printed
from .histories import GIB, LIMITS, MIB, Reading, night, reading


def terminal(readings: Any, width: int, height: int = 24, **rest: Any) -> str:
    found = make_chart(readings, **({"what": "tcp-memory", "by": "container", "top": 8} | rest))
    return printed(
        lambda console: render_terminal(found, console),
        width,
        height=height,
        force_terminal=True,
        color_system=None,
        _environ={},
    )


def piped(readings: Any, width: int = 100, **rest: Any) -> str:
    found = make_chart(readings, **({"what": "tcp-memory", "by": "container", "top": 8} | rest))
    return printed(lambda console: render_terminal(found, console), width)


def test_a_small_terminal_reads_as_its_golden_file_says() -> None:
    compare("plot.80", terminal(night(every=60), 80))


def test_a_piped_chart_of_sockets_reads_as_its_golden_file_says() -> None:
    compare("plot-sockets.100", piped(night(every=60), what="sockets", by="pod"))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 50), (200, 60)])
def test_the_chart_fits_the_terminal(width: int, height: int) -> None:
    lines = terminal(night(every=60), width, height).splitlines()
    assert len(lines) < height
    assert all(cell_len(line) <= width for line in lines)


def test_without_colour_every_owner_that_fills_a_line_has_its_letter() -> None:
    readings = [reading(n * 10, {"a": 3 * GIB, "b": 2 * GIB, "c": 1 * GIB}, limits=LIMITS) for n in range(90)]
    lines = terminal(readings, 80).splitlines()
    column = "".join(line.ljust(80)[60] for line in lines if "│" in line)
    assert [column.count(letter) > 0 for letter in "ABCD"] == [True, True, True, False]
    assert column.index("C") < column.index("B") < column.index("A")


def test_limits_are_dashed_lines_with_their_names() -> None:
    lines = piped(night(every=60)).splitlines()
    for name in ("max 8.0 GiB", "pressure 6.0 GiB", "low 4.0 GiB"):
        (line,) = [line for line in lines if line.lstrip().startswith(name)]
        assert line.count("╌") > 30


def test_a_gap_is_empty_and_a_reboot_a_line() -> None:
    def at(seconds: float) -> Reading:
        late = seconds >= 700
        return reading(seconds, {"a": GIB}, boot="b2" if late else "b1", booted=690 if late else 0)

    grid = [
        line.partition("│")[2] for line in piped([at(s) for s in range(0, 1000, 5) if not 300 < s < 500]).splitlines()
    ]
    lowest = [line for line in grid if line][-1]
    assert "A  " in lowest
    assert "  A" in lowest
    assert [line for line in grid if "┆" in line]


def test_colour_is_used_where_there_is_some() -> None:
    found = make_chart([reading(0, {"a": GIB})], what="tcp-memory", by="pod", top=8)
    text = printed(
        lambda console: render_terminal(found, console), 80, force_terminal=True, color_system="truecolor", _environ={}
    )
    assert "\x1b[38;2;255;255;255;48;2;0;114;178mA" in text


def test_a_single_snapshot_can_be_printed() -> None:
    assert "A" in piped([reading(0, {"a": 40 * MIB}, limits=LIMITS)])


@given(name=st.text(st.characters(), max_size=300), width=st.integers(60, 130))
def test_no_control_character_of_a_name_reaches_the_terminal(name: str, width: int) -> None:
    text = piped([reading(n, {name: GIB * n}, limits=LIMITS) for n in range(3)], width, by="pod")
    assert all(c.isprintable() or c == "\n" for c in text)
