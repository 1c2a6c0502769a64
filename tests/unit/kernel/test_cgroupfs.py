"""kernel.cgroupfs: frozen cgroups and cgroup v2 ids, on recorded nodes and made ones."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.kernel import cgroupfs
from whodunnet.kernel.cgroupfs import Hierarchies, Hierarchy
from whodunnet.kernel.procfs.process import CgroupLine
from whodunnet.kernel.roots import Roots

NODES = Path(__file__).parents[2] / "fixtures/nodes"
V1_AND_V2 = Roots.below(NODES / "containerd-elsewhere")
V2 = Roots.below(NODES / "containerd-systemd-v2")
HERE = Roots()


def mount(point: str, kind: str, options: str = "rw", top: str = "/") -> bytes:
    return f"31 23 0:28 {top} {point} rw,relatime shared:9 - {kind} {kind} {options}\n".encode()


def test_both_versions_are_found_side_by_side() -> None:
    found = cgroupfs.read_hierarchies(V1_AND_V2)
    assert found.unified == Hierarchy(V1_AND_V2.cgroup / "unified", "/")
    assert found.freezer == Hierarchy(V1_AND_V2.cgroup / "freezer", "/")


def test_version_2_alone_has_no_freezer_hierarchy() -> None:
    assert cgroupfs.read_hierarchies(V2) == Hierarchies(unified=Hierarchy(V2.cgroup, "/"))


def test_a_later_mount_hides_an_earlier_one() -> None:
    data = mount("/sys/fs/cgroup/unified", "cgroup2") + mount("/sys/fs/cgroup", "cgroup2")
    assert cgroupfs.parse_mountinfo(data, HERE).unified == Hierarchy(Path("/sys/fs/cgroup"), "/")


def test_a_host_mounted_elsewhere_is_told_from_the_container_around_us() -> None:
    host = Roots.below(Path("/host"))
    found = cgroupfs.parse_mountinfo(mount("/host/sys/fs/cgroup", "cgroup2"), host)
    assert found.unified == Hierarchy(Path("/host/sys/fs/cgroup"), "/")
    assert cgroupfs.parse_mountinfo(mount("/mnt/cgroup", "cgroup2"), host) == Hierarchies()


def test_our_own_mounts_do_not_stand_for_those_of_a_mounted_host() -> None:
    host = Roots.below(Path("/host"))
    theirs = mount("/host/sys/fs/cgroup", "cgroup2")
    ours = mount("/sys/fs/cgroup", "cgroup2", top="/kubepods/pod1/c1")
    for data in (theirs + ours, ours + theirs):
        assert cgroupfs.parse_mountinfo(data, host).unified == Hierarchy(Path("/host/sys/fs/cgroup"), "/")


def test_the_mounts_of_another_process_are_found_below_its_root_directory(tmp_path: Path) -> None:
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/mountinfo").write_bytes(mount("/sys/fs/cgroup", "cgroup2"))
    top = tmp_path / "proc/1/root"
    roots = msgspec.structs.replace(Roots.below(top), proc=tmp_path / "proc", mounts="1")
    assert cgroupfs.read_hierarchies(roots).unified == Hierarchy(top / "sys/fs/cgroup", "/")


def test_escaped_mount_points_are_read() -> None:
    data = mount("/sys/fs/cgroup/a\\040b", "cgroup", "rw,cpu,freezer")
    assert cgroupfs.parse_mountinfo(data, HERE).freezer == Hierarchy(Path("/sys/fs/cgroup/a b"), "/")


def test_a_cgroup_outside_of_what_is_mounted_has_no_directory() -> None:
    part = Hierarchy(Path("/sys/fs/cgroup"), "/docker/a")
    assert part.directory("/docker/a/b") == Path("/sys/fs/cgroup/b")
    assert part.directory("/docker/a") == Path("/sys/fs/cgroup")
    assert part.directory("/docker/ab") is None
    assert part.directory("/docker/a/../b") is None
    assert Hierarchy(Path("/sys/fs/cgroup"), "/").directory("/../../etc") is None


def test_the_freezer_of_version_1_says_whether_a_process_is_frozen(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    hierarchies = Hierarchies(freezer=Hierarchy(tmp_path, "/"))
    lines = (CgroupLine(6, ("freezer",), "/a"), CgroupLine(4, ("memory",), "/b"))
    for state, expected in (("THAWED\n", False), ("FREEZING\n", False), ("FROZEN\n", True)):
        (tmp_path / "a/freezer.state").write_text(state)
        assert cgroupfs.is_frozen(hierarchies, lines) is expected


def test_version_2_says_whether_a_process_is_frozen(tmp_path: Path) -> None:
    hierarchies = Hierarchies(unified=Hierarchy(tmp_path, "/"))
    for value, expected in ((0, False), (1, True)):
        (tmp_path / "cgroup.events").write_text(f"populated 1\nfrozen {value}\n")
        assert cgroupfs.is_frozen(hierarchies, [CgroupLine(0, (), "/")]) is expected


def test_a_cgroup_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    hierarchies = Hierarchies(unified=Hierarchy(tmp_path, "/"))
    assert cgroupfs.is_frozen(hierarchies, [CgroupLine(0, (), "/gone"), CgroupLine(1, ("freezer",), "/")]) is None


def test_cgroups_are_found_by_id() -> None:
    hierarchy = Hierarchy(V2.cgroup, "/")
    ssh = (V2.cgroup / "system.slice/ssh.service").stat().st_ino
    top = V2.cgroup.stat().st_ino
    assert cgroupfs.find_paths(hierarchy, [ssh, top, 0]) == {ssh: "/system.slice/ssh.service", top: "/"}
    assert cgroupfs.first_process(hierarchy, "/system.slice/ssh.service") == 900
    assert cgroupfs.first_process(hierarchy, "/gone") is None


def test_the_search_is_bounded(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}/deep").mkdir(parents=True)
    deep = [(tmp_path / f"{number}/deep").stat().st_ino for number in range(8)]
    assert len(cgroupfs.find_paths(Hierarchy(tmp_path, "/"), deep)) == 8
    assert len(cgroupfs.find_paths(Hierarchy(tmp_path, "/"), deep, limit=12)) == 3
    wide = [(tmp_path / f"{number}").stat().st_ino for number in range(8)]
    assert len(cgroupfs.find_paths(Hierarchy(tmp_path, "/"), wide, limit=4)) == 3
    assert cgroupfs.find_paths(Hierarchy(tmp_path, "/"), deep, limit=0) == {}


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "top/a").mkdir(parents=True)
    (tmp_path / "outside/b").mkdir(parents=True)
    (tmp_path / "top/a/link").symlink_to(tmp_path / "outside")
    inside, outside = ((tmp_path / name).stat().st_ino for name in ("top/a", "outside/b"))
    assert cgroupfs.find_paths(Hierarchy(tmp_path / "top", "/x"), [inside, outside]) == {inside: "/x/a"}


def test_processes_of_another_pid_namespace_are_not_named(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("0\n0\n77\n")
    assert cgroupfs.first_process(Hierarchy(tmp_path, "/"), "/") == 77


@pytest.mark.parametrize("data", [b"", b"x", b"1 2 3 4 5 6 - ", b"a b c d /sys/fs/cgroup f - cgroup2 g",
                                  b"31 23 0:28 / /sys/fs/cgroup/\\000 rw - cgroup2 cgroup2 rw"])  # fmt: skip
def test_lines_of_another_form_say_nothing(data: bytes) -> None:
    assert cgroupfs.parse_mountinfo(data, HERE) == Hierarchies()


@given(st.binary(), st.binary())
def test_arbitrary_bytes_never_leave_the_cgroup_file_system(data: bytes, point: bytes) -> None:
    lines = b"31 23 0:28 / /sys/fs/cgroup" + point + b" rw - cgroup2 cgroup2 rw\n" + data
    unified = cgroupfs.parse_mountinfo(lines, HERE).unified
    assert unified is None or unified.point.is_relative_to(HERE.cgroup)


@given(st.text())
def test_arbitrary_paths_never_leave_the_hierarchy(path: str) -> None:
    directory = Hierarchy(Path("/sys/fs/cgroup"), "/").directory(path)
    assert directory is None or (directory.is_relative_to("/sys/fs/cgroup") and ".." not in directory.parts)
