from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import damaged
from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.scope import (
    INITIAL_PID_NAMESPACE,
    is_procfs,
    parse_depth,
    parse_procfs_devices,
    read_scope,
    shows_whole_machine,
)

MOUNTINFO = (
    b"22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    b"92 65 0:40 / /host/pro\\040c rw,relatime shared:1 master:2 - proc proc rw\n"
    b"23 27 0:22 / /sys rw,relatime - sysfs sysfs rw\n"
)
KTHREADD = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0\n"
PLANTED = b"2 (kthreadd) S 0 0 0 0 -1 4194560 0 0 0 0 0\n"
OURS = Path("/proc/self/mountinfo").read_bytes()


def plant(root: Path, stat: bytes = KTHREADD) -> Path:
    """A directory that looks like a procfs of the whole machine."""
    (root / "proc/1/ns").mkdir(parents=True)
    (root / "proc/2").mkdir()
    (root / "proc/self").mkdir()
    (root / "proc/2/stat").write_bytes(stat)
    (root / "proc/self/status").write_bytes(b"NSpid:\t77\t7\n")
    return root / "proc"


def test_our_procfs_is_of_our_pid_namespace() -> None:
    scope = read_scope(Path("/proc"), OURS)
    assert scope is not None
    assert scope.above == 0
    if Path("/proc/self/ns/pid").stat().st_ino == INITIAL_PID_NAMESPACE:
        assert scope.whole_machine


def test_a_planted_directory_is_no_procfs(tmp_path: Path) -> None:
    assert not is_procfs(plant(tmp_path), OURS)
    assert read_scope(tmp_path / "proc", OURS) is None


@pytest.mark.parametrize("path", ["/proc/self", "/proc/sys", "/nowhere", "/"])
def test_a_part_of_a_procfs_is_none(path: str) -> None:
    assert not is_procfs(Path(path), OURS)


def test_every_procfs_is_found_by_its_device() -> None:
    assert parse_procfs_devices(MOUNTINFO) == {os.makedev(0, 21), os.makedev(0, 40)}


@pytest.mark.parametrize("number", [b"777777777770:21", b"0:99999999999999"])
def test_what_is_no_number_of_a_device_is_none(number: bytes) -> None:
    assert parse_procfs_devices(b"22 27 %b / /proc rw - proc proc rw\n" % number) == frozenset()


@given(damaged(MOUNTINFO))
def test_any_mountinfo_is_answered(data: bytes) -> None:
    assert all(device >= 0 for device in parse_procfs_devices(data))


@pytest.mark.parametrize(("line", "above"), [(b"NSpid:\t7\n", 0), (b"NSpid:\t77\t7\n", 1), (b"NSpid:\t9\t8\t7\n", 2)])
def test_pid_namespaces_between_are_counted(line: bytes, above: int) -> None:
    assert parse_depth(b"Name:\tx\n" + line, "f") == above


@given(st.binary(max_size=200))
def test_a_damaged_status_is_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        assert parse_depth(data, "f") >= 0


def test_a_kernel_thread_shows_that_it_is_the_whole_machine(tmp_path: Path) -> None:
    assert shows_whole_machine(plant(tmp_path))


@pytest.mark.parametrize("stat", [PLANTED, b"", b"2 (kthreadd) S 0", b"2 (x) S 0 0 0 0 -1 x 0\n"])
def test_a_process_that_only_has_its_name_does_not(tmp_path: Path, stat: bytes) -> None:
    assert not shows_whole_machine(plant(tmp_path, stat))


def test_hidden_processes_are_not_the_whole_machine(tmp_path: Path) -> None:
    proc = plant(tmp_path)
    (proc / "1/ns").rmdir()
    (proc / "1").rmdir()
    assert not shows_whole_machine(proc)
