"""The answer to an error as a person and as a program read it."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.diagnosis.engine import diagnose
from whodunnet.errors import UsageError
from whodunnet.model.snapshot import Recording
from whodunnet.recording.reader import load
from whodunnet.report.console import make_console
from whodunnet.report.schema import schema_of
from whodunnet.report.why import render_why, render_why_json
from whodunnet.rules.catalogue import catalogue
from whodunnet.why.document import Why, answer_why
from whodunnet.why.message import read_message
from whodunnet.why.subject import Subject, parse_endpoint, parse_pod

NODES = Path(__file__).parents[2] / "fixtures/nodes"
KEPT_TOO_LONG = load(NODES / "incident-5-keepalive/recording.jsonl")
FULL_TABLE = load(NODES / "incident-3-conntrack/recording.jsonl")
SERVER = "10.64.9.41:8000"
PIECES = [
    "dial tcp ",
    "10.64.9.41",
    ":8000",
    ": EOF",
    "\x1b[2J",
    "'",
    "$(x)",
    "\n",
    "lookup ",
    " on ",
    "\u202e",
    "[bold]",
]


def ask(found: Recording, text: str | None = None, **subject: str) -> Why:
    about = Subject(
        message=read_message(text) if text is not None else None,
        pod=parse_pod(subject["pod"]) if "pod" in subject else None,
        endpoint=parse_endpoint(subject["endpoint"]) if "endpoint" in subject else None,
    )
    return answer_why(about, found, diagnose(found, list(catalogue())))


def shown(why: Why, *, verbose: bool = False, width: int = 120) -> str:
    file = io.StringIO()
    console = make_console(file)
    console.width = width
    render_why(why, verbose=verbose, console=console)
    return file.getvalue()


def test_the_answer_stands_before_its_reasons_and_the_next_steps_after() -> None:
    text = shown(ask(KEPT_TOO_LONG, f'Get "http://{SERVER}/": EOF'))
    assert text.startswith(f'Asked        Get "http://{SERVER}/": EOF\nMeans        the other end closed before')
    places = [text.index(word) for word in ("EXPLAINED", "Because", "What to do", "Seen of it", "Watched", "Run cost")]
    assert places == sorted(places)
    assert "Because      it is about this very endpoint." in text
    assert "Look next" not in text


def test_what_was_ruled_out_is_shown_with_a_reading_and_where_to_look_with_a_command() -> None:
    text = shown(ask(KEPT_TOO_LONG, f"dial tcp {SERVER}: connect: connection refused"))
    assert "NOT HERE     Nothing found on this node explains it." in text
    assert "Ruled out    connect-refused: Connects that were answered: 47 connects" in text
    assert "Not seen     who listens there, its queues and its CPU: 10.64.9.41:8000 is not on this node" in text
    assert "\n             kubectl get pods -A -o wide --field-selector=status.podIP=10.64.9.41\n" in text
    assert "Also found   WARNING web/shop" in text


def test_verbose_says_what_could_have_been_missed() -> None:
    why = ask(KEPT_TOO_LONG, f"dial tcp {SERVER}: connect: connection refused")
    assert "this would have shown: " in shown(why, verbose=True)
    assert "this would have shown: " not in shown(why)


@pytest.mark.parametrize(
    ("subject", "head"),
    [
        ({"pod": "web/shop-7c4f9d6b5-m8k2t"}, "EXPLAINED    This was found on this node, and concerns it:"),
        ({"endpoint": SERVER}, "EXPLAINED    This was found on this node, and concerns it:"),
        ({"pod": "web/nobody"}, "NOT JUDGED   Nothing found explains it, and this is no all-clear."),
    ],
)
def test_a_pod_or_an_endpoint_is_asked_about_without_an_error(subject: dict[str, str], head: str) -> None:
    text = shown(ask(KEPT_TOO_LONG, **subject))
    assert head in text
    assert next(iter(subject.values())) in text.splitlines()[0]


def test_an_error_that_nothing_judges_is_said_to_be_one() -> None:
    text = shown(ask(KEPT_TOO_LONG, "upstream connect error. reset reason: overflow"))
    assert "No rule judges such an error." in text


@pytest.mark.parametrize("subject", [{"pod": "web/shop-7c4f9d6b5-m8k2t"}, {"endpoint": SERVER}])
def test_the_document_validates_with_the_diagnosis_in_it(subject: dict[str, str]) -> None:
    document = json.loads(render_why_json(ask(KEPT_TOO_LONG, "curl: (52) Empty reply from server", **subject)))
    jsonschema.validate(document, schema_of("why"))
    known = {finding["id"] for finding in document["diagnosis"]["findings"]}
    assert {e["finding"] for e in document["explained_by"]} <= known
    assert not jsonschema.Draft202012Validator(schema_of("why")).is_valid({**document, "answer": "maybe"})
    wrong = {**document["diagnosis"], "schema": "whodunnet/why/v1"}
    assert not jsonschema.Draft202012Validator(schema_of("why")).is_valid({**document, "diagnosis": wrong})


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12).map("".join))
def test_no_text_writes_anything_but_plain_lines(text: str) -> None:
    try:
        why = ask(FULL_TABLE, text)
    except UsageError:
        return
    for line in shown(why).splitlines():
        assert line.isprintable()
    json.loads(render_why_json(why))


def test_a_narrow_terminal_breaks_no_command() -> None:
    text = shown(ask(FULL_TABLE, "dial tcp: lookup db.example on 10.3.0.10:53: server misbehaving"), width=40)
    assert "kubectl get pods -A -o wide --field-selector=status.podIP=10.32.61.17\n" in text


def test_times_are_those_of_the_recording() -> None:
    assert datetime(2022, 3, 9, 14, 20, tzinfo=UTC) == ask(KEPT_TOO_LONG, endpoint=SERVER).diagnosis.window.end
