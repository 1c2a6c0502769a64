"""Numbers and kinds of open files: of this very process, of a machine that lists them, and broken numbers."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.open_files import count_open_files, parse_file_nr, read_file_use, read_kinds
from whodunnet.kernel.roots import Roots


def machine(proc: Path, **numbers: int) -> Path:
    """Processes p7=3: pid 7 with 3 descriptors; a directory's size is no number here, as before Linux 6.2."""
    for name, number in numbers.items():
        directory = proc / name[1:] / "fd"
        directory.mkdir(parents=True)
        for n in range(number):
            (directory / str(n)).symlink_to("socket:[1]" if n % 2 else "/dev/null")
    return proc


def test_our_own_are_as_many_as_are_listed() -> None:
    pipes = [os.pipe() for _ in range(40)]
    found = count_open_files(Path("/proc"))
    listed = len(list(Path("/proc/self/fd").iterdir())) - 1
    assert found.by_pid[os.getpid()] == pytest.approx(listed, abs=2)
    for pair in pipes:
        for end in pair:
            os.close(end)


def test_where_the_kernel_does_not_say_they_are_listed(tmp_path: Path) -> None:
    found = count_open_files(machine(tmp_path, p7=3, p12=5))
    assert (found.counted, found.by_pid) == (False, {7: 3, 12: 5})


def test_a_list_has_an_end(tmp_path: Path) -> None:
    found = count_open_files(machine(tmp_path, p7=3, p12=5, p13=5), limit=4)
    assert (found.by_pid, found.left_out) == ({7: 3, 12: 5}, 1)


def test_a_process_that_goes_meanwhile_is_counted(tmp_path: Path) -> None:
    (tmp_path / "9").mkdir()
    assert count_open_files(tmp_path).vanished == 1


def test_no_procfs_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist here"):
        count_open_files(tmp_path / "none")


def test_sockets_are_told_from_files() -> None:
    one, other = socket.socketpair()
    with one, other, Path("/dev/null").open("rb"):
        found = read_kinds(Path("/proc"), os.getpid(), 1000)
    assert found is not None
    assert found.sockets >= 1
    assert found.files >= 1


def test_a_sample_is_from_all_over_the_table(tmp_path: Path) -> None:
    found = read_kinds(machine(tmp_path, p7=100), 7, 10)
    assert found is not None
    assert found.sockets + found.files <= 10
    assert read_kinds(tmp_path, 8, 10) is None


def test_the_machines_own_number_is_that_of_file_nr() -> None:
    opened, most = read_file_use(Roots())
    assert 0 < opened < most


@pytest.mark.parametrize("data", [b"", b"1 2", b"1 2 x", b"1 2 3 4", b"-1 0 5"])
def test_a_broken_file_nr_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match="file-nr"):
        parse_file_nr(data, "file-nr")


@given(st.binary(max_size=60))
def test_any_bytes_are_two_numbers_or_malformed(data: bytes) -> None:
    try:
        found = parse_file_nr(data, "file-nr")
    except MalformedError:
        return
    assert min(found) >= 0
