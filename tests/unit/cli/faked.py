"""The command line, called without a look at the machine: a faked window and diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import NamedTuple

from whodunnet import __version__
from whodunnet.kernel.host import Place
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.diagnosis import Cost, Diagnosis, Outcome, Tool, Window
from whodunnet.model.finding import Cleared, Finding, NotChecked, Severity
from whodunnet.model.snapshot import Node, Recording
from whodunnet.rules.overrides import NONE

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
Run = Callable[..., "Result"]


class Result(NamedTuple):
    status: int
    out: str
    err: str


class FakeWatch:
    """A window that looks at nothing."""

    place = Place(roots=Roots())
    support = Support(
        capabilities=frozenset(), euid=0, kernel="6", hostname="n1", boot_id="b", page_size_bytes=4096, possible_cpus=1,
        btf=True, lockdown=None, virtual_machine=None, pid_namespace_depth=0, cgroup_layout=None,
    )  # fmt: skip
    recording = Recording(node=Node(hostname="n1", kernel="6", boot_id="b"), snapshots=())
    failure: BaseException | None = None
    wanted: Collection[str] = ()
    bpf = True
    active = False

    def __init__(self, wanted: Collection[str], *, bpf: bool = True, active: bool = False) -> None:
        type(self).wanted, type(self).bpf, type(self).active = wanted, bpf, active

    def __enter__(self) -> FakeWatch:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def standing(self) -> object:
        raise AssertionError("only the text report shows what stands")

    def watch(self, seconds: float, **_: bool) -> None:
        assert seconds >= 0
        if self.failure is not None:
            raise self.failure


class Faked:
    """What the faked diagnosis will be, and what was asked for."""

    def __init__(self) -> None:
        self.diagnosis = diagnosis("healthy")
        self.rules: list[str] = []
        self.required: list[str] = []
        self.overrides = NONE


def finding(severity: Severity) -> Finding:
    return Finding(
        id="socket-leak:1", rule="socket-leak", reason="SocketLeak", severity=severity, claim="leaks",
        confidence="likely", summary="somebody leaks", title="somebody leaks", last_seen=NOW, parties=(), evidence=(),
    )  # fmt: skip


def diagnosis(outcome: Outcome, *severities: Severity) -> Diagnosis:
    return Diagnosis(
        tool=Tool(__version__),
        node=Node(hostname="n1", kernel="6", boot_id="b"),
        window=Window(start=NOW, end=NOW, seconds=3.0, snapshots=4),
        outcome=outcome,
        findings=tuple(finding(severity) for severity in severities),
        cleared=(Cleared(rule="tcp-memory", sensitivity="now", evidence=()),) if outcome != "incomplete" else (),
        not_checked=(NotChecked(rule="tcp-memory", code="unreadable", reason="no"),) if outcome == "incomplete" else (),
        not_applicable=(),
        cost=Cost(wall_seconds=3.0, cpu_seconds=0.1, peak_rss_bytes=1, collectors={}),
    )


def assert_one_sentence(result: Result, *accepted: str) -> None:
    """Nothing on standard output, one line on standard error that names what is accepted."""
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("whodunnet: ")
    assert result.err.count("\n") == 1
    for name in accepted:
        assert name in result.err
