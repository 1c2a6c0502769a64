"""The published incidents, replayed. What must be said of each is in tests/fixtures/nodes/incident-*/expected.json."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.diagnosis import Diagnosis
from whodunnet.model.finding import Finding, Party
from whodunnet.model.kernel_log import KernelLog
from whodunnet.model.sockets import Endpoint, Sockets
from whodunnet.model.stalls import Stalls
from whodunnet.model.tcp_memory import TcpMemory
from whodunnet.model.workload import Container, Pod, Process
from whodunnet.recording.reader import load
from whodunnet.report.json import render_json
from whodunnet.report.npd import LIMIT_BYTES, render_npd
from whodunnet.report.text import render_text
from whodunnet.rules.catalogue import catalogue

NODES = Path(__file__).parents[1] / "fixtures/nodes"
INCIDENTS = (
    "incident-1-tcp-memory",
    "incident-2-stalls",
    "incident-3-conntrack",
    "incident-4-unclosed-bodies",
    "incident-5-keepalive",
)
PAGE = 4096


@pytest.fixture(scope="module", params=INCIDENTS)
def folder(request: pytest.FixtureRequest) -> Path:
    return NODES / str(request.param)


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    return found


@pytest.fixture(scope="module")
def diagnosis(folder: Path) -> Diagnosis:
    return diagnose(load(folder / "recording.jsonl"), list(catalogue()))


def test_an_incident_is_diagnosed_as_its_folder_says(diagnosis: Diagnosis, expected: dict[str, Any]) -> None:
    assert told(diagnosis) == {key: value for key, value in expected.items() if key != "text"}


def test_the_report_of_an_incident_tells_who_and_how_we_know(diagnosis: Diagnosis, expected: dict[str, Any]) -> None:
    text = text_of(diagnosis)
    for words in (*expected["text"], *(name for finding in expected["findings"] for name in names(finding))):
        assert words in text


def test_the_first_thing_to_do_about_an_incident_is_to_keep_the_evidence(diagnosis: Diagnosis) -> None:
    first, *others = diagnosis.findings[0].remedies
    text = text_of(diagnosis)
    assert first.action == "capture"
    assert first.command
    after = [text.index(" ".join(other.command.split())) for other in others if other.command]
    assert 0 < text.index(" ".join(first.command.split())) < min(after, default=len(text))


def test_no_remedy_of_an_incident_comes_before_the_evidence_is_kept(diagnosis: Diagnosis) -> None:
    for finding in diagnosis.findings:
        assert [r.action for r in finding.remedies].index("capture") == 0


def test_every_statement_about_an_incident_can_be_repeated(diagnosis: Diagnosis) -> None:
    for finding in diagnosis.findings:
        assert finding.evidence
        assert all(e.repeat and e.source and e.value is not None for e in finding.evidence)


def test_the_other_forms_of_the_report_name_the_same_culprit(diagnosis: Diagnosis) -> None:
    culprit = next(p for p in diagnosis.findings[0].parties if p.role == "culprit")
    name = culprit.pod.name if isinstance(culprit.pod, Pod) else party(culprit)["endpoint"]
    assert name
    assert name in render_json(diagnosis)
    assert name in render_npd(diagnosis)
    assert len(render_npd(diagnosis).encode()) <= LIMIT_BYTES


def test_the_report_of_an_incident_says_nothing_that_is_empty(diagnosis: Diagnosis) -> None:
    text = text_of(diagnosis)
    assert [words for words in ("unknown owner", "in 0 s", "nobody known", "None") if words in text] == []


def test_incident_1_has_the_published_figures() -> None:
    memory = load(NODES / "incident-1-tcp-memory/recording.jsonl").last(TcpMemory)
    assert memory is not None
    assert (memory.low_pages, memory.pressure_pages, memory.max_pages) == (43257, 57676, 86514)
    assert (memory.inuse_sockets, memory.orphans, memory.time_wait_sockets) == (24, 0, 58)
    assert (memory.alloc_sockets, memory.used_pages) == (863, 87916)


def test_incident_2_has_the_published_figures() -> None:
    sample = load(NODES / "incident-2-stalls/recording.jsonl").series(Stalls)
    waits = [round(1000 * stall.wait_seconds, 1) for _, reading in sample for stall in reading.stalls]
    assert {99.1, 107.2, 117.2, 127.3, 146.2, 150.2, 228.1} == set(waits)
    ends = {(stall.cpu, stall.end.task.thread) for _, reading in sample for stall in reading.stalls}
    assert ends == {(11, "ksoftirqd/11")}


def test_incident_3_has_the_published_figures() -> None:
    recording = load(NODES / "incident-3-conntrack/recording.jsonl")
    tracked, log = recording.last(Conntrack), recording.last(KernelLog)
    assert tracked is not None
    assert log is not None
    assert tracked.count == tracked.entries_read > 100_000
    assert tracked.timeouts["tcp_timeout_time_wait"] == 120
    assert all("nf_conntrack: table full, dropping packet" in line.text for line in log.lines)


def test_incident_4_has_the_published_figures() -> None:
    recording = load(NODES / "incident-4-unclosed-bodies/recording.jsonl")
    memory, sockets = recording.last(TcpMemory), recording.last(Sockets)
    assert memory is not None
    assert sockets is not None
    assert (memory.low_pages, memory.pressure_pages, memory.max_pages) == (4588506, 6118009, 9177012)
    sums: dict[int | None, int] = {}
    numbers: dict[int | None, int] = {}
    for g in sockets.groups:  # one process in each container
        sums[g.owner_pid] = sums.get(g.owner_pid, 0) + g.memory_bytes
        numbers[g.owner_pid] = numbers.get(g.owner_pid, 0) + g.sockets
    ordered = sorted(sums.values())
    assert len(ordered) == 23
    assert (ordered[0], ordered[19]) == (0, 57_344)
    assert ordered[20:] == [8_794_112, 449_998_848, 14_732_496_896]
    assert sorted(numbers.values())[-2:] == [1_167, 4_797]
    assert sum(ordered) // PAGE == 3_708_875


def test_a_recording_of_an_incident_is_small_enough_to_read(folder: Path) -> None:
    assert (folder / "recording.jsonl").stat().st_size < 100_000
    assert load(folder / "recording.jsonl").seconds >= 60


def told(diagnosis: Diagnosis) -> dict[str, Any]:
    """What expected.json compares: the claims, not the wording."""
    rules = {f.id: f.rule for f in diagnosis.findings}
    return {
        "outcome": diagnosis.outcome,
        "findings": [finding(f, rules) for f in diagnosis.findings],
        "cleared": [c.rule for c in diagnosis.cleared],
        "not_checked": [n.rule for n in diagnosis.not_checked],
        "not_applicable": [n.rule for n in diagnosis.not_applicable],
    }


def finding(f: Finding, rules: dict[str, str]) -> dict[str, Any]:
    return {
        **{name: getattr(f, name) for name in ("rule", "shape", "claim", "severity", "confidence")},
        "caused_by": [rules[id_] for id_ in f.caused_by],
        "would_explain": [rules[id_] for id_ in f.would_explain],
        "parties": [party(p) for p in f.parties],
        "remedies": [r.action for r in f.remedies],
        "restart": next((r.command for r in f.remedies if r.action == "restart-workload"), None),
    }


def party(p: Party) -> dict[str, Any]:
    told: dict[str, Any] = {"role": p.role}
    if isinstance(p.process, Process):
        told |= {"process": p.process.comm, "pid": p.process.pid}
    if isinstance(p.container, Container):
        told |= {"container": p.container.name, "image": p.container.image}
    if isinstance(p.pod, Pod):
        told["pod"] = f"{p.pod.namespace}/{p.pod.name}"
    if isinstance(p.sockets, int):
        told["sockets"] = p.sockets
    if isinstance(p.entries, int):
        told["entries"] = p.entries
    if isinstance(p.share, float):
        told["share"] = round(p.share, 2)
    if isinstance(p.endpoint, Endpoint):
        told["endpoint"] = f"{p.endpoint.address}:{p.endpoint.port}" if p.endpoint.port else p.endpoint.address
    return told


def names(finding: dict[str, Any]) -> list[str]:
    """Pods, or addresses of those who are not on the node."""
    return [p.get("pod", p.get("endpoint")) for p in finding["parties"] if p["role"] == "culprit"]


def text_of(diagnosis: Diagnosis) -> str:
    """The verbose report with all white space alike, so that line breaks hide nothing."""
    out = io.StringIO()
    render_text(diagnosis, verbose=True, console=Console(file=out, width=120, force_terminal=False))
    return " ".join(out.getvalue().split())
