from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from whodunnet.report.layout import Sheet, styled, wrap

from .golden import printed


def lines(text: str, room: int) -> list[str]:
    return [line.plain for line in wrap(styled(text), room, Console(width=room))]


def test_a_number_stays_with_its_unit() -> None:
    assert lines("it holds 35.4 GiB of memory", 13) == ["it holds", "35.4 GiB of", "memory"]
    assert lines("it began 3 h 18 min ago", 18) == ["it began", "3 h 18 min ago"]


def test_an_identifier_may_end_a_line() -> None:
    assert lines("in netns 12 (shop/web-0)", 12) == ["in netns 12", "(shop/web-0)"]


def test_a_word_longer_than_the_line_is_folded_and_nothing_of_it_is_lost() -> None:
    assert lines("a" * 25, 10) == ["a" * 10, "a" * 10, "a" * 5]


def test_empty_text_is_one_empty_line() -> None:
    assert lines("", 10) == [""]


@given(
    text=st.text(st.characters(exclude_categories=("C", "Z", "M")) | st.just(" "), max_size=80), room=st.integers(2, 40)
)
def test_lines_fit_and_keep_every_word(text: str, room: int) -> None:
    wrapped = lines(text, room)
    assert all(cell_len(line) <= room for line in wrapped)
    assert "".join(wrapped).replace(" ", "") == text.replace(" ", "")


def test_following_lines_hang_below_the_first_word() -> None:
    text = printed(lambda c: Sheet(c, 2).write("one two three four five six", lead=("Label", "bold"), hang=8), 34)
    assert text.splitlines() == ["  Label   one two three four five", "          six"]


def test_a_command_is_never_wrapped() -> None:
    command = "echo " + "x" * 300
    assert printed(lambda c: Sheet(c).command(command, 4), 40) == f"    {command}\n"
