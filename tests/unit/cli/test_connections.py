"""whodunnet connections as a user meets it, on readings made up here."""

from __future__ import annotations

import json
import os
import pty
import signal
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from whodunnet.cli import connections, main
from whodunnet.cli.ending import ENDING
from whodunnet.kernel.host import Place
from whodunnet.kernel.roots import Roots
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording

from ..report import connected
from .test_advice import SUPPORT

NO_RIGHT = {
    "method": "counters", "fallback_reason": "loading BPF programs is not permitted", "missing_capability": "CAP_BPF",
}  # fmt: skip
UNREAD = Failure(code="unreadable", reason="/proc/net/netstat: Permission denied")
Run = Callable[..., "Result"]


class Result(NamedTuple):
    status: int
    out: str
    err: str


class Watched:
    """A window that finds what the test has put here."""

    recording: Recording = connected.recording()
    windows: list[float] = []  # noqa: RUF012 - each test has its own
    wanted: Collection[str] = ()
    bpf = True
    place = Place(roots=Roots())
    support = SUPPORT
    during: Callable[[Callable[[float], None]], None] | None = None

    def __init__(self, wanted: Collection[str], *, bpf: bool = True) -> None:
        type(self).wanted, type(self).bpf = wanted, bpf

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def watch(self, seconds: float, sleep: Callable[[float], None] | None = None) -> None:
        type(self).windows.append(seconds)
        during = type(self).during
        if sleep is not None and during is not None:
            during(sleep)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr(connections, "Watch", Watched)
    monkeypatch.setattr(Watched, "recording", connected.recording())
    monkeypatch.setattr(Watched, "windows", [])
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["whodunnet", "connections", *arguments])
        with pytest.raises(SystemExit) as done:
            main.run()
        return Result(done.value.code or 0, *capsys.readouterr())  # type: ignore[arg-type]

    return call


def find(monkeypatch: pytest.MonkeyPatch, *groups: Any, **rest: Any) -> None:
    monkeypatch.setattr(Watched, "recording", connected.recording(groups, **rest))


def test_the_table_is_printed(run: Run) -> None:
    result = run()
    assert result.status == 0
    assert result.out.startswith("Window       10 s, by BPF\n")
    assert "closed by the server after 5.0 s idle, 412 of 430" in result.out
    assert Watched.windows == [10.0]
    assert set(Watched.wanted) == {"connections", "sockets", "conntrack", "addresses"}


def test_the_document_has_what_was_asked_for(run: Run) -> None:
    result = run(
        "--format", "json", "--by", "pair", "--sort", "failed", "--top", "2", "--failed", "--for", "5s", "--no-bpf"
    )
    document = json.loads(result.out)
    asked = (document["schema"], document["by"], document["sort"], document["failed_only"])
    assert asked == ("whodunnet/connections/v1", "pair", "failed", True)
    assert [row["counts"]["failed"] for row in document["rows"]] == [40, 8]
    assert (Watched.windows, Watched.bpf) == ([5.0], False)


def test_no_window_sees_nothing_and_is_refused_before_it_begins(run: Run) -> None:
    result = run("--for", "0s")
    assert (result.status, result.out, Watched.windows) == (2, "", [])
    assert "--for 10s" in result.err


def test_without_bpf_it_says_what_it_cannot_see_and_that_is_no_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(monkeypatch, **NO_RIGHT)
    result = run()
    assert result.status == 2
    assert "the kernel's counters alone: loading BPF programs is not permitted (needs CAP_BPF)" in result.out
    assert "Not seen     who connected to whom" in result.out
    assert result.err.startswith("More would be seen with: sudo whodunnet connections\nMissing here: ")
    assert json.loads(run("--format", "json").out)["blind"]["missing_capability"] == "CAP_BPF"


def test_what_cannot_be_read_at_all_is_one_sentence_and_what_would_help(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(monkeypatch, connections=UNREAD)
    result = run()
    assert (result.status, result.out) == (2, "")
    assert result.err == f"whodunnet: how connections begin and end cannot be read: {UNREAD.reason}\n"


def test_nothing_that_happened_is_an_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    find(monkeypatch)
    result = run()
    assert (result.status, result.err) == (0, "")
    assert "0 opened, 0 ended" in result.out


@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        (["--by", "colour"], connections.VIEWS),
        (["--sort", "name"], connections.SORTS),
        (["--top", "0"], ["1<=x<=100000"]),
        (["--format", "npd"], ["text", "json"]),
        (["--for", "soon"], ["500ms"]),
        (["--pods", "/nowhere/pods.json"], ["--pods /nowhere/pods.json", "No such file"]),
        (["tcp"], ["tcp"]),
    ],
)
def test_what_is_not_accepted_is_told_what_is(run: Run, arguments: list[str], accepted: Collection[str]) -> None:
    result = run(*arguments)
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert not [word for word in accepted if word not in result.err]


def test_pods_of_other_nodes_are_named(run: Run, tmp_path: Path) -> None:
    item = {"kind": "Pod", "metadata": {"name": "prometheus-0", "namespace": "monitoring"}, "spec": {},
            "status": {"phase": "Running", "podIP": "10.244.3.77"}}  # fmt: skip
    path = tmp_path / "pods.json"
    path.write_text(json.dumps({"kind": "List", "items": [item]}))
    assert "monitoring/prometheus-0 (10.244.3.77), not on this node" in run("--pods", str(path)).out


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_signal_ends_the_window_early_with_what_there_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def during(sleep: Callable[[float], None]) -> None:
        signal.pthread_kill(threading.get_ident(), number)  # held back until it waits
        sleep(60.0)
        raise AssertionError("the signal was not let in")

    monkeypatch.setattr(Watched, "during", staticmethod(during))
    result = run("--for", "1h")
    assert result.status == 0
    assert "462" in result.out
    assert Watched.windows == [3600.0, 0.0]  # the second takes what came since the last snapshot


def test_on_a_terminal_it_says_that_it_watches_and_how_to_end_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        said = bytearray()

        def read_line() -> None:
            while not said.endswith(b"\n"):
                said.extend(os.read(ours, 4096))

        thread = threading.Thread(target=read_line)
        thread.start()
        run("--for", "2m", "--format", "json")
        thread.join(10)
    os.close(ours)
    # One read may have what was said afterwards as well.
    assert said.startswith(b"Watching connections for 2 min; Ctrl-C ends it early.\r\n")
