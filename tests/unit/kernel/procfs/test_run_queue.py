"""How many tasks want a CPU, and how long they waited."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given

from kernel.damage import damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.run_queue import (
    parse_delay_ns,
    parse_load,
    parse_runnable,
    read_delay_ns,
    read_load,
    read_runnable,
)
from whodunnet.kernel.roots import Roots

STAT = b"cpu  1 2 3 4 5 6 7 8 0 0\nctxt 9\nprocs_running 4\nprocs_blocked 1\n"
LOAD = b"4.73 3.35 2.51 4/163 25364\n"
SCHEDSTAT = (
    b"version 17\ntimestamp 4300000000\ncpu0 0 0 10 2 8 3 500 7000 9\ndomain0 MC 3 1 2\ncpu1 0 0 1 1 1 1 1 30 1\n"
)


def test_tasks_that_run_or_are_ready_are_read() -> None:
    assert parse_runnable(STAT, "f") == 4
    with pytest.raises(MalformedError, match="f: procs_running is missing"):
        parse_runnable(STAT.replace(b"procs_running", b"procs"), "f")


def test_the_load_of_a_minute_is_read() -> None:
    assert parse_load(LOAD, "f") == 4.73


def test_the_wait_of_all_cpus_is_their_sum() -> None:
    assert parse_delay_ns(SCHEDSTAT, "f") == 7030


@given(damaged(STAT))
def test_damaged_stat_is_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_runnable(data, "f")


@given(damaged(LOAD))
def test_damaged_load_is_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_load(data, "f")


@given(damaged(SCHEDSTAT))
def test_damaged_schedstat_is_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        assert parse_delay_ns(data, "f") >= 0


def test_this_machine_s_own_files_are_read() -> None:
    assert read_runnable(Roots()) >= 1
    assert read_load(Roots()) >= 0
    with suppress(UnreadableError):
        assert read_delay_ns(Roots()) >= 0
