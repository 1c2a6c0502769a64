"""Sizes as a person types them."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.cli.size import Size


@pytest.mark.parametrize(
    ("text", "means"), [("200MB", 2 * 10**8), ("1GiB", 2**30), ("1.5G", 15 * 10**8), ("2000000", 2_000_000)]
)
def test_sizes_as_people_write_them(text: str, means: int) -> None:
    assert Size(10**6).convert(text, None, None) == means


@pytest.mark.parametrize("text", ["", "MB", "1TB", "-1MB", "1e9", "nan", "1 000MB", "mb"])
def test_a_size_that_is_none_says_how_to_write_one(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size; write for example 500MB or 1GiB"):
        Size(10**6).convert(text, None, None)


def test_a_size_that_is_too_small_says_how_much_is_needed() -> None:
    with pytest.raises(click.BadParameter, match=r"is less than a recording needs \(1MB\)"):
        Size(10**6).convert("999kB", None, None)


@given(st.text())
def test_any_text_is_a_size_or_refused_in_one_sentence(text: str) -> None:
    refused = ""
    try:
        assert Size(0).convert(text, None, None) >= 0
    except click.BadParameter as error:
        refused = error.message
    assert refused.isprintable()
