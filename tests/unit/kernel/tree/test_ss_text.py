from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.sock_diag_messages import InetSocket, PlainSocket, SocketMemory
from whodunnet.kernel.tree.ss_text import NO_SUCH_INODE, Holder, Printed, confirmed, parse_inodes, parse_ss

REAL = (Path(__file__).parents[3] / "fixtures/trees/ss-6.1.txt").read_bytes()
HEADER = "Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n"
MEMORY = "\t skmem:(r1,rb2,t3,tb4,f5,w6,o7,bl8,d9) cubic mss:1448 lastsnd:10"


def sockets(text: str) -> list[Printed]:
    return list(parse_ss((HEADER + text).encode(), "ss").sockets)


def tcp(tail: str, second: str = MEMORY, state: str = "ESTAB") -> str:
    return f"tcp {state} 0 0 192.0.2.1:80 192.0.2.2:40000 {tail}\n{second}\n"


def only(text: str) -> Printed:
    (found,) = sockets(text)
    return found


def inet(text: str) -> InetSocket:
    found = only(text).socket
    assert isinstance(found, InetSocket)
    return found


def test_what_a_real_ss_printed_is_read_whole() -> None:
    found = parse_ss(REAL, "ss")
    assert (found.malformed, found.left_out, found.named) == (0, 0, True)
    tcps = [one.socket for one in found.sockets if isinstance(one.socket, InetSocket)]
    assert [s.state for s in tcps] == [
        "listen", "established", "established", "close-wait", "time-wait", "established", "fin-wait-2", "listen",
        "established",
    ]  # fmt: skip
    assert sum(isinstance(one.socket, PlainSocket) for one in found.sockets) == 2


def test_unread_data_and_a_closed_window_are_seen_in_what_a_real_ss_printed() -> None:
    reader, writer = (one.socket for one in parse_ss(REAL, "ss").sockets if one.socket.inode in (34499229, 34499228))
    assert isinstance(reader, InetSocket)
    assert isinstance(writer, InetSocket)
    assert reader.unread_bytes == 128512
    assert reader.receive_window_full
    assert writer.unsent_bytes == 3782144
    assert writer.send_window_closed  # ss leaves a window of 0 out


def test_a_window_is_unknown_where_ss_prints_none_at_all() -> None:
    found = inet(tcp("ino:5 sk:1"))
    assert found.info is not None
    assert found.info.snd_wnd is None


def test_minisockets_have_no_memory() -> None:
    found = inet(tcp("timer:(timewait,58sec,0) ino:0 sk:5", "\t", "TIME-WAIT"))
    assert (found.memory, found.info, found.timer, found.inode) == (None, None, 3, 0)


def test_everything_is_in_its_field() -> None:
    found = only(
        tcp(
            'users:(("nginx",pid=12,fd=7),("nginx",pid=13,fd=7)) '
            "timer:(persist,1.2sec,4) uid:33 ino:77 sk:1f cgroup:/a <->"
        )
    )
    assert found.holders == (Holder(12, "nginx"), Holder(13, "nginx"))
    assert isinstance(found.socket, InetSocket)
    assert (found.socket.timer, found.socket.uid, found.socket.inode, found.socket.cookie) == (4, 33, 77, 0x1F)
    assert found.socket.memory == SocketMemory(rmem_alloc=1, rcvbuf=2, fwd_alloc=5, wmem_queued=6, drops=9)
    assert found.socket.info is not None
    assert (found.socket.info.probes, found.socket.info.snd_mss, found.socket.info.last_data_sent_ms) == (4, 1448, 10)


@pytest.mark.parametrize(
    ("printed", "family", "address", "port"),
    [
        ("192.0.2.1:80", 4, "192.0.2.1", 80), ("[::ffff:192.0.2.1]:80", 6, "192.0.2.1", 80),
        ("::ffff:192.0.2.1:80", 6, "192.0.2.1", 80), ("127.0.0.53%lo:53", 4, "127.0.0.53", 53),
        ("[fe80::1]%eth0:546", 6, "fe80::1", 546), ("*:22", 6, "::", 22), ("0.0.0.0:*", 4, "0.0.0.0", 0),
    ],
)  # fmt: skip
def test_ends_are_read_in_every_form(printed: str, family: int, address: str, port: int) -> None:
    found = inet(f"tcp LISTEN 0 5 {printed} 0.0.0.0:* ino:5 sk:1\n")
    assert found.local_port == port
    assert found.local_address == address
    assert found.family == family


@pytest.mark.parametrize("name", ['",pid=1,fd=3),(', '")) ino:7 sk:1 ', '"', 'x",pid=1,fd=3'])
def test_a_process_that_is_called_like_columns_is_nobody(name: str) -> None:
    found = only(tcp(f'users:(("{name}",pid=99,fd=4)) ino:5 sk:1 cgroup:/'))
    assert found.holders == ()
    assert found.socket.inode == NO_SUCH_INODE


def test_a_cgroup_that_is_called_like_columns_says_nothing() -> None:
    found = only(tcp('users:(("a",pid=9,fd=4)) ino:5 sk:1 cgroup:/x users:(("b",pid=1,fd=3)) ino:6 sk:2 skmem:(r9,rb9'))
    assert found.holders == (Holder(9, "a"),)
    assert found.socket.inode == 5


def test_control_characters_in_names_are_replaced() -> None:
    found = only(tcp('users:(("a\x1b[2J",pid=9,fd=4)) ino:5 sk:1'))
    assert found.holders == (Holder(9, "a\N{REPLACEMENT CHARACTER}[2J"),)


def test_a_unix_socket_whose_name_has_a_line_of_tcp_is_no_socket_of_tcp() -> None:
    forged = 'u_str LISTEN 0 5 /a\ntcp LISTEN 9 9 0.0.0.0:80 0.0.0.0:* users:(("sshd",pid=1,fd=3)) ino:1 sk:1 5 * 0\n'
    found = parse_ss((HEADER + forged + "u_str ESTAB 0 0 * 1 * 2\n" + tcp("ino:5 sk:1")).encode(), "ss")
    assert [one.socket.inode for one in found.sockets] == [5]
    assert found.malformed == 1


def test_an_inode_with_two_owners_has_none() -> None:
    first, second = tcp('users:(("a",pid=9,fd=4)) ino:5 sk:1'), tcp('users:(("b",pid=1,fd=4)) ino:5 sk:1')
    assert [(one.holders, one.socket.inode) for one in sockets(first + second)] == [((), NO_SUCH_INODE)] * 2


def test_what_the_kernels_own_table_has_not_is_left_out() -> None:
    found = parse_ss((HEADER + tcp("ino:5 sk:1") + tcp("ino:6 sk:2") + tcp("ino:0 sk:3")).encode(), "ss")
    table = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    table += b"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5 1 0\n"
    assert parse_inodes(table) == {5}
    kept = confirmed(found, parse_inodes(table))
    assert [one.socket.inode for one in kept.sockets] == [5, 0]
    assert kept.malformed == 1


@pytest.mark.parametrize(
    "line",
    [
        "tcp ESTAB 0 0 192.0.2.1:80", "tcp WHAT 0 0 192.0.2.1:80 192.0.2.2:1", "tcp ESTAB x 0 192.0.2.1:80 192.0.2.2:1",
        "tcp ESTAB 0 0 192.0.2.1:99999 192.0.2.2:1", "tcp ESTAB 0 0 example:80 192.0.2.2:1",
    ],
)  # fmt: skip
def test_a_line_that_is_not_understood_is_counted(line: str) -> None:
    found = parse_ss((HEADER + line + "\n").encode(), "ss")
    assert (found.sockets, found.malformed) == ((), 1)


def test_a_text_that_is_not_of_ss_is_refused() -> None:
    with pytest.raises(MalformedError, match="columns of ss"):
        parse_ss(b"bash: ss: command not found\n", "ss")


@given(st.binary(max_size=400))
@example(b"\ntcp \n\t")
def test_any_bytes_are_sockets_or_an_error(data: bytes) -> None:
    try:
        parse_ss(HEADER.encode() + data, "ss")
        parse_ss(data, "ss")
    except MalformedError:
        pass


@given(st.integers(0, len(REAL)), st.integers(0, len(REAL)), st.binary(max_size=20))
def test_a_damaged_text_is_read_or_counted(start: int, end: int, put: bytes) -> None:
    found = parse_ss(HEADER.encode() + REAL[:start] + put + REAL[max(start, end) :], "ss")
    assert all(one.socket.inode >= 0 for one in found.sockets)
