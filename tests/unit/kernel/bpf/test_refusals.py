"""Entries of the map of refused files as model words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from whodunnet.kernel.bpf.refusals import ROOM, decode
from whodunnet.model.descriptors import RefusedFiles

BPF = Path(__file__).parents[4] / "bpf"
libbpf = pytest.importorskip("whodunnet.kernel.bpf._libbpf", reason="the binding to libbpf is not built")


@pytest.mark.parametrize(
    ("comm", "name"), [(b"shop", "shop"), (b"a\x1b[31m\xff", "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}")]
)
def test_an_entry_becomes_words(comm: bytes, name: str) -> None:
    key, value = libbpf.ffi.new("struct refused_key *"), libbpf.ffi.new("struct refused_process *")
    key.pid, key.started_ns, value.times, value.comm = 7, 1_500_000_000, 3, comm
    assert decode(libbpf.ffi, key, value) == RefusedFiles(pid=7, comm=name, started_seconds=1.5, times=3)


def test_a_name_may_fill_its_room() -> None:
    key, value = libbpf.ffi.new("struct refused_key *"), libbpf.ffi.new("struct refused_process *")
    value.comm = b"sixteen letters!"
    assert decode(libbpf.ffi, key, value).comm == "sixteen letters!"


def test_the_room_is_that_of_the_program() -> None:
    found = re.search(r"max_entries, (\d+)\);\s*__type\(key, struct refused_key", (BPF / "files.bpf.c").read_text())
    assert found is not None
    assert int(found[1]) == ROOM
