import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.kernel.tree.files import Tree
from whodunnet.kernel.tree.machine import Machine, parse_date, read_machine
from whodunnet.kernel.tree.sysctls import Sysctls, parse_printed


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def machine(root: Path, **files: str) -> Machine:
    put(root, {name.replace("__", "/"): text for name, text in files.items()})
    (root / "proc").mkdir(exist_ok=True)
    with Tree(root) as tree:
        return read_machine(tree, Sysctls(tree))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Sat Nov 21 21:11:45 UTC 2026", datetime(2026, 11, 21, 21, 11, 45, tzinfo=UTC)),
        ("Sat Nov  7 09:11:45 PM UTC 2026", datetime(2026, 11, 7, 21, 11, 45, tzinfo=UTC)),
        ("Sat Nov 21 21:11:45 CET 2026", None),
        ("Sat Foo 21 21:11:45 UTC 2026", None),
        ("Sat Nov 31 21:11:45 UTC 2026", None),
    ],
)
def test_a_date_counts_only_in_utc(text: str, found: datetime | None) -> None:
    assert parse_date(text) == found


@given(st.text(max_size=80))
def test_any_text_is_a_date_or_none(text: str) -> None:
    parse_date(text)


def test_the_time_is_that_of_date_and_boot_that_of_stat(tmp_path: Path) -> None:
    put(tmp_path, {"sos_commands/date/date": "Sat Nov 21 21:11:45 UTC 2026\n"})
    found = machine(tmp_path, proc__stat="cpu0 1 2 3 4 5 6 7 8 9 10\nbtime 1795295505\n")
    assert found.at.wall == datetime(2026, 11, 21, 21, 11, 45, tzinfo=UTC)
    assert found.at.boot_seconds == found.at.wall.timestamp() - 1795295505
    assert found.notes == ()


def test_without_a_date_it_is_that_of_a_file_and_is_said(tmp_path: Path) -> None:
    put(tmp_path, {"proc/uptime": "100.25 3.00\n"})
    os.utime(tmp_path / "proc/uptime", (1_700_000_000, 1_700_000_000))
    found = machine(tmp_path)
    assert found.at.wall.timestamp() == 1_700_000_000
    assert found.at.boot_seconds == 100.25
    assert found.notes == ("the tree has no date: its time is that of proc/uptime",)


def test_an_impossible_time_of_a_file_is_none(tmp_path: Path) -> None:
    put(tmp_path, {"proc/uptime": "1.00 1.00\n"})
    for name in ("proc/uptime", "proc"):
        os.utime(tmp_path / name, (0, 0))
    assert machine(tmp_path).notes[0].endswith("that of nothing")


def test_an_unknown_boot_is_said(tmp_path: Path) -> None:
    assert "the tree does not say when its machine started" in machine(tmp_path).notes


def test_nothing_is_known_of_an_empty_tree_least_of_all_by_this_machine(tmp_path: Path) -> None:
    found = machine(tmp_path)
    assert (found.node.hostname, found.node.kernel, found.node.boot_id) == ("unknown", "unknown", "")
    assert found.node.virtual_machine is None
    assert (found.page_size_bytes, found.cpus) == (None, 1)


def test_names_are_cleaned(tmp_path: Path) -> None:
    assert machine(tmp_path, hostname="a\x1b[2Jb\n").node.hostname == "a\N{REPLACEMENT CHARACTER}[2Jb"


def test_uname_stands_for_what_is_missing(tmp_path: Path) -> None:
    found = machine(tmp_path, uname="Linux db-1 5.14.0-70.el9 #1 SMP Thu x86_64 GNU/Linux\n")
    assert (found.node.hostname, found.node.kernel, found.page_size_bytes) == ("db-1", "5.14.0-70.el9", 4096)


@pytest.mark.parametrize(("total_kb", "pages", "size"), [(4000, 1010, 4096), (64000, 1010, 65536), (4000, 5, None)])
def test_a_page_is_as_large_as_memory_and_pages_say(
    tmp_path: Path, total_kb: int, pages: int, size: int | None
) -> None:
    zones = f"Node 0, zone DMA\n        managed  10\nNode 0, zone Normal\n        managed  {pages - 10}\n"
    zones = zones if pages > 10 else f"        managed  {pages}\n"
    found = machine(tmp_path, proc__meminfo=f"MemTotal: {total_kb} kB\n", proc__zoneinfo=zones)
    assert found.page_size_bytes == size


def test_the_architecture_tells_where_there_is_one_size_only(tmp_path: Path) -> None:
    assert machine(tmp_path, uname="Linux a 6.1 #1 aarch64 GNU/Linux\n").page_size_bytes is None


def test_settings_of_files_come_before_those_that_were_printed(tmp_path: Path) -> None:
    put(tmp_path, {"proc/sys/net/core/somaxconn": "128\n"})
    put(tmp_path, {"sos_commands/kernel/sysctl_-a": "net.core.somaxconn = 4096\nnet.ipv4.tcp_mem = 1\t2\t3\nx\n"})
    with Tree(tmp_path) as tree:
        sysctls = Sysctls(tree)
        assert sysctls.text("net.core.somaxconn") == "128"
        assert sysctls.text("net.ipv4.tcp_mem") == "1\t2\t3"
        assert sysctls.text("net.ipv4.tcp_rmem") is None
        assert sysctls.names("net.ipv4") == ["net.ipv4.tcp_mem"]
        assert sysctls.known


@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_none(data: bytes) -> None:
    assert all("\n" not in name for name in parse_printed(data))
