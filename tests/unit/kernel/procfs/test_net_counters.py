from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import MACHINES, damaged
from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.net_counters import Chosen, read_net_counters
from whodunnet.kernel.procfs.netstat import parse_netstat
from whodunnet.kernel.roots import Roots
from whodunnet.model.counters import ICMP_TYPES, NAMES

NETSTAT = (MACHINES / "linux-6.18/proc/self/net/netstat").read_bytes()
CHOSEN = Chosen(NAMES | {"IcmpMsg": ICMP_TYPES})
SNMP = b"""\
Ip: Forwarding DefaultTTL InReceives
Ip: 2 64 47
Icmp: InMsgs InErrors InDestUnreachs
Icmp: 6 0 5
IcmpMsg: InType3 OutType8
IcmpMsg: 6 9
Tcp: RtoAlgorithm MaxConn RetransSegs
Tcp: 1 -1 12
Udp: InDatagrams RcvbufErrors MemErrors
Udp: 1587 3 1
"""
SNMP6 = b"Ip6InReceives                   \t79\nUdp6InErrors                    \t4\nUdp6RcvbufErrors  \t3\n"


def at(tmp_path: Path, **files: bytes) -> Roots:
    folder = tmp_path / "proc/7/net"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return Roots.below(tmp_path)


def test_chosen_counters_of_a_real_kernel_are_those_of_the_whole_sections() -> None:
    chosen = Chosen(NAMES)
    found = chosen.of_lines(NETSTAT, "f")
    for section in ("TcpExt", "IpExt"):
        whole = parse_netstat(NETSTAT, "f", section)
        expected = {f"{section}.{name}": whole[name] for name in NAMES[section] if whole.get(name)}
        assert {name: value for name, value in found.items() if name.startswith(f"{section}.")} == expected
        assert {f"{section}.{name}" for name in NAMES[section] if name in whole} <= chosen.known
    assert "TcpExt.TCPTimeouts" in found


def test_three_files_are_one_answer(tmp_path: Path) -> None:
    found = read_net_counters(at(tmp_path, netstat=NETSTAT, snmp=SNMP, snmp6=SNMP6), CHOSEN, "7")
    assert {name: found[name] for name in ("Ip.Forwarding", "IcmpMsg.InType3", "Tcp.RetransSegs")} == {
        "Ip.Forwarding": 2, "IcmpMsg.InType3": 6, "Tcp.RetransSegs": 12,
    }  # fmt: skip
    assert (found["Udp.MemErrors"], found["Udp6.RcvbufErrors"], found["Ip6.InReceives"]) == (1, 3, 79)
    assert "TcpExt.ListenOverflows" in CHOSEN.known
    assert not {"IcmpMsg.OutType8", "Tcp.MaxConn"} & CHOSEN.known


def test_a_kernel_without_ipv6_has_no_counters_of_it(tmp_path: Path) -> None:
    found = read_net_counters(at(tmp_path, netstat=NETSTAT, snmp=SNMP), CHOSEN, "7")
    assert found["Udp.RcvbufErrors"] == 3
    assert not [name for name in found if name.startswith("Udp6.")]


def test_numbers_beyond_what_a_sample_holds_are_cut() -> None:
    found = CHOSEN.of_lines(b"Ip: InReceives\nIp: 18446744073709551615\n", "f")
    assert found == {"Ip.InReceives": 2**63 - 1}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"Ip: InReceives InDelivers\nIp: 1\n", "2 names and 1 values"),
        (b"Ip: InReceives\nIp: x\n", "should be a number"),
        (b"Ip: InReceives\nIp: 1_0\n", "should be a number"),
        (b"Ip: InReceives\nIp: 1-1\n", "should be a number"),
    ],
)
def test_a_malformed_section_is_named(data: bytes, text: str) -> None:
    with pytest.raises(MalformedError, match=f"f: .*{text}"):
        CHOSEN.of_lines(data, "f")


@pytest.mark.parametrize("data", [b"Udp6InErrors\n", b"Udp6InErrors 1", b"Udp6InErrors 1_1\n", b"A 1 B\n", b"\xff 1\n"])
def test_a_malformed_list_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError, match="f"):
        CHOSEN.of_pairs(data, "f")


@given(damaged(NETSTAT))
def test_damaged_lines_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        CHOSEN.of_lines(data, "f")


@given(st.one_of(damaged(SNMP6), st.binary(max_size=80)))
def test_a_damaged_list_is_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        CHOSEN.of_pairs(data, "f")
