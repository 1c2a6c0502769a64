"""Socket holders, on a made-up procfs of directories and links, and on our own process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.kernel.procfs.descriptors import parse_socket_link, read_socket_holders

Process = Callable[..., Path]


@pytest.fixture
def process(tmp_path: Path) -> Process:
    """Makes /proc/<pid>/fd with one link per target."""

    def make(pid: int, *targets: str) -> Path:
        directory = tmp_path / str(pid) / "fd"
        directory.mkdir(parents=True)
        for number, target in enumerate(targets):
            (directory / str(number)).symlink_to(target)
        return directory

    return make


def test_smallest_pid_holds_and_shared_are_marked(process: Process, tmp_path: Path) -> None:
    process(9, "/dev/null", "socket:[5]", "socket:[6]")
    process(10, "socket:[5]", "socket:[7]", "socket:[7]", "pipe:[5]", "anon_inode:[eventpoll]")
    (tmp_path / "self").mkdir()
    holders = read_socket_holders(tmp_path)
    assert holders.pids == {5: 9, 6: 9, 7: 10}
    assert holders.shared == {5, 7}
    assert holders.descriptors == 8
    assert not holders.complete  # there is no process 1, and no pid namespace to ask for


def test_processes_that_end_meanwhile_are_counted(process: Process, tmp_path: Path) -> None:
    process(1, "socket:[5]")
    (tmp_path / "2").mkdir()
    holders = read_socket_holders(tmp_path)
    assert (holders.pids, holders.vanished, holders.unreadable) == ({5: 1}, 1, 0)


def test_a_refused_process_is_counted(process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process(1, "socket:[5]")
    process(2, "socket:[6]")
    real = os.readlink

    def refuse(path: str, *, dir_fd: int) -> str:
        if real(f"/proc/self/fd/{dir_fd}").endswith("/2/fd"):
            raise PermissionError
        return real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "readlink", refuse)
    holders = read_socket_holders(tmp_path)
    assert (holders.pids, holders.unreadable, holders.complete) == ({5: 1}, 1, False)


def test_the_limit_is_kept_and_told(process: Process, tmp_path: Path) -> None:
    process(1, *(f"socket:[{inode}]" for inode in range(1, 21)))
    holders = read_socket_holders(tmp_path, limit=7)
    assert (len(holders.pids), holders.truncated, holders.complete) == (7, True, False)


def test_a_missing_procfs_gives_nothing_and_is_not_complete(tmp_path: Path) -> None:
    holders = read_socket_holders(tmp_path / "none")
    assert (holders.pids, holders.complete) == ({}, False)


@pytest.mark.parametrize(
    ("target", "inode"),
    [
        ("socket:[1]", 1),
        ("socket:[18446744073709551615]", 2**64 - 1),
        ("socket:[]", None),
        ("socket:[1", None),
        ("socket:[-1]", None),
        ("socket:[1_0]", None),
        ("socket:[¹]", None),
        ("pipe:[1]", None),
        ("", None),
    ],
)
def test_links(target: str, inode: int | None) -> None:
    assert parse_socket_link(target) == inode


@given(st.text(max_size=30) | st.text(max_size=20).map(lambda text: f"socket:[{text}]"))
def test_any_link_is_a_number_or_nothing(target: str) -> None:
    inode = parse_socket_link(target)
    assert inode is None or inode >= 0


def test_our_own_sockets_are_found() -> None:
    with socket.socket() as one, one.dup() as same, socket.socket() as other:
        holders = read_socket_holders(Path("/proc"))
        ours = {os.fstat(each.fileno()).st_ino for each in (one, same, other)}
        assert len(ours) == 2
        assert all(holders.pids[inode] <= os.getpid() for inode in ours)
        assert os.fstat(one.fileno()).st_ino in holders.shared
