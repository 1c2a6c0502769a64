"""arp_cache and ndisc_cache of /proc/net/stat, as kernels write them and broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.neighbours import COUNTERS, parse_statistics, read_statistics, read_thresholds
from whodunnet.kernel.roots import Roots

NAMES = (
    b"entries  allocs   destroys hash_grows lookups  hits     res_failed rcv_probes_mcast rcv_probes_ucast "
    b"periodic_gc_runs forced_gc_runs unresolved_discards table_fulls\n"
)
WHOLE = NAMES + (
    b"00000400 000037fe 000037f4 00000002   0000b784 000023be 000004c6   00000000         00000000         "
    b"00000000         00000001       00006537            0000001f\n"
    b"00000400 00003e15 00003e16 00000005   0000b2f2 00002580 000005ba   00000000         00000000         "
    b"0000117c         00000003       0000285c            00000001\n"
)


def test_entries_are_of_the_table_and_counters_of_all_cpus() -> None:
    found = parse_statistics(WHOLE, "arp_cache")
    assert found.entries == 1024
    assert found.counters["table_fulls"] == 32
    assert found.counters["forced_gc_runs"] == 4
    assert set(found.counters) == set(COUNTERS)


def test_an_older_kernel_has_no_count_of_overflows() -> None:
    data = b"entries allocs\n00000003 0000000a\n"
    assert parse_statistics(data, "x").counters == {"allocs": 10}


@pytest.mark.parametrize(
    "data", [b"", NAMES, b"entries\n0000 0000\n", b"allocs\n00000001\n", b"entries\n-1\n", b"entries\n1_0\n", b"\n1\n"]
)
def test_what_makes_no_sense_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match="arp_cache"):
        parse_statistics(data, "arp_cache")


@given(st.one_of(st.binary(max_size=120), st.text("entris 0123456789abcdef\n", max_size=120).map(str.encode)))
def test_any_bytes_are_counters_or_malformed(data: bytes) -> None:
    try:
        found = parse_statistics(data, "x")
    except MalformedError:
        return
    assert found.entries >= 0


def test_a_kernel_that_shows_none_is_unreadable_by_name(tmp_path: object) -> None:
    roots = Roots.below(tmp_path)  # type: ignore[arg-type]
    with pytest.raises(UnreadableError, match="arp_cache"):
        read_statistics(roots, 4, "1")
    with pytest.raises(UnreadableError, match="gc_thresh1"):
        read_thresholds(roots, 6)
