"""What CPUs spend their time on."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import MACHINES, damaged
from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.cpu_times import CpuTimes, parse_cpu_times, read_cpu_times
from whodunnet.kernel.procfs.process import TICKS_PER_SECOND
from whodunnet.kernel.roots import Roots

REAL = (MACHINES / "softnet-6.18/proc/stat").read_bytes()
TICK_MS = 1000 // TICKS_PER_SECOND


def test_a_real_machine_is_read_by_cpu() -> None:
    found = read_cpu_times(Roots.below(MACHINES / "softnet-6.18"))
    assert set(found) == {0, 1}
    assert found[0].steal_ms > 0
    assert found[0].idle_ms + found[0].irq_ms + found[0].softirq_ms + found[0].steal_ms < found[0].total_ms


@given(st.lists(st.integers(0, 2**40), min_size=8, max_size=12))
def test_guests_are_no_time_of_their_own(ticks: list[int]) -> None:
    data = ("cpu  1 2\ncpu3 " + " ".join(map(str, ticks)) + "\nintr 7\n").encode()
    ms = [n * TICK_MS for n in ticks]
    assert parse_cpu_times(data, "f") == {
        3: CpuTimes(
            total_ms=sum(ms[:8]), idle_ms=ms[3] + ms[4], irq_ms=ms[5], softirq_ms=ms[6], steal_ms=ms[7]
        )
    }  # fmt: skip


@given(damaged(REAL))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        assert all(times.total_ms >= 0 for times in parse_cpu_times(data, "f").values())


@pytest.mark.parametrize("data", [b"", b"cpu  1 2 3\n", b"cpu0 1 2 3 4 5 6 7\n", b"cpu0 1 2 3 4 5 6 7 x\n"])
def test_what_is_no_such_file_is_named(data: bytes) -> None:
    with pytest.raises(MalformedError, match="f: "):
        parse_cpu_times(data, "f")
