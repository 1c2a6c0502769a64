"""It runs whatever file system it is carried to, with all it can do."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import jsonschema
import pytest

from bench.conntrack import flows, insert
from whodunnet.kernel.namespaces import inside
from whodunnet.model.conntrack import Conntrack
from whodunnet.recording.reader import load
from whodunnet.report.schema import schema_of

from .foreign import NO_MOUNTS, READ_ONLY, Foreign
from .leak import leaking

TRACKED = 2000
NOT_BEYOND = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
"""Root without CAP_SYS_PTRACE: /proc/1/root is out of sight, and so the machine and its own connections."""
SNAPSHOT = ("diagnose", "--for", "0s", "--format", "json")


def listing(foreign: Foreign) -> set[str]:
    return {str(path) for path in foreign.root.rglob("*")}


def test_a_foreign_root_gets_a_whole_answer_and_keeps_nothing(foreign: Foreign) -> None:
    before = listing(foreign)
    answer = foreign.run(*SNAPSHOT)
    jsonschema.validate(answer.document, schema_of("diagnosis"))
    assert answer.err == ""
    assert answer.status in (0, 1)
    assert answer.used_bpf
    assert listing(foreign) == before


def test_a_foreign_root_without_the_right_to_mount_does_as_well(foreign: Foreign) -> None:
    answer = foreign.run(*SNAPSHOT, rights=NO_MOUNTS)
    assert answer.err == ""
    assert answer.status in (0, 1)
    assert answer.used_bpf


def test_a_program_of_musl_starts_it(musl: Foreign) -> None:
    answer = musl.run("--version", words=("/bin/then",))
    first, second = answer.out.splitlines()
    assert first == "musl"
    assert second.startswith("whodunnet ")


def test_a_read_only_root_is_enough(bare: Foreign) -> None:
    answer = bare.run(*SNAPSHOT, mounts=[READ_ONLY])
    assert answer.err == ""
    assert answer.status in (0, 1)
    assert answer.used_bpf


def test_a_read_only_root_with_only_proc_gives_what_proc_and_sock_diag_know(bare: Foreign) -> None:
    answer = bare.run(*SNAPSHOT, mounts=[READ_ONLY], kernel=("proc",))
    jsonschema.validate(answer.document, schema_of("diagnosis"))
    assert answer.status in (0, 1)
    assert not answer.used_bpf  # the kernel's types are read from /sys


def test_without_proc_it_says_what_to_do(bare: Foreign) -> None:
    answer = bare.run("--version", kernel=())
    assert answer.status == 2
    assert answer.err.startswith("whodunnet: there is no /proc of this pid namespace: mount it")


def test_it_names_a_leak_from_within_a_foreign_root(foreign: Foreign) -> None:
    with leaking() as pid:
        document = foreign.run("diagnose", "--for", "2s", "--format", "json").document
    culprits = [p for f in document["findings"] if f["rule"] == "socket-leak" for p in f["parties"]]
    assert pid in [p["process"]["pid"] for p in culprits if p["role"] == "culprit"]


def test_what_was_recorded_there_is_drawn_and_judged_there(bare: Foreign) -> None:
    (bare.root / "data").mkdir()
    recorded = bare.run("record", "/data/node.db", "--every", "1s", "--for", "2s")
    assert recorded.status == 0, recorded.err
    assert bare.run("replay", "/data/node.db", "--format", "json").document["schema"] == "whodunnet/diagnosis/v1"
    drawn = bare.run("plot", "/data/node.db", "-o", "/data/chart.png")
    assert drawn.status == 0, drawn.err
    assert (bare.root / "data/chart.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def tracking() -> Iterator[Path]:
    """A network namespace with tracked connections."""
    name = f"whodunnet-{uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        mount = Path("/run/netns", name)
        inside(mount, None, partial(insert, flows(TRACKED)))
        yield mount
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_it_reads_tracked_connections_in_a_foreign_root(bare: Foreign, tracking: Path) -> None:
    (bare.root / "data").mkdir()
    enter = ("nsenter", f"--net={tracking}", *NOT_BEYOND)
    recorded = bare.run("record", "/data/table.db", "--every", "1s", "--for", "1s", rights=enter)
    assert recorded.status == 0, recorded.err
    sample = load(bare.root / "data/table.db").last(Conntrack)
    assert sample is not None
    assert (sample.netns, sample.method) == (tracking.stat().st_ino, "ctnetlink")
    assert (sample.entries_read, sample.malformed, sample.dump_failure) == (TRACKED, 0, None)


def test_its_list_knows_what_it_reads(bare: Foreign) -> None:
    answer = bare.run("list")
    assert answer.status == 0, answer.err
    assert "conntrack" in answer.out
    assert "addresses" in answer.out
