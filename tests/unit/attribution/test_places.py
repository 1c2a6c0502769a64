"""attribution.places: files that ordinary users made, to harm whoever reads them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from whodunnet.attribution.places import on_machine, read_passwd_home, read_users_file
from whodunnet.errors import MalformedError, UnreadableError

from .machine import MOUNTS, Machine

UID = os.getuid()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.write("home/bob/file", "content")
    return made


def read(machine: Machine, path: str = "home/bob/file", limit: int = 7, uid: int = UID) -> bytes:
    return read_users_file(machine.roots, machine.top / path, uid, limit)


def test_a_plain_file_is_read(machine: Machine) -> None:
    assert read(machine) == b"content"


def test_a_longer_file_is_not_read(machine: Machine) -> None:
    with pytest.raises(MalformedError, match="longer than 6 bytes"):
        read(machine, limit=6)


def test_a_file_of_somebody_else_is_not_read(machine: Machine) -> None:
    with pytest.raises(UnreadableError, match="not a plain file of user"):
        read(machine, uid=UID + 1)


def test_a_symbolic_link_is_not_followed(machine: Machine) -> None:
    (machine.top / "home/bob/link").symlink_to(machine.top / "home/bob/file")
    (machine.top / "home/ann").symlink_to(machine.top / "home/bob")
    for path in ("home/bob/link", "home/ann/file"):
        with pytest.raises(UnreadableError):
            read(machine, path)


def test_a_pipe_and_a_directory_are_not_waited_for(machine: Machine) -> None:
    os.mkfifo(machine.top / "home/bob/pipe")
    for path in ("home/bob/pipe", "home/bob"):
        with pytest.raises(UnreadableError, match="not a plain file"):
            read(machine, path)


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "autofs", "9p"])
def test_a_file_system_that_may_hang_is_not_touched(machine: Machine, kind: str) -> None:
    point = f"{machine.top}/home"
    machine.write("proc/self/mountinfo", f"{MOUNTS}30 22 0:9 / {point} rw - {kind} server:/x rw\n")
    with pytest.raises(UnreadableError, match="not on a local file system"):
        read(machine)


def test_a_mount_point_with_a_space_is_recognised(machine: Machine) -> None:
    machine.write("home/a b/file", "content")
    point = f"{machine.top}/home/a\\040b"
    machine.write("proc/self/mountinfo", f"{MOUNTS}30 22 0:9 / {point} rw - nfs server:/x rw\n")
    with pytest.raises(UnreadableError, match="not on a local file system"):
        read(machine, "home/a b/file")


@pytest.mark.parametrize("path", ["", "x", "/a/../b", "/a\0b", "/a" * 99])
def test_a_path_that_leads_elsewhere_is_none(machine: Machine, path: str) -> None:
    assert on_machine(machine.roots, path) is None


def test_a_path_is_below_the_root_of_the_machine(machine: Machine) -> None:
    assert on_machine(machine.roots, "/home/bob") == machine.top / "home/bob"


def test_the_home_directory_is_the_users(machine: Machine) -> None:
    machine.write("etc/passwd", b"\xff\n:::\na:x:1000:1::/home/a:/bin/sh\nb:x:100:1::/home/b:/bin/sh\n")
    assert [read_passwd_home(machine.roots, uid) for uid in (100, 1000, 10)] == ["/home/b", "/home/a", None]


def test_a_machine_without_users_has_no_home(machine: Machine) -> None:
    assert read_passwd_home(machine.roots, 1000) is None
