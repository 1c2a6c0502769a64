"""The files of connection tracking, recorded and made up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.conntrack import (
    parse_statistics,
    read_size,
    read_statistics,
    read_timeouts,
)
from whodunnet.kernel.procfs.conntrack_entries import parse_entries, parse_entry, read_entries
from whodunnet.kernel.roots import Roots

RECORDED = Path(__file__).parents[3] / "fixtures/netlink/conntrack/everything-on.txt"
NEW_HEADER = (
    b"entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  "
    b"expect_new expect_create expect_delete search_restart\n"
)
OLD_HEADER = NEW_HEADER.replace(b"clashres", b"searched").replace(b"chainlength", b"delete_list")
ROWS = b"".join(b" ".join(b"%08x" % (cpu * 16 + column) for column in range(17)) + b"\n" for cpu in range(2))


def make(tmp_path: Path, **values: str) -> Roots:
    directory = tmp_path / "sys/net/netfilter"
    directory.mkdir(parents=True)
    for name, value in values.items():
        (directory / f"nf_conntrack_{name}").write_text(value)
    return Roots(proc=tmp_path)


def test_statistics_are_summed_over_cpus_by_name() -> None:
    found = parse_statistics(NEW_HEADER + ROWS, "stat")
    assert found["entries"] == 16, "every CPU repeats it: that of the last line"
    assert (found["clashres"], found["drop"], found["search_restart"]) == (1 + 17, 10 + 26, 16 + 32)


def test_an_older_kernel_has_other_columns() -> None:
    found = parse_statistics(OLD_HEADER + ROWS, "stat")
    assert found["searched"] == 18
    assert "clashres" not in found


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", ROWS, NEW_HEADER + b"0 1\n", NEW_HEADER + ROWS[:-9] + b"zz\n", NEW_HEADER + ROWS.replace(b"0", b"-")],
)
def test_other_statistics_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match="stat: "):
        parse_statistics(data, "stat")


@given(st.binary(max_size=200))
def test_any_statistics_raise_nothing_else(data: bytes) -> None:
    for head in (b"", NEW_HEADER, b"entries\n"):
        try:
            parse_statistics(head + data, "stat")
        except MalformedError:
            continue


def test_size(tmp_path: Path) -> None:
    size = read_size(make(tmp_path, count="5\n", max="262144\n", buckets="65536\n"))
    assert size is not None
    assert (size.count, size.max_entries, size.buckets) == (5, 262144, 65536)


def test_a_kernel_that_tracks_nothing_has_no_size(tmp_path: Path) -> None:
    assert read_size(Roots(proc=tmp_path)) is None


def test_a_size_that_is_no_number_is_malformed(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="nf_conntrack_count"):
        read_size(make(tmp_path, count="many"))


def test_timeouts_are_those_of_entries(tmp_path: Path) -> None:
    roots = make(
        tmp_path, tcp_timeout_established="86400\n", udp_timeout="30\n", udp_timeout_stream="120\n",
        frag6_timeout="60\n", tcp_max_retrans="3\n", max="1\n", dccp_timeout_open="43200\n",
    )  # fmt: skip
    assert read_timeouts(roots) == {
        "tcp_timeout_established": 86400, "udp_timeout": 30, "udp_timeout_stream": 120, "dccp_timeout_open": 43200,
    }  # fmt: skip


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    for read in (read_timeouts, read_statistics, read_entries):
        with pytest.raises(UnreadableError) as caught:
            read(Roots(proc=tmp_path))
        assert caught.value.code == "missing-file"


LINE = (
    b"ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=5000 dport=80 src=10.0.0.3 dst=10.0.0.4 "
    b"sport=8080 dport=5000 [ASSURED] mark=0 zone=0 use=2"
)


def test_one_line() -> None:
    entry = parse_entry(LINE, "text")
    assert (entry.source, entry.destination) == (b"\x0a\0\0\1", b"\x0a\0\0\2")
    assert (entry.answered_by, entry.source_as) == (b"\x0a\0\0\3", b"\x0a\0\0\4")
    assert (entry.destination_port, entry.answered_port, entry.protocol, entry.state) == (80, 8080, 6, 3)
    assert (entry.flags, entry.zone, entry.remaining_seconds) == (1 | 2 | 8 | 16, 0, 431999)


def test_an_offloaded_line_has_neither_time_nor_state() -> None:
    line = LINE.replace(b"431999 ESTABLISHED ", b"").replace(b"[ASSURED]", b"[OFFLOAD]")
    entry = parse_entry(line, "text")
    assert (entry.remaining_seconds, entry.state, entry.flags) == (None, 0, 1 | 4 | 8 | 16)


def test_zones_of_both_and_of_one_direction() -> None:
    assert parse_entry(LINE.replace(b"zone=0", b"zone=7"), "text").zone == 7
    one = LINE.replace(b" zone=0", b"").replace(b"dport=80 ", b"dport=80 zone-orig=9 ")
    assert parse_entry(one, "text").zone == 9


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"dst=10.0.0.4", b""), (b"src=10.0.0.1", b"src=fd00::1"), (b"src=10.0.0.1", b"src=x"),
        (b"dport=80", b"dport=-1"), (b"dport=80", b"dport=99999"), (b" 6 ", b" 600 "), (b" 6 ", b" x "),
        (b"zone=0", b"zone=70000"), (b"zone=0", b"zone=\xff"),
    ],
)  # fmt: skip
def test_a_line_of_another_form_is_malformed(old: bytes, new: bytes) -> None:
    assert old in LINE
    with pytest.raises(MalformedError, match="text: a line is no entry"):
        parse_entry(LINE.replace(old, new), "text")


def test_malformed_lines_are_counted_and_the_others_taken() -> None:
    entries, malformed = parse_entries(LINE + b"\nsomething else\n" + LINE + b"\n", "text")
    assert (len(entries), malformed) == (2, 1)


@given(st.data())
def test_changed_lines_raise_nothing_else(data: st.DataObject) -> None:
    line = bytearray(data.draw(st.sampled_from(RECORDED.read_bytes().splitlines())))
    for _ in range(data.draw(st.integers(1, 3))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    entries, malformed = parse_entries(bytes(line), "text")
    assert len(entries) + malformed == len([part for part in re.split(rb"\n", bytes(line)) if part])


@given(st.binary(max_size=200))
def test_any_line_is_an_entry_or_malformed(data: bytes) -> None:
    entries, malformed = parse_entries(data, "text")
    assert len(entries) + malformed == len([part for part in data.split(b"\n") if part])
