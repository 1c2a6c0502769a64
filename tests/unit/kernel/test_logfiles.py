import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel import logfiles
from whodunnet.kernel.logfiles import FileLine, LogFile, of_last_boot, open_first, parse_lines
from whodunnet.kernel.roots import Roots

LINES = (
    b"Nov 21 01:21:33 node-1 kernel: [    0.000000] Linux version 6.1.0\n"
    b"Nov 21 01:21:34 node-1 systemd[1]: a kernel: line that is none\n"
    b"2024-05-01T12:00:00.123456+02:00 node-1 kernel: [   12.345678] TCP: out of memory -- consider tuning tcp_mem\n"
    b"2024-05-01T12:00:00.5+00:00 node-1 kernel: TCP: too many orphaned sockets\n"
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)
FILE_LINES = st.builds(
    FileLine,
    stamp_seconds=st.none() | st.integers(0, 10**15 - 1).map(lambda us: us / 1e6),
    wall=st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    text=TEXTS,
)


def written(line: FileLine) -> bytes:
    wall = "Nov  1 01:21:33" if line.wall is None else line.wall.isoformat()
    stamp = "" if line.stamp_seconds is None else f"[{line.stamp_seconds:12.6f}] "
    return f"{wall} host kernel: {stamp}{line.text}\n".encode()


def now_line(text: str, ago: timedelta = timedelta()) -> bytes:
    return written(FileLine(stamp_seconds=None, wall=datetime.now(UTC) - ago, text=text))


def test_lines_of_the_kernel_are_read_in_both_forms() -> None:
    first, second, third = parse_lines(LINES, "f")
    assert (first.stamp_seconds, first.wall, first.text) == (0.0, None, "Linux version 6.1.0")
    assert (second.stamp_seconds, second.text) == (12.345678, "TCP: out of memory -- consider tuning tcp_mem")
    assert third.wall == datetime(2024, 5, 1, 12, 0, 0, 500000, tzinfo=UTC)


@given(st.lists(FILE_LINES))
def test_lines_are_read_back(lines: list[FileLine]) -> None:
    assert parse_lines(b"".join(map(written, lines)), "f") == lines


@given(damaged(LINES))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_lines(data, "f")


def test_only_the_last_boot_counts() -> None:
    start = FileLine(stamp_seconds=0.0, wall=None, text="Linux version 6.1.0")
    line = FileLine(stamp_seconds=9.0, wall=None, text="x")
    assert of_last_boot([line, start, line, start, line]) == [start, line]
    assert of_last_boot([line, line]) == [line, line]


def test_lines_from_before_the_boot_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "kern.log"
    path.write_bytes(now_line("old", timedelta(days=20_000)) + now_line("new"))
    file = LogFile(path)
    assert [line.text for line in file.read()] == ["new"]
    assert file.oldest == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=5)


def test_a_stamp_of_the_future_belongs_to_an_older_boot(tmp_path: Path) -> None:
    (tmp_path / "kern.log").write_bytes(b"Nov  1 01:21:33 h kernel: [99999999.000000] x\n")
    assert LogFile(tmp_path / "kern.log").read() == []


def test_a_line_without_year_and_stamp_has_no_time(tmp_path: Path) -> None:
    (tmp_path / "syslog").write_bytes(b"Nov  1 01:21:33 h kernel: x\n")
    file = LogFile(tmp_path / "syslog")
    assert [line.boot_seconds for line in file.read()] == [None]
    assert file.oldest is None


def test_what_is_added_is_read_once_and_only_when_its_line_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "kern.log"
    path.write_bytes(now_line("a"))
    file = LogFile(path)
    assert [line.text for line in file.read()] == ["a"]
    half = now_line("b")
    with path.open("ab") as log:
        log.write(half[:-3])
        log.flush()
        assert file.read() == []
        log.write(half[-3:] + now_line("c"))
    assert [line.text for line in file.read()] == ["b", "c"]


def test_a_rotated_file_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "kern.log"
    path.write_bytes(now_line("a") * 3)
    file = LogFile(path)
    file.read()
    path.rename(tmp_path / "kern.log.1")
    path.write_bytes(now_line("b"))
    assert [line.text for line in file.read()] == ["b"]


def test_only_the_tail_of_a_long_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfiles, "TAIL_BYTES", 110)
    (tmp_path / "kern.log").write_bytes(now_line("a") * 20 + now_line("b") * 2)
    assert [line.text for line in LogFile(tmp_path / "kern.log").read()] == ["b", "b"]


def test_a_binary_file_is_malformed(tmp_path: Path) -> None:
    (tmp_path / "kern.log").write_bytes(b"\0\1\2\n")
    with pytest.raises(MalformedError, match="not a text file"):
        LogFile(tmp_path / "kern.log").read()


def test_the_first_file_that_exists_is_taken(tmp_path: Path) -> None:
    log = tmp_path / "var/log"
    log.mkdir(parents=True)
    with pytest.raises(UnreadableError, match=r"has none of kern\.log"):
        open_first(Roots.below(tmp_path))
    (log / "messages").touch()
    (log / "syslog").touch()
    assert open_first(Roots.below(tmp_path)).name == str(log / "syslog")
