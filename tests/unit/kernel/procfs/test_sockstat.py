from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import COUNT, MACHINES, damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.procfs.sockstat import (
    Sockstat,
    Sockstat6,
    parse_sockstat,
    parse_sockstat6,
    read_sockstat,
    read_sockstat6,
)
from whodunnet.kernel.roots import Roots

REAL = (MACHINES / "linux-6.18/proc/self/net/sockstat").read_bytes()
REAL6 = (MACHINES / "linux-6.18/proc/self/net/sockstat6").read_bytes()
SOCKSTATS = st.builds(
    Sockstat, **dict.fromkeys(Sockstat.__struct_fields__, COUNT)
)  # fmt: skip


def written(value: Sockstat, swapped: bool) -> bytes:
    tcp = [f"inuse {value.tcp_inuse}", f"orphan {value.tcp_orphan}", f"tw {value.tcp_tw}"]
    tcp += [f"alloc {value.tcp_alloc}", f"mem {value.tcp_mem_pages}"]
    lines = [f"sockets: used {value.sockets_used}", "TCP: " + " ".join(tcp[::-1] if swapped else tcp), "UDP: inuse 1"]
    return "\n".join(lines[::-1] if swapped else lines).encode()


def test_sockstat_of_a_real_kernel_is_read() -> None:
    assert read_sockstat(Roots.below(MACHINES / "linux-6.18")) == Sockstat(
        sockets_used=13, tcp_inuse=1, tcp_orphan=0, tcp_tw=0, tcp_alloc=201127, tcp_mem_pages=59953
    )


def test_sockstat_of_the_2018_incident_is_read() -> None:
    value = read_sockstat(Roots.below(MACHINES / "incident-2018"))
    assert (value.tcp_inuse, value.tcp_tw, value.tcp_alloc, value.tcp_mem_pages) == (24, 58, 863, 87916)


def test_sockstat6_is_missing_where_ipv6_is() -> None:
    with pytest.raises(UnreadableError, match="sockstat6 does not exist"):
        read_sockstat6(Roots.below(MACHINES / "linux-4.9"))


@given(SOCKSTATS, st.booleans())
def test_values_are_found_by_name_in_any_order(value: Sockstat, swapped: bool) -> None:
    assert parse_sockstat(written(value, swapped), "f") == value


@given(COUNT)
def test_the_ipv6_count_is_read_back(number: int) -> None:
    assert parse_sockstat6(f"UDP6: inuse 3\nTCP6: inuse {number}\n".encode(), "f") == Sockstat6(tcp6_inuse=number)


@given(damaged(REAL) | damaged(REAL6))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    for parse in (parse_sockstat, parse_sockstat6):
        with suppress(MalformedError):
            parse(data, "f")


def test_a_missing_value_is_named() -> None:
    with pytest.raises(MalformedError, match="f: TCP mem is missing"):
        parse_sockstat(REAL.replace(b" mem ", b" nem "), "f")


def test_a_value_that_is_no_number_is_named() -> None:
    with pytest.raises(MalformedError, match="f: TCP orphan should be a number and is 'many'"):
        parse_sockstat(REAL.replace(b"orphan 0", b"orphan many"), "f")
