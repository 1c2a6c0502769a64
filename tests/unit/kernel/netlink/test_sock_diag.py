"""The decoders of sock_diag answers, on recorded bytes (fixtures/netlink/sock_diag/about.md) and on broken ones."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError
from whodunnet.kernel.netlink.sock_diag import SockDiag
from whodunnet.kernel.netlink.sock_diag_messages import (
    InetSocket,
    PlainSocket,
    SocketMemory,
    TcpInfo,
    decode_ends,
    decode_tcp,
    decode_udp,
    decode_unix,
    ends_of,
)
from whodunnet.kernel.netlink.socket import NLMSG_DONE, split

RECORDED = Path(__file__).parents[3] / "fixtures/netlink/sock_diag"
DECODERS: dict[str, Callable[[bytes | memoryview], InetSocket | PlainSocket]] = {
    "tcp-listeners": decode_tcp,
    "tcp": decode_tcp,
    "udp": decode_udp,
    "unix": decode_unix,
}


def bodies(name: str) -> list[bytes]:
    datagrams = memoryview((RECORDED / f"{name}.bin").read_bytes())
    return [bytes(message.body) for message in split(datagrams) if message.kind != NLMSG_DONE]


def decoded() -> list[InetSocket]:
    return [decode_tcp(body) for name in ("tcp-listeners", "tcp") for body in bodies(name)]


@pytest.mark.parametrize("name", DECODERS)
def test_recorded_bytes_decode_as_expected(name: str) -> None:
    kind = list[PlainSocket] if name in ("udp", "unix") else list[InetSocket]
    expected = msgspec.json.decode((RECORDED / f"{name}.json").read_bytes(), type=kind)
    found = [DECODERS[name](body) for body in bodies(name)]
    assert [one for one in found if not isinstance(one, InetSocket) or one.memory] == expected


def test_recorded_bytes_hold_what_ss_showed() -> None:
    text = (RECORDED / "ss.txt").read_text()
    shown = re.findall(
        r"^\S+ +(\d+) +(\d+) .*:(\w+) +.*:(\S+)\n"
        r"\s+skmem:\(r(\d+),rb(\d+),t0,tb\d+,f(\d+),w(\d+),o\d+,bl\d+,d(\d+)\)",
        text,
        re.M,
    )
    expected = Counter(tuple(0 if value == "*" else int(value) for value in row) for row in shown)
    ours: Counter[tuple[int, ...]] = Counter()
    for one in decoded():
        if one.memory is not None and one.state != "close":
            memory = one.memory
            ours[
                one.receive_queue, one.send_queue, one.local_port, one.remote_port, memory.rmem_alloc, memory.rcvbuf,
                memory.fwd_alloc, memory.wmem_queued, memory.drops,
            ] += 1  # fmt: skip
    assert ours == expected


def test_a_recorded_udp_socket_has_its_own_end() -> None:
    assert ("127.0.0.1", 5353) in [one.local for one in map(decode_udp, bodies("udp"))]


def test_recorded_minisocket_has_no_memory() -> None:
    assert [one.state for one in decoded() if one.memory is None] == ["time-wait"]


def test_recorded_windows() -> None:
    closed = [one for one in decoded() if one.send_window_closed]
    assert [(one.state, one.unsent_bytes) for one in closed] == [("established", 395776)]
    full = [one.unread_bytes for one in decoded() if one.receive_window_full and one.unread_bytes]
    assert full == [128512]


@pytest.mark.parametrize("name", DECODERS)
def test_cut_messages_are_malformed_or_lack_attributes(name: str) -> None:
    for body in bodies(name):
        for size in range(len(body)):
            try:
                DECODERS[name](body[:size])
            except MalformedError:
                continue
            assert size >= (16 if name == "unix" else 72)


@pytest.mark.parametrize("name", DECODERS)
@given(data=st.data())
def test_changed_messages_raise_nothing_else(name: str, data: st.DataObject) -> None:
    body = bytearray(data.draw(st.sampled_from(bodies(name))))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedError):
        DECODERS[name](bytes(body))


@pytest.mark.parametrize("decode", DECODERS.values())
@given(message=st.binary(max_size=400))
def test_any_bytes_raise_nothing_else(
    decode: Callable[[bytes | memoryview], InetSocket | PlainSocket], message: bytes
) -> None:
    with suppress(MalformedError):
        decode(message)


def with_info(length: int) -> bytes:
    """A recorded connection whose struct tcp_info is cut, as an older kernel would give it."""
    (body,) = (one for one in bodies("tcp") if decode_tcp(one).unsent_bytes > 100_000)
    offset, out = 72, body[:72]
    while offset < len(body):
        size, kind = struct.unpack_from("=HH", body, offset)
        payload = body[offset + 4 : offset + size]
        payload = payload[:length] if kind == 2 else payload
        out += struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)
        offset += size + 3 & ~3
    return out


@pytest.mark.parametrize(
    ("length", "snd_wnd", "rcv_wnd"),
    [(148, None, None), (168, None, None), (224, None, None), (232, 0, None), (240, 0, 65536), (280, 0, 65536)],
)
def test_older_kernels_tell_less(length: int, snd_wnd: int | None, rcv_wnd: int | None) -> None:
    info = decode_tcp(with_info(length)).info
    assert info is not None
    assert (info.snd_wnd, info.rcv_wnd, info.notsent_bytes) == (snd_wnd, rcv_wnd, 395776)


def test_tcp_info_that_is_too_short_is_malformed() -> None:
    with pytest.raises(MalformedError, match="struct tcp_info of 147 bytes"):
        decode_tcp(with_info(147))


def test_negative_forward_alloc() -> None:
    payload = struct.pack("=IIIIiI", 5, 6, 7, 8, -3, 9)
    message = bodies("tcp-listeners")[0][:72] + struct.pack("=HH", 28, 7) + payload
    memory = decode_tcp(message).memory
    assert memory == SocketMemory(rmem_alloc=5, rcvbuf=6, fwd_alloc=-3, wmem_queued=9)
    assert memory.total_bytes == 11


INFO = TcpInfo(0, 1448, 0, 0, 0, 0, 0, 0, 1, 500, None, None)
SOCKET = InetSocket(4, "established", 0, "10.0.0.1", 1, "10.0.0.2", 2, 1, 0, 500, 0, 7, SocketMemory(rcvbuf=10), INFO)


@pytest.mark.parametrize(
    ("changes", "timer", "closed"),
    [
        ({"snd_wnd": 0}, 0, True),
        ({"snd_wnd": 0, "unacked": 1}, 0, True),
        ({"snd_wnd": 1447}, 0, True),
        ({"snd_wnd": 1448}, 4, False),
        ({"snd_wnd": 1447, "unacked": 1}, 0, False),
        ({"snd_wnd": 1447, "notsent_bytes": 0}, 0, False),
        ({"probes": 1}, 0, True),
        ({}, 4, True),
        ({}, 1, False),
        ({"unacked": 1}, 4, False),
    ],
)
def test_send_window(changes: dict[str, int], timer: int, closed: bool) -> None:
    info = msgspec.structs.replace(INFO, **changes)
    assert msgspec.structs.replace(SOCKET, info=info, timer=timer).send_window_closed is closed
    connecting = msgspec.structs.replace(SOCKET, info=info, timer=timer, state="syn-sent")
    assert not connecting.send_window_closed


@pytest.mark.parametrize(
    ("allocated", "window", "full"), [(9, None, False), (10, None, True), (0, 0, True), (10, 1, False)]
)
def test_receive_window(allocated: int, window: int | None, full: bool) -> None:
    info = msgspec.structs.replace(INFO, rcv_wnd=window)
    memory = SocketMemory(rmem_alloc=allocated, rcvbuf=10)
    assert msgspec.structs.replace(SOCKET, info=info, memory=memory).receive_window_full is full


@pytest.mark.parametrize(
    ("state", "queue", "unread"),
    [
        ("established", 1, 1), ("close-wait", 1, 0), ("close-wait", 0, 0), ("last-ack", 5, 4), ("closing", 5, 4),
        ("fin-wait-2", 1, 1), ("listen", 3, 0), ("close", 3, 0),
    ],
)  # fmt: skip
def test_unread_bytes_leave_out_the_fin(state: str, queue: int, unread: int) -> None:
    assert msgspec.structs.replace(SOCKET, state=state, receive_queue=queue).unread_bytes == unread


def test_without_rights_our_own_namespace_can_be_read() -> None:
    with SockDiag() as diag:
        assert all(one.state == "listen" for one in diag.listeners())
        assert all(one.memory is not None for one in diag.connections())
        assert diag.netlink.interrupted == 0


def message(family: int, state: int, timer: int, own: bytes, other: bytes) -> bytes:
    ports = (40_000).to_bytes(2, "big") + (443).to_bytes(2, "big")
    return bytes((family, state, timer, 0)) + ports + own.ljust(16, b"\0") + other.ljust(16, b"\0") + bytes(32)


def test_both_ends_are_told_without_decoding_the_rest() -> None:
    ends = decode_ends(message(2, 1, 0, bytes((10, 0, 0, 1)), bytes((10, 0, 0, 9))))
    assert (ends.local_port, ends.state, ends.in_time_wait) == (40_000, "established", False)
    assert ends_of(ends.kind[0], ends.key) == ("10.0.0.1", "10.0.0.9", 443)


@pytest.mark.parametrize(("state", "timer", "waits"), [(6, 3, True), (5, 3, True), (5, 0, False), (1, 2, False)])
def test_a_minisocket_is_known_by_its_timer(state: int, timer: int, waits: bool) -> None:
    assert decode_ends(message(2, state, timer, b"", b"")).in_time_wait is waits


def test_an_ipv6_socket_that_talks_ipv4_has_its_addresses() -> None:
    own, other = (bytes(10) + b"\xff\xff" + bytes((10, 0, 0, n)) for n in (1, 9))
    ends = decode_ends(message(10, 1, 0, own, other))
    assert ends_of(ends.kind[0], ends.key) == ("10.0.0.1", "10.0.0.9", 443)


@given(st.binary(max_size=100))
def test_any_bytes_are_both_ends_or_malformed(data: bytes) -> None:
    try:
        ends = decode_ends(data)
    except MalformedError:
        return
    with suppress(MalformedError):
        assert ends.state
        ends_of(ends.kind[0], ends.key)
