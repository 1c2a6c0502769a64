"""whodunnet conntrack as a user meets it, on readings made up here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from whodunnet.cli import conntrack, conntrack_watch, main
from whodunnet.errors import UnreadableError
from whodunnet.kernel.host import Place
from whodunnet.kernel.roots import Roots
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.report.pod_names import PodNames

from ..report import tracked
from ..report.tracked import reading, recording
from .test_advice import SUPPORT

NO_RIGHT = Failure(code="missing-capability", reason="needs CAP_NET_ADMIN", missing_capability="CAP_NET_ADMIN")
Run = Callable[..., "Result"]


class Result(NamedTuple):
    status: int
    out: str
    err: str


class Watched:
    """A window that finds what the test has put here."""

    recording: Recording = tracked.two()
    seconds: float = -1.0
    wanted: Collection[str] = ()
    bpf = True
    place = Place(roots=Roots())
    support = SUPPORT

    def __init__(self, wanted: Collection[str], *, bpf: bool = True) -> None:
        type(self).wanted, type(self).bpf = wanted, bpf

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def watch(self, seconds: float) -> None:
        type(self).seconds = seconds


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr(conntrack, "Watch", Watched)
    monkeypatch.setattr(Watched, "recording", tracked.two())
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["whodunnet", "conntrack", *arguments])
        with pytest.raises(SystemExit) as done:
            main.run()
        return Result(done.value.code or 0, *capsys.readouterr())  # type: ignore[arg-type]

    return call


def find(monkeypatch: pytest.MonkeyPatch, *samples: Any) -> None:
    monkeypatch.setattr(Watched, "recording", recording(*(reading(sample) for sample in samples)))


def test_the_table_is_printed(run: Run) -> None:
    result = run()
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("Table        33,234 of 262,144 entries (12 %)")
    assert Watched.seconds == 0.0
    assert set(Watched.wanted) == {"conntrack", "addresses", "sockets"}


def test_the_document_has_what_was_asked_for(run: Run) -> None:
    result = run("--format", "json", "--by", "source", "--sort", "unreplied", "--top", "2", "--for", "5s", "--no-bpf")
    document = json.loads(result.out)
    assert (document["schema"], document["by"], document["sort"]) == ("whodunnet/conntrack/v1", "source", "unreplied")
    assert [row["subject"]["address"] for row in document["rows"]] == ["10.244.1.13", "10.244.1.12"]
    assert (Watched.seconds, Watched.bpf) == (5.0, False)


def test_growth_takes_a_window_of_its_own(run: Run) -> None:
    assert run("--sort", "growth").status == 0
    assert Watched.seconds == conntrack.GROWTH_SECONDS
    refused = run("--sort", "growth", "--for", "0s")
    assert refused.status == 0  # there are two readings here, however long the window was


def test_growth_in_no_window_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    find(monkeypatch, tracked.table())
    result = run("--sort", "growth", "--for", "0s")
    assert (result.status, result.out) == (2, "")
    assert "needs two readings" in result.err


def test_where_nothing_is_tracked_one_sentence_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    find(monkeypatch, Conntrack(loaded=False))
    result = run()
    assert (result.status, result.err, result.out.count("\n")) == (0, "", 1)
    assert "nf_conntrack is not loaded" in result.out
    assert json.loads(run("--format", "json").out)["loaded"] is False


def test_a_table_that_cannot_be_read_is_one_sentence_and_what_would_help(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(monkeypatch, NO_RIGHT)
    result = run()
    assert (result.status, result.out) == (2, "")
    first, advised, *_ = result.err.splitlines()
    assert first == "whodunnet: the table of tracked connections cannot be read: needs CAP_NET_ADMIN"
    assert advised == "More would be seen with: sudo whodunnet conntrack"
    assert "Missing here: CAP_NET_ADMIN, " in result.err


def test_the_newest_reading_counts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    find(monkeypatch, tracked.table(), NO_RIGHT)
    assert run().status == 2


def test_entries_that_cannot_be_read_are_counted_all_the_same_and_are_no_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(monkeypatch, tracked.table(groups=(), dump_failure=NO_RIGHT, method=None))
    result = run()
    assert result.status == 2
    assert "only counted: needs CAP_NET_ADMIN" in result.out
    assert result.err.startswith("More would be seen with: sudo whodunnet conntrack\nMissing here: CAP_NET_ADMIN, ")
    assert run("--by", "netns").status == 0


@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        (["--by", "colour"], conntrack.VIEWS),
        (["--sort", "name"], conntrack.SORTS),
        (["--top", "0"], ["1<=x<=100000"]),
        (["--format", "npd"], ["text", "json"]),
        (["--pods", "/nowhere/pods.json"], ["--pods /nowhere/pods.json", "No such file"]),
        (["tcp"], ["'tcp'", "--watch", "--by"]),
        (["--watch", "--by", "pod"], ["--by", "FILTER"]),
        (["--watch", "--top", "20"], ["--top"]),
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


def test_watching_gets_filters_names_time_and_form(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "pods.json"
    path.write_text('{"kind": "List", "items": [{"metadata": {"name": "a"}, "status": {"podIP": "10.0.0.1"}}]}')
    asked: list[Any] = []
    monkeypatch.setattr(conntrack_watch, "watch", lambda *arguments: asked.extend(arguments))
    assert run("--watch", "--pods", str(path), "--for", "2s", "--format", "json", "udp", "53") == (0, "", "")
    filters, pods, seconds, form = asked
    assert (filters, seconds, form) == (("udp", "53"), 2.0, "json")
    assert isinstance(pods, PodNames)
    assert len(pods.of("10.0.0.1")) == 1


def test_a_watch_without_the_right_to_it_says_which_and_judges_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def subscribe(_: Roots) -> None:
        raise UnreadableError("Operation not permitted", "missing-capability", "CAP_NET_ADMIN")

    monkeypatch.setattr(conntrack_watch, "find_place", lambda: Place(roots=Roots()))
    monkeypatch.setattr(conntrack_watch, "read_support", lambda _: SUPPORT)
    monkeypatch.setattr(conntrack_watch, "subscribe", subscribe)
    result = run("--watch", "port=53")
    assert (result.status, result.out) == (2, "")
    assert result.err.splitlines()[:2] == [
        "whodunnet: tracked connections cannot be watched: Operation not permitted (needs CAP_NET_ADMIN)",
        "More would be seen with: sudo whodunnet conntrack --watch port=53",
    ]
    assert "judge" not in result.err
