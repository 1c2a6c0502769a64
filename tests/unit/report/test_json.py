from __future__ import annotations

import json
import re
from datetime import timedelta, timezone
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.diagnosis import Diagnosis
from whodunnet.report.json import encode, render_json
from whodunnet.report.schema import schema_of

from . import examples
from .golden import FIXTURES

ALL = [
    examples.incident_4,
    examples.incident_1,
    examples.two_faults,
    examples.healthy,
    examples.incomplete,
    examples.hostile,
]
TIMES = {"from", "to", "at", "since", "last_seen", "started"}


@pytest.mark.parametrize("example", ALL, ids=lambda f: f.__name__)
def test_a_rendered_document_validates_against_the_schema_and_decodes_again(example: Any) -> None:
    text = render_json(example())
    jsonschema.validate(json.loads(text), schema_of("diagnosis"))
    assert msgspec.json.decode(text, type=Diagnosis).outcome == example().outcome


def test_the_example_of_the_contract_is_a_diagnosis() -> None:
    contract = filled(json.loads((FIXTURES / "contract-example.json").read_text()))
    jsonschema.validate(contract, schema_of("diagnosis"))
    diagnosis = msgspec.convert(contract, Diagnosis)
    assert diagnosis.findings[0].parties[0].share == 0.91


def test_keys_come_in_the_order_of_the_contract() -> None:
    contract = json.loads((FIXTURES / "contract-example.json").read_text())
    document = json.loads(render_json(examples.incident_4()))
    assert_same_order(document, contract)


def test_times_are_utc_with_z() -> None:
    east = examples.NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    cause = msgspec.structs.replace(examples.incident_4().findings[0], last_seen=east, since=None)
    found = json.loads(render_json(examples.diagnosis(findings=(cause,))))["findings"][0]
    assert found["last_seen"] == "2022-03-09T03:12:54.000Z"
    assert found["since"] is None


def test_a_field_that_does_not_apply_is_left_out_and_one_that_is_unknown_is_null() -> None:
    culprit, peer, _ = json.loads(render_json(examples.incident_4()))["findings"][0]["parties"]
    assert culprit["unit"] is None
    assert set(peer) == {"role", "endpoint"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1 + 0.2, "0.3"),
        (345678.123456789, "345678.123457"),
        (0.00000123456789, "1.23457e-06"),
        (float("nan"), "null"),
        (float("inf"), "null"),
        (5.0, "5.0"),
    ],
)
def test_floats_are_rounded_but_never_to_nothing(value: float, shown: str) -> None:
    assert encode(value) == shown


@given(name=st.text(st.characters(), max_size=50))
def test_the_document_is_printable_ascii_and_loses_no_character(name: str) -> None:
    text = encode({"name": name})
    assert all((c.isascii() and c.isprintable()) or c == "\n" for c in text)
    assert json.loads(text)["name"] == re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", name)


def filled(value: Any, key: str = "") -> Any:
    """The contract's example with its '…' placeholders replaced by what belongs there."""
    if isinstance(value, dict):
        return {k: filled(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [filled(v) for v in value if v != "…"]
    return "2022-03-09T03:12:54Z" if value == "…" and key in TIMES else value


def assert_same_order(document: Any, contract: Any) -> None:
    if isinstance(document, dict) and isinstance(contract, dict):
        assert [k for k in document if k in contract] == [k for k in contract if k in document]
        for key in contract.keys() & document.keys():
            assert_same_order(document[key], contract[key])
    elif isinstance(document, list) and isinstance(contract, list):
        for ours, theirs in zip(document, contract, strict=False):
            assert_same_order(ours, theirs)
