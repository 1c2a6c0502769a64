import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import MACHINES, damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.namespaces import Way, parse_link, parse_mountinfo
from whodunnet.kernel.roots import Roots

REAL = (MACHINES / "linux-6.18/proc/self/mountinfo").read_bytes()
NETNS = 4026532178
POINTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


def mounted(inum: int, point: str) -> bytes:
    """A line as the kernel writes it (show_mountinfo, fs/proc_namespace.c escapes blank, tab, newline, backslash)."""
    escaped = b"".join(b"\\%03o" % c if c in b" \t\n\\#" else bytes([c]) for c in os.fsencode(point))
    return b"46 42 0:4 net:[%d] /%b rw shared:5 - nsfs nsfs rw\n" % (inum, escaped)


def machine(root: Path, links: dict[str, str]) -> Roots:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").touch()
    for pid, link in links.items():
        (root / "proc" / pid / "ns").mkdir(parents=True)
        (root / "proc" / pid / "ns/net").symlink_to(link)
    return Roots.below(root)


def test_processes_and_mounts_of_one_namespace_are_one_way() -> None:
    found = namespaces.find(Roots.below(MACHINES / "linux-6.18"))
    assert found.ways[NETNS] == Way(pid=42, mount=Path("/run/netns/wdnfixture"))
    assert len(found.ways) == 2
    assert (found.vanished, found.denied, found.unidentified) == (0, 0, 0)


def test_the_lowest_pid_stands_for_its_namespace(tmp_path: Path) -> None:
    roots = machine(tmp_path, {"900": "net:[7]", "10": "net:[7]", "9": "net:[8]"})
    assert namespaces.find(roots).ways == {8: Way(pid=9), 7: Way(pid=10)}


def test_a_process_that_ends_meanwhile_is_counted(tmp_path: Path) -> None:
    roots = machine(tmp_path, {"9": "net:[8]"})
    (tmp_path / "proc/77").mkdir()
    assert namespaces.find(roots).vanished == 1


def test_namespaces_of_denied_processes_are_counted_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = machine(tmp_path, {"9": "net:[8]", "20": "net:[0]", "21": "net:[0]", "22": "net:[0]"})
    for pid in ("9", "20", "22"):
        (tmp_path / f"proc/{pid}/net").mkdir()
    (tmp_path / "proc/9/net/netstat").touch()
    (tmp_path / "proc/20/net/netstat").hardlink_to(tmp_path / "proc/9/net/netstat")
    (tmp_path / "proc/22/net/netstat").touch()
    (tmp_path / "proc/21/net").symlink_to("../22/net")
    readlink = os.readlink

    def deny(path: str | Path) -> str:
        if "/2" in str(path).removeprefix(str(tmp_path)):
            raise PermissionError(13, "Permission denied")
        return readlink(path)

    monkeypatch.setattr(os, "readlink", deny)
    found = namespaces.find(roots)
    assert (list(found.ways), found.denied, found.unidentified) == ([8], 3, 1)


def test_our_own_namespace_is_found_on_the_real_machine() -> None:
    mine = namespaces.of_process(Roots(), os.getpid())
    assert mine in namespaces.find(Roots()).ways


def test_the_namespace_of_a_process_that_is_gone_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist"):
        namespaces.of_process(machine(tmp_path, {}), 5)


def test_entering_what_is_no_namespace_is_an_error_and_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnreadableError, match=f"network namespace {tmp_path}/file"):
        namespaces.inside(tmp_path / "file", None, threading.get_ident)


def test_entering_another_namespace_than_expected_is_refused() -> None:
    with pytest.raises(UnreadableError, match="no longer network namespace 5") as caught:
        namespaces.inside(Path("/proc/self/ns/net"), 5, threading.get_ident)
    assert caught.value.code == "vanished"


@given(st.dictionaries(st.integers(0, 2**32 - 1), POINTS))
def test_mount_points_are_read_back(points: dict[int, str]) -> None:
    data = b"".join(mounted(inum, point) for inum, point in points.items())
    assert parse_mountinfo(data, "f") == {inum: Path("/" + point) for inum, point in points.items()}


@pytest.mark.parametrize("point", [b"run/netns/a", b"/run/\\000"])
def test_a_mount_point_that_is_no_path_is_malformed(point: bytes) -> None:
    with pytest.raises(MalformedError, match="a mount point should be a path"):
        parse_mountinfo(b"46 42 0:4 net:[7] %b rw - nsfs nsfs rw\n" % point, "f")


@given(damaged(REAL))
def test_damaged_mountinfo_is_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_mountinfo(data, "f")


@given(st.integers(0, 2**64 - 1))
def test_a_link_is_read_back(inum: int) -> None:
    assert parse_link(f"net:[{inum}]".encode(), "f") == inum


@given(damaged(b"net:[4026531840]"))
def test_a_damaged_link_is_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_link(data, "f")


def test_other_nsfs_mounts_are_passed_over() -> None:
    assert parse_mountinfo(b"46 42 0:4 mnt:[4026532178] /run/mnt rw - nsfs nsfs rw\n", "f") == {}
