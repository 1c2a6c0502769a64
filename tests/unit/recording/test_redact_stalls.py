"""A recording with stalls comes back as it was, is judged whatever is in it, and redacted holds no name."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whodunnet.errors import RecordingError
from whodunnet.model.snapshot import Node, Recording, Snapshot
from whodunnet.model.stalls import Holder, Stack, Stall, Stalls, Task
from whodunnet.model.workload import Process, Workload, Workloads
from whodunnet.recording.header import header_of
from whodunnet.recording.lines import save
from whodunnet.recording.reader import load
from whodunnet.recording.recorder import Recorder
from whodunnet.recording.redact import Redactor
from whodunnet.rules.rule import judge

from . import keyed
from .arbitrary_stalls import recording_with_stalls
from .keyed import AT, KEY
from .test_redact import assert_not_found, with_secrets

quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NODE = Node(hostname="n1", kernel="6.1", boot_id="")
TASK = Task(pid=7, tid=8, comm="zq-secret", thread="zq-helper", process_started_seconds=5.0)
HELD = Holder(
    task=TASK, mode="kernel", system_call="read", samples=9, seconds=0.036,
    stacks=(Stack(functions=("vfs_read", None), samples=9),),
)  # fmt: skip


def planted() -> Snapshot:
    stall = Stall(
        ended_boot_seconds=9.0, cpu=1, kind="late", wait_seconds=0.15, end=HELD, holders=(HELD,), samples=9,
        expected_samples=37,
    )  # fmt: skip
    sample = Stalls(
        stalls=(stall,), watched_seconds=9.0, threshold_seconds=0.01, hertz=250,
        sampling_reason="'zq-secret' cannot be sampled", symbols_reason="/srv/zq-helper/kallsyms cannot be read",
    )  # fmt: skip
    who = Workloads(by_pid={7: Workload(process=Process(pid=7, comm="zq-secret"))})
    return Snapshot(at=AT, samples={"stalls": sample, "workloads": who})


@quick
@given(recording_with_stalls)
def test_what_was_saved_comes_back_and_is_judged(recording: Recording) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "node.jsonl")
        save(recording, path)
        lines = path.read_bytes().splitlines()[1:]
    assert tuple(msgspec.json.decode(line, type=Snapshot) for line in lines) == recording.snapshots
    assert judge("rx-stall", recording)


@quick
@given(recording_with_stalls, st.integers(0, 2**48), st.booleans())
def test_no_name_of_any_node_is_left(recording: Recording, seed: int, odd: bool) -> None:
    assert_not_found(with_secrets(recording, Random(seed), odd))


def test_names_are_gone_and_the_kernels_own_words_stay() -> None:
    redactor = Redactor(KEY)
    redactor.node(NODE)
    found = redactor.snapshot(planted())
    text = msgspec.json.encode(found).decode()
    assert "zq-" not in text
    sample, workloads = found.samples["stalls"], found.samples["workloads"]
    assert isinstance(sample, Stalls)
    assert isinstance(workloads, Workloads)
    held = sample.stalls[0].holders[0]
    assert (held.system_call, held.stacks) == ("read", HELD.stacks)
    process = workloads.by_pid[7].process
    assert process is not None
    assert held.task.comm == process.comm == keyed.name("process", "zq-secret")
    assert held.task.thread == keyed.name("process", "zq-helper")


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        (b'"kind":"late"', b'"kind":"exploded"'),
        (b'"cpu":1', b'"cpu":-1'),
        (b'"wait_seconds":0.15', b'"wait_seconds":1e99'),
    ],
)
def test_what_no_kernel_can_have_said_is_refused(there: bytes, instead: bytes, tmp_path: Path) -> None:
    path = tmp_path / "node.jsonl"
    save(Recording(node=NODE, snapshots=(planted(),)), path)
    content = path.read_bytes()
    assert there in content
    path.write_bytes(content.replace(there, instead))
    with pytest.raises(RecordingError, match="damaged"):
        load(path)


def test_a_recorder_keeps_stalls(tmp_path: Path) -> None:
    path = tmp_path / "node.wdn"
    recording = Recording(node=NODE, snapshots=(planted(),))
    with Recorder(path, 10**7) as recorder:
        recorder.append(recording.snapshots[0], header_of(recording))
    assert load(path).snapshots == recording.snapshots
