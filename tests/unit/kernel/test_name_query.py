"""A question to a name server, against one on a loopback."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import UnreadableError
from whodunnet.kernel import name_query
from whodunnet.kernel.name_query import NameQuery, make_query, rcode_of

SERVER = "127.0.0.1"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((SERVER, 0))
        made.settimeout(10)
        monkeypatch.setattr(name_query, "PORT", made.getsockname()[1])
        yield made


def answer(question: bytes, flags: int) -> bytes:
    return question[:2] + struct.pack(">H", flags) + question[4:]


def settled(query: NameQuery) -> NameQuery:
    """After something came in."""
    assert select.select([query._socket], [], [], 10)[0]
    query.look()
    return query


def test_an_answer_is_taken_with_its_code(server: socket.socket) -> None:
    query = make_query(SERVER)
    question, sender = server.recvfrom(512)
    assert question[2:] == bytes.fromhex("01000001000000000000 00 0002 0001")
    server.sendto(answer(question, 0x8182), sender)
    assert (settled(query).rcode, query.refused, query.sent) == (2, False, 1)
    query.close()


def test_what_is_no_answer_to_it_is_passed_over(server: socket.socket) -> None:
    query = make_query(SERVER)
    question, sender = server.recvfrom(512)
    other = bytes((question[0] ^ 1,)) + question[1:]
    for message in (b"", b"short", question, answer(other, 0x8180), answer(question, 0x8185)):
        server.sendto(message, sender)
    assert settled(query).rcode == 5
    query.close()


def test_without_an_answer_nothing_waits(server: socket.socket) -> None:
    query = make_query(SERVER)
    query.look()
    assert (query.rcode, query.refused) == (None, False)
    query.ask()
    assert query.sent == 2
    assert server.recv(512) == server.recv(512)
    assert query.inode > 0
    query.close()


def test_a_closed_port_refuses(server: socket.socket) -> None:
    server.close()
    query = make_query(SERVER)
    assert settled(query).refused
    query.close()


def test_where_there_is_no_way_it_is_said() -> None:
    with pytest.raises(UnreadableError, match=r"name server 255\.255\.255\.255 cannot be read"):
        make_query("255.255.255.255")


@given(st.binary(max_size=40), st.integers(0, 65_535))
def test_any_bytes_are_an_answer_or_none(message: bytes, number: int) -> None:
    found = rcode_of(message, number)
    assert found is None or 0 <= found <= 15
