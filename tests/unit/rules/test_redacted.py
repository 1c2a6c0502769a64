"""A redacted recording is judged like the original: only names differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from msgspec import UNSET
from msgspec.structs import replace

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.finding import Finding, Party
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.sockets import Endpoint, SocketGroup, Sockets
from whodunnet.model.workload import Process, Workload, Workloads
from whodunnet.recording.reader import load
from whodunnet.recording.redact import Redactor
from whodunnet.rules.catalogue import catalogue

from .arbitrary import recordings
from .nodes import moment

NODES = Path(__file__).parents[2] / "fixtures/nodes"
INCIDENTS = (
    "incident-1-tcp-memory",
    "incident-2-stalls",
    "incident-3-conntrack",
    "incident-4-unclosed-bodies",
    "incident-5-keepalive",
)
NAMES = ("process", "container", "pod", "unit")


@pytest.fixture(scope="module", params=INCIDENTS)
def incident(request: pytest.FixtureRequest) -> Recording:
    return load(NODES / str(request.param) / "recording.jsonl")


def test_an_incident_is_judged_alike_with_pseudonyms_in_place_of_names(incident: Recording) -> None:
    assert any("rule" in told for told in judged(incident))
    assert_judged_alike(incident)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(recordings())
def test_any_node_is_judged_alike_with_pseudonyms_in_place_of_names(node: Recording) -> None:
    assert_judged_alike(node)


def assert_judged_alike(recording: Recording, rules: Sequence[str] = tuple(catalogue())) -> None:
    redactor = Redactor(b"a key for tests.")
    node = redactor.node(recording.node)
    snapshots = tuple(map(redactor.snapshot, recording.snapshots))
    after = judged(replace(recording, node=node, snapshots=snapshots), rules)
    before = judged(recording, rules, redactor)
    differing = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
    assert differing[:1] == []


def judged(
    recording: Recording, rules: Sequence[str] = tuple(catalogue()), redactor: Redactor | None = None
) -> list[dict[str, Any]]:
    """Everything a diagnosis says but the words in which names are. redactor: gives the parties their pseudonyms."""
    diagnosis = diagnose(recording, rules)
    places = {f.id: n for n, f in enumerate(diagnosis.findings)}
    told = [finding(f, places, redactor) for f in diagnosis.findings]
    for c in diagnosis.cleared:
        told.append({"cleared": c.rule, "evidence": [(e.value, e.limit, e.comparison, e.at) for e in c.evidence]})
    for n in diagnosis.not_checked:
        told.append({"not checked": n.rule, "code": n.code, "missing": n.missing_capability})
    return [*told, {"outcome": diagnosis.outcome, "window": diagnosis.window, "limits": len(diagnosis.limits)}]


def finding(f: Finding, places: dict[str, int], redactor: Redactor | None) -> dict[str, Any]:
    same = ("rule", "reason", "severity", "claim", "confidence", "shape", "since", "last_seen")
    return {
        **{field: getattr(f, field) for field in same},
        "parties": [party(p, redactor) for p in f.parties],
        "evidence": [(e.value, e.unit, e.limit, e.comparison, e.at, e.boot_seconds) for e in f.evidence],
        "remedies": [(r.action, r.do, r.command is None, r.effect, r.risk) for r in f.remedies],
        "explanation": len(f.explanation),
        "caused by": [places[i] for i in f.caused_by],
        "would explain": [places[i] for i in f.would_explain],
    }


def party(p: Party, redactor: Redactor | None) -> dict[str, Any]:
    """All of its fields; the node is one."""
    told = {field: getattr(p, field) for field in p.__struct_fields__}
    told["node"], told["device"] = p.node is not UNSET, p.device is not UNSET
    if redactor is not None:
        known = {name: told[name] for name in NAMES if told[name] not in (UNSET, None)}
        redacted = workload(Workload(**known), redactor)
        told |= {name: getattr(redacted, name) for name in known}
        if isinstance(p.process, Process) and p.process.comm == f"pid {p.process.pid}":
            told["process"] = p.process  # named by the rule: nobody was found
        if isinstance(p.endpoint, Endpoint):
            told["endpoint"] = endpoint(p.endpoint, redactor)
    return told


def workload(owner: Workload, redactor: Redactor) -> Workload:
    snapshot = Snapshot(at=moment(0), samples={"workloads": Workloads(by_pid={1: owner})})
    found = redactor.snapshot(snapshot).samples["workloads"]
    assert isinstance(found, Workloads)
    return found.by_pid[1]


def endpoint(end: Endpoint, redactor: Redactor) -> Endpoint | None:
    one = SocketGroup(
        netns=1, protocol="tcp", state="established", role="initiated", holding="kernel", sockets=1, endpoint=end
    )
    found = redactor.snapshot(
        Snapshot(at=moment(0), samples={"sockets": Sockets(method="bpf", groups=(one,))})
    ).samples["sockets"]
    assert isinstance(found, Sockets)
    return found.groups[0].endpoint
