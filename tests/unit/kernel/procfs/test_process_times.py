"""CPU time of processes: parsing what the kernel writes, and this machine's own."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs import process_times
from whodunnet.kernel.procfs.process import TICKS_PER_SECOND
from whodunnet.kernel.procfs.process_times import parse_times, read_every_process
from whodunnet.kernel.roots import Roots

STAT = b"7 (%s) R 3 7 7 0 -1 4194304 1 2 3 4 250 50 9 9 20 -5 2 0 12345 1 2 3"


@given(st.binary(max_size=15))
def test_any_name_is_read_past(comm: bytes) -> None:
    found = parse_times(STAT % comm, "f")
    assert (found.pid, found.parent, found.user_ticks, found.kernel_ticks, found.nice) == (7, 3, 250, 50, -5)
    assert (found.started_ticks, found.running) == (12_345, True)


def test_ticks_become_milliseconds() -> None:
    found = parse_times(STAT % b"x", "f")
    assert (found.cpu_ms, found.kernel_ms) == (300_000 // TICKS_PER_SECOND, 50_000 // TICKS_PER_SECOND)


def test_where_the_only_thread_is_ready_and_its_real_time_priority() -> None:
    stat = b"7 (x) %s 3 7 7 0 -1 4194304 1 2 3 4 250 50 9 9 -51 0 %d 0 12345" + b" 0" * 16 + b" 3 50 1"
    ready, asleep, several = (parse_times(stat % (s, n), "f") for s, n in ((b"R", 1), (b"S", 1), (b"R", 2)))
    assert [found.on_cpu for found in (ready, asleep, several)] == [3, None, None]
    assert (ready.realtime, parse_times(STAT % b"x", "f").on_cpu) == (50, None)


@given(damaged(STAT % b"app"))
def test_damaged_stat_is_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        assert parse_times(data, "f").cpu_ms >= 0


def machine(tmp_path: Path, *pids: int, state: bytes = b"S") -> Roots:
    for pid in pids:
        for place in (tmp_path / f"proc/{pid}", tmp_path / f"proc/{pid}/task/{pid}"):
            place.mkdir(parents=True, exist_ok=True)
            (place / "schedstat").write_text(f"1000 {pid}000000 3\n")
        stat = (STAT % b"app").replace(b"7 (", b"%d (" % pid, 1).replace(b") R", b") " + state)
        (tmp_path / f"proc/{pid}/stat").write_bytes(stat)
    return Roots.below(tmp_path)


def test_of_one_that_sleeps_the_first_thread_s_wait_is_read(tmp_path: Path) -> None:
    found, left_out = read_every_process(machine(tmp_path, 7))
    assert (found[7].wait_ns, found[7].whole, left_out) == (7_000_000, False, 0)


def test_of_one_that_sleeps_and_has_one_thread_all_is_read(tmp_path: Path) -> None:
    roots = machine(tmp_path, 7)
    stat = tmp_path / "proc/7/stat"
    stat.write_bytes(stat.read_bytes().replace(b" -5 2 0", b" -5 1 0"))
    assert read_every_process(roots)[0][7].whole


def test_of_one_that_sleeps_the_wait_is_left_out_where_it_is_not_needed(tmp_path: Path) -> None:
    roots = machine(tmp_path, 7)
    machine(tmp_path, 8, state=b"R")
    found, _ = read_every_process(roots, sleepers=False)
    assert [found[pid].wait_ns for pid in (7, 8)] == [None, 8_000_000]


def test_of_one_that_runs_all_threads_are_read(tmp_path: Path) -> None:
    roots = machine(tmp_path, 7, state=b"R")
    other = tmp_path / "proc/7/task/8"
    other.mkdir()
    (other / "schedstat").write_text("1 5 1\n")
    found, _ = read_every_process(roots)
    assert (found[7].wait_ns, found[7].whole) == (7_000_005, True)


def test_more_threads_than_the_bound_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_times, "THREADS_MAX", 1)
    found, _ = read_every_process(machine(tmp_path, 7, 9, state=b"R"))
    assert [found[pid].whole for pid in (7, 9)] == [True, False]


def test_the_newest_processes_are_read_and_the_others_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_times, "PROCESSES_MAX", 2)
    found, left_out = read_every_process(machine(tmp_path, 7, 8, 9))
    assert (set(found), left_out) == ({8, 9}, 1)


def test_one_that_ends_meanwhile_is_left_out(tmp_path: Path) -> None:
    roots = machine(tmp_path, 7, 8)
    (tmp_path / "proc/7/stat").unlink()
    assert set(read_every_process(roots)[0]) == {8}


def test_without_procfs_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError):
        read_every_process(Roots.below(tmp_path))


def test_our_own_time_is_as_the_library_has_it() -> None:
    before = sum(os.times()[:2])
    found = read_every_process(Roots())[0][os.getpid()]
    after = sum(os.times()[:2])
    assert before - 0.05 <= found.cpu_ms / 1000 <= after + 0.05
