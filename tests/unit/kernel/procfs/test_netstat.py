from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import COUNT, MACHINES, damaged
from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.netstat import parse_netstat, read_netstat, read_snmp
from whodunnet.kernel.roots import Roots

REAL = (MACHINES / "linux-6.18/proc/self/net/netstat").read_bytes()
SECTION = st.dictionaries(st.from_regex(r"[A-Z][A-Za-z0-9]{0,20}", fullmatch=True), COUNT)


def written(name: str, section: dict[str, int]) -> str:
    return f"{name}: {' '.join(section)}\n{name}: {' '.join(map(str, section.values()))}\n"


def test_counters_of_a_real_kernel_are_read_by_name() -> None:
    section = read_netstat(Roots.below(MACHINES / "linux-6.18"))
    header, values = (line.split()[1:] for line in REAL.splitlines()[:2])
    assert section["TCPAbortOnClose"] == int(values[header.index(b"TCPAbortOnClose")])
    assert len(section) == len(header)


def test_every_section_of_a_real_kernel_is_read() -> None:
    assert "InOctets" in parse_netstat(REAL, "f", "IpExt")
    assert "MPCapableSYNRX" in parse_netstat(REAL, "f", "MPTcpExt")


def test_a_section_whose_name_ends_in_that_of_another_is_not_taken_for_it() -> None:
    assert "MPCapableSYNRX" not in parse_netstat(REAL, "f", "TcpExt")


def test_the_older_counters_of_tcp_are_in_a_file_of_their_own(tmp_path: Path) -> None:
    """Its first lines are of another protocol, and a limit may be negative."""
    file = tmp_path / "proc/7/net/snmp"
    file.parent.mkdir(parents=True)
    file.write_text(written("Ip", {"Forwarding": 1}) + written("Tcp", {"MaxConn": -1, "AttemptFails": 13}))
    roots = Roots.below(tmp_path)
    assert read_snmp(roots, "7") == {"MaxConn": -1, "AttemptFails": 13}
    assert read_snmp(roots, "7", only=("AttemptFails",)) == {"AttemptFails": 13}


def test_an_older_kernel_lacks_newer_counters() -> None:
    section = read_netstat(Roots.below(MACHINES / "linux-4.9"))
    assert section["TCPAbortOnMemory"] == 9
    assert "TCPRcvQDrop" not in section


@given(SECTION, SECTION)
def test_counters_are_read_back(first: dict[str, int], second: dict[str, int]) -> None:
    data = (written("TcpExt", first) + written("MPTcpExt", second)).encode()
    assert parse_netstat(data, "f") == first
    assert parse_netstat(data, "f", "MPTcpExt") == second


def test_only_wanted_counters_are_kept_and_those_the_kernel_lacks_left_out() -> None:
    assert set(parse_netstat(REAL, "f", only=("ListenDrops", "Invented"))) == {"ListenDrops"}


@given(damaged(REAL))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_netstat(data, "f")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "section TcpExt has 0 lines"),
        (b"TcpExt: A\n", "section TcpExt has 1 lines"),
        (b"TcpExt: A B\nTcpExt: 1\n", "2 names and 1 values"),
        (b"TcpExt: A B\nTcpExt: 1 x\n", "something else than names and numbers"),
        (b"TcpExt: A B\nTcpExt: 1 1_0\n", "something else than names and numbers"),
        (b"TcpExt: A B\nTcpExt: 1 1-1\n", "section TcpExt: invalid literal"),
        ("TcpExt: A É\nTcpExt: 1 1\n".encode(), "something else than names and numbers"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, text: str) -> None:
    with pytest.raises(MalformedError, match=text):
        parse_netstat(data, "f")
