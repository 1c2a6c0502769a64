"""Splitting netlink datagrams, and one dump against the kernel (our own sockets; no rights needed)."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.netlink import socket as netlink
from whodunnet.kernel.netlink.socket import Message, NetlinkSocket, split

NETLINK_SOCK_DIAG = 4


def packed(body: bytes, kind: int = 20, flags: int = 2, sequence: int = 1) -> bytes:
    padding = bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body + padding


def test_split_gives_bodies_without_padding() -> None:
    messages = list(split(memoryview(packed(b"abc") + packed(b"", kind=3))))
    assert [(m.kind, m.flags, m.sequence, bytes(m.body)) for m in messages] == [(20, 2, 1, b"abc"), (3, 2, 1, b"")]


@pytest.mark.parametrize("datagram", [b"\0", bytes(16), packed(b"abcd")[:-1], packed(b"abcd") + b"\1\0\0"])
def test_split_refuses_lengths_that_point_outside(datagram: bytes) -> None:
    with pytest.raises(MalformedError):
        list(split(memoryview(datagram)))


@given(st.binary(max_size=200))
def test_split_never_fails_otherwise(datagram: bytes) -> None:
    try:
        messages = list(split(memoryview(datagram)))
    except MalformedError:
        return
    assert sum(16 + len(message.body) for message in messages) <= len(datagram)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_split_returns_what_was_packed(bodies: list[bytes]) -> None:
    datagram = b"".join(packed(body) for body in bodies)
    assert [bytes(message.body) for message in split(memoryview(datagram))] == bodies


def answering(answers: list[Message], monkeypatch: pytest.MonkeyPatch) -> NetlinkSocket:
    made = NetlinkSocket(NETLINK_SOCK_DIAG)
    monkeypatch.setattr(made, "_request", lambda *_: None)
    monkeypatch.setattr(made, "_answers", lambda: iter(answers))
    return made


def done(result: int, flags: int = 0, kind: int = netlink.NLMSG_DONE) -> Message:
    return Message(kind, flags, 1, memoryview(struct.pack("=i", result)))


@pytest.mark.parametrize(
    ("number", "code", "capability"),
    [
        (errno.EPERM, "missing-capability", "CAP_NET_ADMIN"),
        (errno.ENOENT, "unsupported", None),
        (errno.EBUSY, "unreadable", None),
    ],
)
@pytest.mark.parametrize("kind", [netlink.NLMSG_ERROR, netlink.NLMSG_DONE])
def test_refusals_become_errors(
    number: int, code: str, capability: str | None, kind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering([done(-number, kind=kind)], monkeypatch) as made, pytest.raises(UnreadableError) as caught:
        list(made.dump(20, b""))
    assert (caught.value.code, caught.value.missing_capability) == (code, capability)


@pytest.mark.parametrize("kind", [netlink.NLMSG_ERROR, netlink.NLMSG_DONE])
@pytest.mark.parametrize("number", [-4096, -(2**31)])
def test_a_refusal_with_what_is_no_error_number_is_malformed(
    number: int, kind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering([done(number, kind=kind)], monkeypatch) as made, pytest.raises(MalformedError, match=str(number)):
        list(made.dump(20, b""))


def test_an_interrupted_dump_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Message(20, netlink.NLM_F_DUMP_INTR, 1, memoryview(b"x"))
    with answering([part, part, done(0, netlink.NLM_F_DUMP_INTR)], monkeypatch) as made:
        assert [bytes(body) for body in made.dump(20, b"")] == [b"x", b"x"]
        assert made.interrupted == 1


def test_the_kernel_refuses_a_request_that_is_too_short() -> None:
    with NetlinkSocket(NETLINK_SOCK_DIAG) as made:
        with pytest.raises(UnreadableError, match="Invalid argument"):
            list(made.dump(20, b"\2"))
        assert made.longest_receive_seconds > 0
