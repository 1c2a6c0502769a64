import ctypes
from contextlib import nullcontext, suppress
from ctypes.util import find_library
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel import journal
from whodunnet.kernel.journal import Entry, Journal, directories, parse_field
from whodunnet.kernel.roots import Roots


def entry(received_us: int, text: str) -> Entry:
    return Entry(received_us=received_us, stamp_us=received_us - 5, text=text)


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """What the journal holds, oldest first; libsystemd is not asked."""
    held: list[Entry] = []
    monkeypatch.setattr(journal, "_opened", lambda _directory, _boot_id: nullcontext())
    monkeypatch.setattr(journal, "_backwards", lambda _handle: reversed(held))
    return held


@given(st.binary())
def test_the_value_of_a_field_is_read_back(value: bytes) -> None:
    assert parse_field(b"MESSAGE=" + value, "MESSAGE") == value


@given(damaged(b"MESSAGE=x"))
def test_a_damaged_field_is_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_field(data, "MESSAGE")


def test_every_entry_is_read_once_and_oldest_first(entries: list[Entry]) -> None:
    source = Journal(Path("x"), "b")
    entries += [entry(10, "a"), entry(20, "b")]
    assert [line.text for line in source.read()] == ["a", "b"]
    entries += [entry(30, "c"), entry(40, "d")]
    assert [line.text for line in source.read()] == ["c", "d"]
    assert source.read() == []


def test_the_oldest_line_stays_that_of_the_first_call(entries: list[Entry]) -> None:
    source = Journal(Path("x"), "b")
    entries.append(entry(1_000_005, "a"))
    oldest = source.read()[0].boot_seconds
    entries.append(entry(2_000_000, "b"))
    source.read()
    assert source.oldest == oldest


def test_of_a_long_journal_only_the_newest_entries_are_read(
    entries: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ENTRIES_A_READ", 2)
    entries += [entry(10, "a"), entry(20, "b"), entry(30, "c")]
    assert [line.text for line in Journal(Path("x"), "b").read()] == ["b", "c"]


def test_an_entry_without_the_kernels_stamp_has_the_time_journald_took_it(entries: list[Entry]) -> None:
    entries.append(Entry(received_us=7_000_000, stamp_us=None, text="a"))
    assert Journal(Path("x"), "b").read()[0].boot_seconds == pytest.approx(7 + journal.suspended_seconds(), abs=1e-3)


@pytest.mark.skipif(find_library("systemd") is None, reason="libsystemd is not installed")
def test_an_empty_journal_directory_has_no_line(tmp_path: Path) -> None:
    assert Journal(tmp_path, "0" * 32).read() == []


@pytest.mark.skipif(find_library("systemd") is None, reason="libsystemd is not installed")
def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"the journal \(open\) does not exist"):
        Journal(tmp_path / "none", "0" * 32).read()


def test_without_libsystemd_the_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_name: str) -> None:
        raise OSError("cannot open shared object file")

    journal._library.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(UnreadableError, match="needs libsystemd") as caught:
        Journal(Path("x"), "0" * 32).read()
    assert caught.value.code == "missing-file"


def test_the_lasting_journal_is_looked_at_first(tmp_path: Path) -> None:
    for root in ("run", "var"):
        (tmp_path / root / "log/journal").mkdir(parents=True)
    assert directories(Roots.below(tmp_path)) == [tmp_path / "var/log/journal", tmp_path / "run/log/journal"]
    assert directories(Roots.below(tmp_path / "none")) == []
