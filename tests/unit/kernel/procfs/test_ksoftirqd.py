"""The ksoftirqd threads: found by what only a kernel thread can be, and how long they waited."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given

from kernel.damage import COUNT, MACHINES, damaged
from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.ksoftirqd import (
    Schedstat,
    find_ksoftirqds,
    parse_ksoftirqd,
    parse_schedstat,
    read_schedstat,
)
from whodunnet.kernel.roots import Roots

MACHINE = Roots.below(MACHINES / "softnet-6.18")
STAT = (MACHINES / "softnet-6.18/proc/14/stat").read_bytes()


def test_the_thread_of_a_real_machine_is_found() -> None:
    assert find_ksoftirqds(MACHINE, frozenset({0, 1})) == {0: 14}
    assert read_schedstat(MACHINE, 14) == Schedstat(run_ns=14_725_765_413, wait_ns=58_260_748_653)


def test_only_those_wanted_are_looked_for() -> None:
    assert find_ksoftirqds(MACHINE, frozenset({1})) == {}


def test_a_process_that_calls_itself_so_is_none() -> None:
    words = STAT.split()
    flags = words[8]
    assert parse_ksoftirqd(STAT) == 0
    assert parse_ksoftirqd(STAT.replace(flags, b"4194560", 1)) is None
    assert parse_ksoftirqd(STAT.replace(b"(ksoftirqd/0)", b"(x) (ksoftirqd/0)")) is None
    assert parse_ksoftirqd(STAT.replace(b"ksoftirqd/0", b"ksoftirqd/99999")) is None


def test_processes_that_end_meanwhile_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/14").mkdir()
    (tmp_path / "proc/14/stat").write_bytes(STAT)
    assert find_ksoftirqds(Roots.below(tmp_path), frozenset({0})) == {0: 14}


@given(COUNT, COUNT, COUNT)
def test_schedstat_is_read_back(run: int, wait: int, turns: int) -> None:
    assert parse_schedstat(f"{run} {wait} {turns}\n".encode(), "f") == Schedstat(run_ns=run, wait_ns=wait)


@given(damaged(b"14725765413 58260748653 299508\n") | damaged(STAT))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    parse_ksoftirqd(data)
    with suppress(MalformedError):
        parse_schedstat(data, "f")


@pytest.mark.parametrize("data", [b"", b"1 2", b"1 2 3 4", b"1 x 3", b"-1 2 3"])
def test_what_is_no_schedstat_is_named(data: bytes) -> None:
    with pytest.raises(MalformedError, match="f: "):
        parse_schedstat(data, "f")
