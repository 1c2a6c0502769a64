from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import MACHINES, damaged
from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.protocols import Protocol, parse_protocols, read_protocols
from whodunnet.kernel.roots import Roots

REAL = (MACHINES / "linux-6.18/proc/self/net/protocols").read_bytes()
PROTOCOLS = st.builds(
    Protocol,
    sockets=st.integers(0, 2**31),
    memory_pages=st.none() | st.integers(0, 2**63),
    pressure=st.sampled_from([True, False, None]),
)
NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,12}( [A-Z]{1,3})?", fullmatch=True)
WORDS = {True: "yes", False: "no", None: "NI"}


def written(rows: dict[str, Protocol], titles: list[str]) -> bytes:
    lines = ["protocol " + " ".join(titles)]
    for name, row in rows.items():
        cells = {
            "sockets": str(row.sockets),
            "memory": str(-1 if row.memory_pages is None else row.memory_pages),
            "press": WORDS[row.pressure],
        }
        lines.append(" ".join([name, *(cells.get(title, "y") for title in titles)]))
    return "\n".join(lines).encode()


def test_tcp_of_a_real_kernel_is_read() -> None:
    rows = read_protocols(Roots.below(MACHINES / "linux-6.18"))
    assert rows["TCP"] == Protocol(sockets=rows["TCP"].sockets, memory_pages=59953, pressure=False)
    assert rows["MPTCP"].memory_pages == rows["TCPv6"].memory_pages == rows["TCP"].memory_pages


def test_a_protocol_without_account_has_neither_memory_nor_flag() -> None:
    assert parse_protocols(REAL, "f")["NETLINK"] == Protocol(sockets=0, memory_pages=None, pressure=None)


def test_pressure_is_read_where_the_columns_differ() -> None:
    assert read_protocols(Roots.below(MACHINES / "linux-4.9"))["TCP"].pressure is True


@given(st.dictionaries(NAMES, PROTOCOLS), st.permutations(["size", "sockets", "memory", "press", "slab", "module"]))
def test_cells_are_found_by_title_in_any_order(rows: dict[str, Protocol], titles: list[str]) -> None:
    assert parse_protocols(written(rows, titles), "f") == rows


@given(damaged(REAL))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_protocols(data, "f")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"press ", b"prass ", "the heading lacks press"),
        (b"  59953   no     192   yes  kernel ", b"  ", "a row has 2"),
        (b"59953   no ", b"59953   hm ", "press should be yes, no or NI and is 'hm'"),
    ],
)
def test_what_is_wrong_is_named(old: bytes, new: bytes, text: str) -> None:
    with pytest.raises(MalformedError, match=text):
        parse_protocols(REAL.replace(old, new), "f")
