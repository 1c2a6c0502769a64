"""Every document that is printed or stored validates against the schema that is printed for it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest

from whodunnet.recording.header import Header
from whodunnet.report.owner_table import render_owner_json
from whodunnet.report.owners import tabulate
from whodunnet.report.schema import DOCUMENTS, schema_of

from .pairs import NODE, a_failure
from .populations import WORKLOADS, kernel_totals, population

NODES = sorted((Path(__file__).parents[2] / "fixtures/nodes").glob("*/recording.jsonl"))


def refused(document: object, name: str) -> bool:
    return not jsonschema.Draft202012Validator(schema_of(name)).is_valid(document)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_schema_is_a_schema_and_names_its_document(name: str) -> None:
    schema = schema_of(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == f"whodunnet/{name}/v1"
    assert refused({"schema": schema["title"]}, name)


def test_descriptions_have_no_indentation_of_the_source() -> None:
    parts = schema_of("diagnosis")["$defs"].values()
    assert not [p["description"] for p in parts if "\n " in p.get("description", "")]


def test_the_table_of_sockets_validates() -> None:
    sockets = population()
    table = tabulate(sockets, WORKLOADS, kernel_totals(sockets), population(leaked=1), top=3)
    document = json.loads(render_owner_json(table))
    jsonschema.validate(document, schema_of("sockets"))
    assert refused({**document, "schema": "whodunnet/sockets/v2"}, "sockets")
    assert refused({**document, "rows": None}, "sockets")


@pytest.mark.parametrize("path", NODES, ids=lambda path: path.parent.name)
def test_every_line_of_a_recording_validates(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) > 1
    validator = jsonschema.Draft202012Validator(schema_of("recording"))
    for line in lines:
        validator.validate(json.loads(line))


def test_what_is_written_to_a_recording_today_validates() -> None:
    validator = jsonschema.Draft202012Validator(schema_of("recording"))
    for part in (Header(node=NODE), *(snapshot for _, snapshot in a_failure())):
        validator.validate(json.loads(msgspec.json.encode(part)))
    assert refused({"at": {"wall": "2026-03-01T12:00:00Z", "boot_seconds": 1.0}}, "recording")
    assert refused({"schema": "whodunnet/recording/v2", "node": msgspec.to_builtins(NODE)}, "recording")
