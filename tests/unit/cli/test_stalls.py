"""whodunnet stalls as a user meets it, on stalls made up here."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import pytest

from whodunnet.cli import main, stalls
from whodunnet.cli.ending import ENDING
from whodunnet.errors import UnreadableError
from whodunnet.kernel.host import Place
from whodunnet.kernel.roots import Roots
from whodunnet.model.stalls import CpuDelays, Holder, Stack, Stall, Stalls, Task, delay_spans
from whodunnet.model.workload import Process, Workload, Workloads

from .test_advice import SUPPORT

Run = Callable[..., "Result"]
TASK = Task(pid=412, tid=412, comm="cadvisor", thread="cadvisor", process_started_seconds=10.0)
KSOFTIRQD = Task(
    pid=21, tid=21, comm="ksoftirqd/1", thread="ksoftirqd/1", process_started_seconds=1.0, kernel_thread=True,
    duty="softirqs",
)  # fmt: skip


class Result(NamedTuple):
    status: int
    out: str
    err: str


def stall(wait: float = 0.15, cpu: int = 1) -> Stall:
    held = Holder(
        task=TASK, mode="kernel", system_call="read", samples=37, seconds=0.148, stayed=True,
        stacks=(Stack(functions=("mem_cgroup_iter",), samples=37),),
    )  # fmt: skip
    end = Holder(task=KSOFTIRQD, mode="kernel", samples=1, seconds=0.0)
    return Stall(ended_boot_seconds=0.0, cpu=cpu, kind="late", wait_seconds=wait, end=end, holders=(held,),
                 samples=37, expected_samples=37)  # fmt: skip


class Collector:
    """Has the readings that the test put here, the first before anything was watched."""

    readings: ClassVar[list[tuple[Stall, ...]]] = []
    lost: ClassVar[list[int]] = []
    error: ClassVar[UnreadableError | None] = None
    during: ClassVar[Callable[[], None] | None] = None
    thresholds: ClassVar[list[float]] = []
    closed: ClassVar[list[bool]] = []

    def __init__(self, *_: object, threshold_seconds: float) -> None:
        self.thresholds.append(threshold_seconds)
        self.read = 0

    def collect(self) -> Stalls:
        if self.error is not None:
            raise self.error
        self.read += 1
        found = self.readings.pop(0) if self.readings else ()
        return Stalls(
            stalls=found, watched_seconds=float(self.read), threshold_seconds=self.thresholds[-1], hertz=250,
            cpus=(CpuDelays(cpu=0, delays=delay_spans([self.read])), CpuDelays(cpu=1, delays=delay_spans([self.read]))),
            lost=self.lost.pop(0) if self.lost else 0,
        )  # fmt: skip

    def wait(self, _seconds: float) -> bool:
        during = type(self).during
        if during is not None:
            during()
        return bool(self.readings)

    def close(self) -> None:
        self.closed.append(True)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    known = Workloads(by_pid={412: Workload(process=Process(pid=412, comm="cadvisor"))})
    monkeypatch.setattr(stalls, "StallsCollector", Collector)
    monkeypatch.setattr(stalls, "name_owners", lambda *_, **__: known)
    monkeypatch.setattr(stalls, "find_place", lambda: Place(roots=Roots()))
    monkeypatch.setattr(stalls, "read_support", lambda _: SUPPORT)
    monkeypatch.setattr(stalls, "GATHER_SECONDS", 0.0)
    for name, value in (("readings", []), ("lost", []), ("error", None), ("during", None), ("thresholds", []),
                        ("closed", [])):  # fmt: skip
        monkeypatch.setattr(Collector, name, value)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["whodunnet", "stalls", *arguments])
        with pytest.raises(SystemExit) as done:
            main.run()
        return Result(done.value.code or 0, *capfd.readouterr())  # type: ignore[arg-type]

    return call


def watching(*readings: tuple[Stall, ...], **other: Any) -> None:
    Collector.readings[:] = [(), *readings]
    for name, value in other.items():
        setattr(Collector, name, value)


def test_each_stall_is_told_and_all_of_them_at_the_end(run: Run) -> None:
    watching((stall(),), (stall(0.08), stall(0.03, cpu=0)))
    result = run("--for", "50ms")
    assert (result.status, Collector.closed) == (0, [True])
    lines = result.out.splitlines()
    assert lines[0].split()[:4] == ["time", "(UTC)", "CPU", "waited"]
    assert [line.split()[1:5] for line in lines if "syscall-hog  " in line and ":" in line[:6]] == [
        ["1", "150", "ms", "syscall-hog"], ["1", "80", "ms", "syscall-hog"], ["0", "30", "ms", "syscall-hog"],
    ]  # fmt: skip
    assert "148 ms  cadvisor (pid 412), in read(): mem_cgroup_iter" in result.out
    assert ": 3 stalls of 10 ms or more" in result.out
    assert "260 ms         3    150 ms    syscall-hog: cadvisor (pid 412), in read()" in result.out
    assert result.err == "Watching how long received packets wait; Ctrl-C ends it.\n"


def test_json_is_a_line_for_each_and_one_for_all(run: Run) -> None:
    watching((stall(), stall(0.03)))
    documents = [json.loads(line) for line in run("--for", "20ms", "--format", "json").out.splitlines()]
    assert [d["line"] for d in documents] == ["stall", "stall", "summary"]
    assert documents[0]["culprit"]["process"]["comm"] == "cadvisor"
    assert documents[-1]["stalls"] == 2


def test_one_cpu_alone_can_be_shown(run: Run) -> None:
    watching((stall(), stall(0.03, cpu=0)))
    documents = [json.loads(line) for line in run("--for", "20ms", "--format", "json", "--cpu", "0").out.splitlines()]
    assert [d.get("cpu") for d in documents] == [0, None]
    assert [c["cpu"] for c in documents[-1]["cpus"]] == [0]


def test_the_threshold_is_that_of_the_recorder(run: Run) -> None:
    assert run("--for", "10ms", "--threshold", "5ms").status == 0
    assert Collector.thresholds == [0.005]
    result = run("--threshold", "500ms", "--for", "10ms")
    assert "0 stalls of 500 ms or more" in result.out


def test_what_finds_no_room_is_told(run: Run) -> None:
    watching((stall(),), lost=[0, 7])
    assert "… 7 more stalls, counted only" in run("--for", "20ms").out


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_signal_ends_it_with_the_summary(run: Run, number: signal.Signals) -> None:
    def during() -> None:
        if not Collector.readings:
            signal.pthread_kill(threading.get_ident(), number)

    watching((stall(),), during=staticmethod(during))
    result = run()
    assert (result.status, Collector.closed) == (0, [True])
    assert "1 stall of 10 ms or more" in result.out


def test_where_it_is_refused_one_sentence_says_why(run: Run) -> None:
    error = UnreadableError("loading BPF programs is not permitted", "missing-capability", "CAP_BPF")
    watching(error=error)
    result = run()
    assert (result.status, result.out, Collector.closed) == (2, "", [True])
    assert result.err.startswith(
        "whodunnet: stalls of received packets cannot be watched: loading BPF programs is not permitted (needs CAP_BPF)"
    )


@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        (["--threshold", "0s"], "1ms"),
        (["--threshold", "soon"], "500ms"),
        (["--cpu", "-1"], "0<=x<=8191"),
        (["--cpu", "8191"], "no such CPU is online here; there are"),
        (["--format", "npd"], "json"),
        (["cpu"], "cpu"),
    ],
)
def test_what_is_not_accepted_is_told_what_is(run: Run, arguments: list[str], accepted: str) -> None:
    result = run(*arguments)
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert accepted in result.err
