import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.cli.duration import LONGEST_SECONDS, UNITS, Duration


def converted(text: str) -> float:
    return Duration().convert(text, None, None)


@given(st.integers(0, 86_400_000), st.sampled_from(sorted(UNITS)))
def test_a_whole_number_of_units_is_that_many_seconds(number: int, unit: str) -> None:
    seconds = number * UNITS[unit]
    if seconds <= LONGEST_SECONDS:
        assert converted(f"{number}{unit}") == pytest.approx(seconds)
    else:
        with pytest.raises(click.BadParameter, match="longer than a day"):
            converted(f"{number}{unit}")


@given(st.decimals(0, 1000, places=3))
def test_a_number_without_a_unit_is_seconds(number: object) -> None:
    assert converted(str(number)) == pytest.approx(float(str(number)))
    assert converted(f"{number}s") == converted(str(number))


@given(st.floats(0, LONGEST_SECONDS).map(lambda seconds: f"{seconds:.3f}"))
def test_any_fraction_up_to_a_day_is_accepted(text: str) -> None:
    assert 0 <= converted(text) <= LONGEST_SECONDS


@given(st.text())
def test_any_text_is_a_length_of_time_or_refused_in_one_sentence(text: str) -> None:
    refused = ""
    try:
        assert 0 <= converted(text) <= LONGEST_SECONDS
    except click.BadParameter as error:
        refused = error.message
    assert refused.isprintable()


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "+1s", "1 s", "1w", "1S", "1e3", "nan", "inf", ".5s", "1.s", "1,5s", "0x1s", " 3s", "3s\n"]
)
def test_a_length_that_is_none_says_how_to_write_one(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no length of time; write for example 500ms, 3s, 2m or 1h"):
        converted(text)


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("500ms", 0.5), ("1.5m", 90), ("24h", 86400), ("0", 0)])
def test_lengths_as_people_write_them(text: str, seconds: float) -> None:
    assert converted(text) == pytest.approx(seconds)
