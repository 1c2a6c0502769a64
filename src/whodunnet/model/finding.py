"""What a rule answers: finding, cleared, not checked, not applicable (schema whodunnet/diagnosis/v1)."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Container, Pod, Process

Severity = Literal["critical", "warning", "info"]
Confidence = Literal["proven", "likely", "possible"]
PartyRole = Literal["culprit", "holder", "victim", "peer", "reader"]
Action = Literal[
    "capture", "restart-workload", "fix-application", "spread", "resize", "tune", "cordon", "reboot-node", "wait"
]
T = TypeVar("T")
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One reading that supports a finding or a clearing, and the command by which a person can repeat it."""

    statement: str
    value: float | int | str | None
    unit: str
    limit: float | int | None = None
    comparison: str | None = None
    source: str
    at: datetime
    boot_seconds: float | None = None
    repeat: str


ASKED_SERVICE: Final = "the Service that was asked for"
ASKED_NAMES: Final = "is asked for names, translated"
STANDS_FOR_OTHERS: Final = frozenset({ASKED_SERVICE, ASKED_NAMES})
"""Effects of an address that was seen translated to another: it is a Service's, and no pod has it."""


class Party(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whoever a finding concerns. A field that does not apply is left out; one that is unknown is null.

    cpus: those that the finding is about. device, queues: a network device, and receive queues of it by number.
    """

    role: PartyRole
    share: float | None | UnsetType = UNSET
    share_of: str | UnsetType = UNSET
    process: Process | None | UnsetType = UNSET
    container: Container | None | UnsetType = UNSET
    pod: Pod | None | UnsetType = UNSET
    unit: str | None | UnsetType = UNSET
    netns: int | None | UnsetType = UNSET
    node: str | UnsetType = UNSET
    cpus: tuple[int, ...] | UnsetType = UNSET
    endpoint: Endpoint | UnsetType = UNSET
    device: str | UnsetType = UNSET
    queues: tuple[int, ...] | UnsetType = UNSET
    sockets: int | UnsetType = UNSET
    entries: int | UnsetType = UNSET
    memory_bytes: int | UnsetType = UNSET
    effect: str | UnsetType = UNSET


def known(value: T | UnsetType | None) -> T | None:
    """None for what does not apply as well as for what is unknown."""
    return None if isinstance(value, UnsetType) else value


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: printed, never run."""

    action: Action
    do: str
    command: str | None
    effect: str
    risk: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that matched: a claim with confidence, evidence, parties and remedies.

    explanation: plain words for the text report (the kind of fault, the habit behind it, why it shows as it does).
    """

    id: str
    rule: str
    reason: str
    severity: Severity
    claim: str
    confidence: Confidence
    shape: str | None = None
    summary: str
    title: str
    since: datetime | None = None
    last_seen: datetime
    parties: tuple[Party, ...]
    evidence: tuple[Evidence, ...]
    caused_by: tuple[str, ...] = ()
    would_explain: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    explanation: tuple[str, ...] = ()


class Cleared(msgspec.Struct, frozen=True, kw_only=True):
    """A suspect ruled out, with the reading and what this window could have seen."""

    rule: str
    sensitivity: str
    evidence: tuple[Evidence, ...]


class NotChecked(msgspec.Struct, frozen=True, kw_only=True):
    """It could exist; we could not look."""

    rule: str
    code: str
    missing_capability: str | None = None
    reason: str


class NotApplicable(msgspec.Struct, frozen=True, kw_only=True):
    """It cannot exist here."""

    rule: str
    reason: str


Answer = Finding | Cleared | NotChecked | NotApplicable
