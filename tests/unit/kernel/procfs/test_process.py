"""kernel.procfs.process: /proc/<pid>/ as files of a recorded node, and as no kernel would write them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs import process
from whodunnet.kernel.procfs.process import CgroupLine
from whodunnet.kernel.roots import Roots

NODE = Roots.below(Path(__file__).parents[3] / "fixtures/nodes/containerd-elsewhere")
NUMBERS = b" 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 "


def stat_line(comm: bytes, state: bytes = b"S", started: bytes = b"4711") -> bytes:
    return b"42 (" + comm + b") " + state + NUMBERS + started + b" 20 21\n"


def test_a_recorded_process_is_read_with_program_start_and_limit() -> None:
    found = process.read_process(NODE, 13590)
    assert (found.pid, found.comm, found.exe) == (13590, "python3", "/usr/bin/python3.11")
    assert (found.state, found.descriptor_limit) == ("sleeping", 20000)
    assert found.started == datetime(2026, 11, 21, 2, 11, 11, 380000, tzinfo=UTC)


def test_the_start_is_boot_time_plus_ticks() -> None:
    stat = process.parse_stat(stat_line(b"sh"), "stat")
    assert stat.started_seconds == 4711 / process.TICKS_PER_SECOND
    assert process.parse_boot_time(b"cpu 1 2\nbtime 1700000000\n", "stat") == datetime(
        2023, 11, 14, 22, 13, 20, tzinfo=UTC
    )


@pytest.mark.parametrize("comm", [b"a b", b"tmux: server", b"a) R 1 1", b"((", b"x) (y", b") S 9 ) Z 8 7"])
def test_a_comm_with_spaces_and_parentheses_does_not_shift_the_fields(comm: bytes) -> None:
    stat = process.parse_stat(stat_line(comm), "stat")
    assert (stat.comm, stat.state, stat.parent, stat.started_ticks) == (comm.decode(), "sleeping", 1, 4711)


def test_a_comm_with_control_characters_is_cleaned() -> None:
    assert process.parse_stat(stat_line(b"a\n\x1b[31m\xff"), "stat").comm == "a\ufffd\ufffd[31m\ufffd"


@pytest.mark.parametrize(
    ("letter", "word"),
    [
        (b"R", "running"),
        (b"D", "uninterruptible"),
        (b"T", "stopped"),
        (b"t", "stopped"),
        (b"Z", "zombie"),
        (b"?", None),
    ],
)
def test_states_are_words(letter: bytes, word: str | None) -> None:
    assert process.parse_stat(stat_line(b"x", letter), "stat").state == word


def test_cgroups_of_both_versions_keep_their_controllers() -> None:
    lines = process.parse_cgroup(b"9:name=systemd:/a.slice\n4:cpu,cpuacct:/a:b\r\n0::/ (deleted)\n", "cgroup")
    assert lines == (
        CgroupLine(9, ("name=systemd",), "/a.slice"),
        CgroupLine(4, ("cpu", "cpuacct"), "/a:b\r"),
        CgroupLine(0, (), "/"),
    )


def test_an_unlimited_number_of_descriptors_is_none() -> None:
    assert process.parse_descriptor_limit(b"Limit Soft\nMax open files  unlimited  unlimited  files\n", "l") is None
    assert process.parse_descriptor_limit(b"Max open files            1024        4096   files\n", "l") == 1024


@pytest.mark.parametrize(
    "data", [b"", b"42 sh S 1", b"42 (sh) S 1", b"x (sh) " + b"1 " * 30, stat_line(b"a", b"S", b"9" * 19)]
)
def test_a_stat_of_another_form_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match="stat"):
        process.parse_stat(data, "/proc/42/stat")


def test_a_process_that_is_gone_has_vanished() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(UnreadableError) as caught:
        process.read_process(Roots(), ended.pid)
    assert caught.value.code == "vanished"


def test_the_programs_path_is_kept_after_its_file_was_replaced(tmp_path: Path) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/exe").symlink_to("/opt/app (deleted)")
    assert process.read_executable(Roots.below(tmp_path), 7) == "/opt/app"
    assert process.read_executable(Roots.below(tmp_path), 8) is None


def test_this_process_is_read_from_the_running_kernel() -> None:
    found = process.read_process(Roots(), os.getpid())
    assert found.state == "running"
    assert found.exe == str(Path(sys.executable).resolve())
    assert found.started is not None
    assert found.started < datetime.now(UTC)
    assert process.read_netns(Roots(), os.getpid()) == Path("/proc/self/ns/net").stat().st_ino
    assert process.read_effective_uid(Roots(), os.getpid()) == os.geteuid()


def test_the_processes_of_a_namespace_are_found_and_no_others() -> None:
    pod, node = (process.read_netns(NODE, pid) for pid in (13557, 1))
    assert pod is not None
    assert node is not None
    assert process.find_processes_in(NODE, [pod]) == {pod: [13557, 13590, 13618]}
    assert process.find_processes_in(NODE, [node, 1]) == {node: [1, 900, 13533], 1: []}


@given(st.one_of(st.binary(), st.binary().map(stat_line), st.binary().map(lambda b: b"Max open files " + b)))
def test_arbitrary_bytes_are_parsed_or_malformed(data: bytes) -> None:
    for parse in (
        process.parse_stat,
        process.parse_cgroup,
        process.parse_descriptor_limit,
        process.parse_effective_uid,
        process.parse_boot_time,
    ):
        with suppress(MalformedError):
            parse(data, "source")


@given(st.binary(max_size=64).filter(lambda b: b"\n" not in b))
def test_any_comm_leaves_the_other_fields_alone(comm: bytes) -> None:
    stat = process.parse_stat(stat_line(comm), "stat")
    assert (stat.pid, stat.parent, stat.started_ticks) == (42, 1, 4711)
    assert stat.comm.isprintable()


@given(st.integers(0, 10**10))
def test_any_boot_time_is_a_moment_or_malformed(seconds: int) -> None:
    assert process.parse_boot_time(b"btime %d\n" % seconds, "stat").timestamp() == seconds
