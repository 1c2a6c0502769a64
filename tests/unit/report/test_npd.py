from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.finding import NotChecked
from whodunnet.report.npd import render_npd

from . import examples


@pytest.mark.parametrize(
    ("diagnosis", "line"),
    [
        (examples.incident_4(), "payments/foo (foo-health) leaks sockets to 203.0.113.9:8443"),
        (examples.healthy(), "no network fault found: 2 suspects ruled out in 5 s"),
        (examples.incomplete(), "not checked: rx-stall, keepalive-race, kernel-log"),
    ],
    ids=["finding", "healthy", "incomplete"],
)
def test_each_outcome_has_its_line(diagnosis: Diagnosis, line: str) -> None:
    assert render_npd(diagnosis) == line


def test_what_could_have_said_the_worst_comes_first() -> None:
    unread = NotChecked(rule="resets", code="not-collected", reason="a")
    diagnosis = examples.diagnosis(not_checked=(unread, msgspec.structs.replace(unread, rule="socket-leak")))
    assert render_npd(diagnosis) == "no network fault found, but not checked: socket-leak, resets"


@given(summary=st.text(st.characters(), max_size=200))
def test_the_line_is_at_most_80_bytes_of_clean_text(summary: str) -> None:
    finding = msgspec.structs.replace(examples.incident_4().findings[0], summary=summary)
    line = render_npd(examples.diagnosis(findings=(finding,)))
    assert len(line.encode()) <= 80
    assert line.isprintable()
