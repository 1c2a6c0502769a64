"""Entries of the maps of repeated segments as model words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from whodunnet.kernel.bpf.repeats import ROOM, decode
from whodunnet.model.sockets import Endpoint

BPF = Path(__file__).parents[4] / "bpf"
libbpf = pytest.importorskip("whodunnet.kernel.bpf._libbpf", reason="the binding to libbpf is not built")


def entry(**fields: Any) -> tuple[Any, Any]:
    key, value = libbpf.ffi.new("struct destination_key *"), libbpf.ffi.new("struct destination *")
    key.netns, key.family, key.port, key.remote[0:4] = 8, 4, 443, [203, 0, 113, 9]
    for name, wanted in fields.items():
        setattr(value if hasattr(value, name) else key, name, wanted)
    return key, value


def test_an_entry_becomes_words() -> None:
    key, value = entry(
        repeated=[1, 2, 3, 4], full=5, sent=6, duplicates=7, sockets=8, again_full=9, again_small=10, again_heard=11,
        again_refused=15, again_sacked=12, stuck=13, passed=14, mss=1448, path_mtu=1500, device_mtu=9000,
        device=b"eth0",
        first_ns=1_500_000_000, last_ns=2_500_000_000,
    )  # fmt: skip
    d = decode(libbpf.ffi, key, value)
    assert (d.netns, d.remote, d.port, d.accepted, d.endpoint) == (
        8,
        "203.0.113.9",
        443,
        False,
        Endpoint(d.remote, 443),
    )
    assert (d.fast, d.timeouts, d.probes, d.closed, d.repeated) == (1, 2, 3, 4, 6)
    assert (d.full, d.sent, d.duplicates, d.sockets, d.again_full, d.again_small) == (5, 6, 7, 8, 9, 10)
    assert (d.heard, d.refused, d.sacked, d.stuck, d.passed) == (11, 15, 12, 13, 14)
    assert (d.mss, d.path_mtu, d.device, d.device_mtu) == (1448, 1500, "eth0", 9000)
    assert (d.first_seconds, d.last_seconds) == (1.5, 2.5)


def test_what_is_not_known_is_nothing() -> None:
    d = decode(libbpf.ffi, *entry())
    assert (d.mss, d.path_mtu, d.device, d.device_mtu) == (None, None, None, None)


def test_an_accepted_end_has_a_client_without_port_and_a_device_may_have_any_name() -> None:
    d = decode(libbpf.ffi, *entry(accepted=1, family=6, remote=[0x20, 1, *[0] * 13, 9], device=b"e\x1b\xff"))
    assert (d.endpoint, d.device) == (Endpoint("2001::9", None), "e\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}")


def test_the_room_is_that_of_the_program() -> None:
    found = re.search(
        r"max_entries, (\d+)\);\s*__type\(key, struct destination_key", (BPF / "retransmissions.bpf.c").read_text()
    )
    assert found is not None
    assert int(found[1]) == ROOM
