import os
from pathlib import Path

import pytest

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.tree.files import LINKS_MAX, Tree


def write(path: Path, text: str = "x\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def read(root: Path, path: str) -> bytes:
    with Tree(root) as tree:
        return tree.read(path)


def test_a_file_is_read(tmp_path: Path) -> None:
    write(tmp_path / "proc/net/snmp", "Ip: 1\n")
    assert read(tmp_path, "proc/net/snmp") == b"Ip: 1\n"


def test_links_of_the_copied_machine_are_followed_inside_of_the_tree(tmp_path: Path) -> None:
    write(tmp_path / "proc/17/net/snmp", "Ip: 1\n")
    (tmp_path / "proc/self").symlink_to("17")
    (tmp_path / "proc/net").symlink_to("self/net")
    (tmp_path / "absolute").symlink_to("/proc/net/snmp")
    assert read(tmp_path, "proc/net/snmp") == b"Ip: 1\n"
    assert read(tmp_path, "absolute") == b"Ip: 1\n"


@pytest.mark.parametrize("target", ["/secret", "../secret", "../../../../secret", "sub/../../secret"])
def test_no_link_leads_out_of_the_tree(tmp_path: Path, target: str) -> None:
    write(tmp_path / "secret", "of this machine\n")
    write(tmp_path / "tree/sub/file")
    (tmp_path / "tree/link").symlink_to(target)
    with pytest.raises(UnreadableError, match="not in the tree"):
        read(tmp_path / "tree", "link")


def test_a_directory_that_is_a_link_to_the_outside_is_not_entered(tmp_path: Path) -> None:
    write(tmp_path / "outside/net/snmp", "of this machine\n")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/proc").symlink_to(tmp_path / "outside")
    with pytest.raises(UnreadableError, match="not in the tree"):
        read(tmp_path / "tree", "proc/net/snmp")
    with Tree(tmp_path / "tree") as tree:
        assert tree.names("proc") == []
        assert tree.changed("proc") is None


def test_a_path_that_climbs_stays_in_the_tree(tmp_path: Path) -> None:
    write(tmp_path / "secret", "of this machine\n")
    write(tmp_path / "tree/secret", "of the tree\n")
    assert read(tmp_path / "tree", "../../secret") == b"of the tree\n"


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(UnreadableError, match="leads nowhere"):
        read(tmp_path, "one")


def test_as_many_links_as_the_kernel_would_follow_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "0", "end\n")
    for number in range(1, LINKS_MAX + 2):
        (tmp_path / str(number)).symlink_to(str(number - 1))
    assert read(tmp_path, str(LINKS_MAX)) == b"end\n"
    with pytest.raises(UnreadableError, match="leads nowhere"):
        read(tmp_path, str(LINKS_MAX + 1))


def test_a_pipe_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableError, match="no regular file"):
        read(tmp_path, "pipe")


def test_a_directory_in_place_of_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "uptime").mkdir()
    with pytest.raises(UnreadableError, match="no regular file"):
        read(tmp_path, "uptime")


def test_a_file_in_place_of_a_directory_is_nothing(tmp_path: Path) -> None:
    write(tmp_path / "proc")
    with pytest.raises(UnreadableError, match="not in the tree"):
        read(tmp_path, "proc/uptime")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.write(b"x" * 8192)
        file.truncate(1 << 40)
    with pytest.raises(MalformedError, match="longer than"):
        read(tmp_path, "huge")


def test_of_a_long_log_the_end_is_read_from_the_start_of_a_line(tmp_path: Path) -> None:
    write(tmp_path / "log", "first\nsecond\nthird\n")
    with Tree(tmp_path) as tree:
        assert tree.read_end("log", 8) == b"third\n"
        assert tree.read_end("log", 80) == b"first\nsecond\nthird\n"


def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    write(tmp_path / "empty", "")
    write(tmp_path / "full", "x")
    with Tree(tmp_path) as tree:
        assert tree.first("missing", "empty", "full") == ("full", b"x")
        with pytest.raises(UnreadableError, match="is empty"):
            tree.first("missing", "empty")


@pytest.mark.parametrize("path", ["proc/stat", "proc/self/net/sockstat", "sys/devices/system/cpu/possible"])
def test_files_of_a_kernel_that_runs_are_refused(path: str) -> None:
    assert Path("/", path).read_bytes()
    with pytest.raises(UnreadableError):
        read(Path("/"), path)


def test_the_names_in_a_directory_are_told_in_order(tmp_path: Path) -> None:
    write(tmp_path / "b")
    write(tmp_path / "a")
    with Tree(tmp_path) as tree:
        assert tree.names("") == ["a", "b"]
        assert tree.names("nowhere") == []


def test_what_is_no_directory_is_no_tree(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError):
        Tree(write(tmp_path / "bundle.tar.xz"))
