"""Findings, and which of them is told as the cause of which."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from whodunnet.diagnosis.causes import link, rank
from whodunnet.model.finding import Confidence, Evidence, Finding, Party, PartyRole
from whodunnet.model.workload import Pod
from whodunnet.rules.tcp_memory import ABORTS_SOURCE

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def finding(id_: str, rule: str = "tcp-memory", *, parties: tuple[Party, ...] = (), **other: Any) -> Finding:
    fields: dict[str, Any] = {
        "reason": "Reason", "severity": "critical", "claim": "holds", "confidence": "proven", "summary": "s",
        "title": "t", "last_seen": AT, "evidence": (),
    }  # fmt: skip
    return Finding(id=id_, rule=rule, parties=parties, **{**fields, **other})


def leak(
    id_: str = "leak", *, share: float | None = 0.9, role: PartyRole = "culprit", confidence: Confidence = "proven",
    **other: Any,
) -> Finding:  # fmt: skip
    """A leak that would explain used up memory."""
    party = Party(role=role) if share is None else Party(role=role, share=share)
    fields = {"parties": (party,), "claim": "leaks", "would_explain": ("tcp-memory",), **other}
    return finding(id_, "socket-leak", confidence=confidence, **fields)


MEMORY = finding("memory")


def causes(*findings: Finding) -> dict[str, tuple[str, ...]]:
    return {f.id: f.caused_by for f in link(findings)}


def order(*findings: Finding) -> list[str]:
    return [f.id for f in rank(findings)]


POD = Pod(namespace="shop", name="web-1", uid="u1")


def counted(value: int, source: str = "s") -> Evidence:
    return Evidence(statement="counted", value=value, unit="packets", source=source, at=AT, repeat="cat it")


def full_memory(aborted: int | None, **other: Any) -> Finding:
    found = () if aborted is None else (counted(aborted, ABORTS_SOURCE),)
    return finding("memory", evidence=found, **{"would_explain": ("resets",), **other})
