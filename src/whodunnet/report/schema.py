"""JSON Schema (draft 2020-12) of every document, generated from the model."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.snapshot import Snapshot
from whodunnet.recording.header import SCHEMA, Header
from whodunnet.report.comparison import Comparison
from whodunnet.report.connections import CONNECTIONS_SCHEMA, ConnectionTable
from whodunnet.report.flow_events import SCHEMA as EVENT_SCHEMA
from whodunnet.report.flow_events import FlowLine, Lost, NotShown, WatchSummary
from whodunnet.report.flows import FlowTable
from whodunnet.report.owners import OwnerTable
from whodunnet.report.stalls import SCHEMA as STALL_SCHEMA
from whodunnet.report.stalls import NotShown as StallsNotShown
from whodunnet.report.stalls import StallLine, StallSummary
from whodunnet.why.document import WHY_SCHEMA, Why

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENTS: dict[str, tuple[str, tuple[type[msgspec.Struct], ...]]] = {
    "diagnosis": ("whodunnet/diagnosis/v1", (Diagnosis,)),
    "sockets": ("whodunnet/sockets/v1", (OwnerTable,)),
    "connections": (CONNECTIONS_SCHEMA, (ConnectionTable,)),
    "conntrack": ("whodunnet/conntrack/v1", (FlowTable,)),
    "conntrack-event": (EVENT_SCHEMA, (FlowLine, NotShown, Lost, WatchSummary)),
    "stall": (STALL_SCHEMA, (StallLine, StallsNotShown, StallSummary)),
    "comparison": ("whodunnet/comparison/v1", (Comparison,)),
    "why": (WHY_SCHEMA, (Why,)),
    "recording": (SCHEMA, (Header, Snapshot)),
}
"""Name -> schema, and what a document may be.

A recording is several, one a line: a header, then snapshots. So is what a watch prints.
"""


def schema_of(name: str) -> dict[str, Any]:
    """The schema of a document: of each line, where it is a recording in JSON lines."""
    title, types = DOCUMENTS[name]
    roots, parts = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    for part in parts.values():
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])
        named = part.get("properties", {}).get("schema")
        if named is not None:  # a document within another keeps its own
            part["properties"]["schema"] = {"const": named.get("default", title)}
    root = dict(roots[0]) if len(roots) == 1 else {"anyOf": list(roots)}
    return {"$schema": DIALECT, "title": title, **root, "$defs": parts}
