"""The request for one socket, and answers that a parser must survive."""

from __future__ import annotations

import errno
import socket
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.netlink.socket_idle import decode_answer, read_idle, request
from whodunnet.model.sockets import Endpoint

LOCAL, REMOTE = Endpoint("10.1.0.2", 40000), Endpoint("10.2.0.2", 80)


def answer(kind: int, body: bytes) -> memoryview:
    return memoryview(struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body)


def test_a_request_names_one_connection_and_is_as_long_as_the_kernel_wants() -> None:
    four, six = request(LOCAL, REMOTE), request(Endpoint("fd00::1", 1), Endpoint("fd00::2", 2))
    assert {len(four), len(six)} == {56}  # struct inet_diag_req_v2
    assert four[:2] == bytes([socket.AF_INET, 6])
    assert four[8:16] == b"\x9c\x40\x00\x50\x0a\x01\x00\x02"
    assert six[:1] == bytes([socket.AF_INET6])
    assert six[12:44] == socket.inet_pton(socket.AF_INET6, "fd00::1") + socket.inet_pton(socket.AF_INET6, "fd00::2")
    assert four[-8:] == b"\xff" * 8


def test_no_such_socket_is_no_error() -> None:
    assert decode_answer(answer(2, struct.pack("=i", -errno.ENOENT))) is None
    assert read_idle(Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 2)) is None


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
def test_a_refusal_is_said(number: int) -> None:
    with pytest.raises(UnreadableError):
        decode_answer(answer(2, struct.pack("=i", -number)))


@given(st.binary(max_size=120), st.sampled_from([2, 20]))
def test_other_answers_are_malformed_refused_or_nothing(body: bytes, kind: int) -> None:
    try:
        found = decode_answer(answer(kind, body))
    except (MalformedError, UnreadableError):
        return
    assert found is None or kind == 20


def test_idle_time_of_our_own_connection_is_that_of_our_own_clock() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        client.sendall(b"x")
        server.recv(1)
        begin = time.monotonic()
        ends = Endpoint(*client.getsockname()), Endpoint(*client.getpeername())
        time.sleep(0.2)
        for local, remote in (ends, ends[::-1]):
            idle = read_idle(local, remote)
            assert idle is not None
            assert abs(idle - (time.monotonic() - begin)) < 0.1
        closed = time.monotonic() - begin
        server.shutdown(socket.SHUT_WR)  # its FIN is no data
        time.sleep(0.5)  # and it does not matter how late we ask
        for local, remote in (ends, ends[::-1]):
            idle = read_idle(local, remote)
            assert idle is not None
            assert abs(idle - closed) < 0.1


def test_data_in_either_direction_ends_the_silence() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        client.sendall(b"x")
        time.sleep(0.3)
        server.sendall(b"y")
        client.recv(1)
        begin = time.monotonic()
        ends = Endpoint(*client.getsockname()), Endpoint(*client.getpeername())
        for local, remote in (ends, ends[::-1]):
            idle = read_idle(local, remote)
            assert idle is not None
            assert idle <= time.monotonic() - begin + 0.05


def test_a_listener_is_not_taken_for_the_connection_it_once_had() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = Endpoint(*listener.getsockname())
        assert read_idle(here, Endpoint("127.0.0.1", 9)) is None
