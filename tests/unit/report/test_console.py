from __future__ import annotations

import io

import pytest

from whodunnet.report.console import make_console


def test_a_pipe_is_100_columns_wide_unless_columns_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert make_console(io.StringIO()).width == 100
    monkeypatch.setenv("COLUMNS", "72")
    assert make_console(io.StringIO()).width == 72


def test_an_output_that_knows_only_ascii_gets_question_marks_instead_of_an_error() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    make_console(out).print("≥ 5 s")
    out.flush()
    assert raw.getvalue() == b"? 5 s\n"
