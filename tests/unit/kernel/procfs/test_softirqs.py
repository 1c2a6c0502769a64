"""Softirqs by CPU."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import COUNT, MACHINES, damaged
from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.softirqs import parse_softirqs, read_softirqs
from whodunnet.kernel.roots import Roots

REAL = (MACHINES / "softnet-6.18/proc/softirqs").read_bytes()


def test_a_real_machine_is_read_by_name() -> None:
    found = read_softirqs(Roots.below(MACHINES / "softnet-6.18"))
    assert list(found) == ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"]
    assert set(found["NET_RX"]) == {0, 1}
    assert list(read_softirqs(Roots.below(MACHINES / "softnet-6.18"), ("NET_RX",))) == ["NET_RX"]


@given(st.dictionaries(st.integers(0, 8191), COUNT, min_size=1, max_size=5))
def test_cpus_are_those_of_the_header(times: dict[int, int]) -> None:
    data = " ".join(f"CPU{cpu}" for cpu in times) + "\n  NET_RX: " + " ".join(map(str, times.values())) + "\n"
    assert parse_softirqs(data.encode(), "f") == {"NET_RX": times}


@given(damaged(REAL))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_softirqs(data, "f")


@pytest.mark.parametrize("data", [b"", b"CPU0 CPU0\n", b"CPU0\nNET_RX: 1 2\n", b"CPU0\nNET_RX 1\n", b"CPU99999\n"])
def test_what_is_no_such_file_is_named(data: bytes) -> None:
    with pytest.raises(MalformedError, match="f: "):
        parse_softirqs(data, "f")
