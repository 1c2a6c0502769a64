"""The request for a dump and what can come instead of one; the statistics."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.netlink import conntrack
from whodunnet.kernel.netlink.conntrack import ConntrackSocket, decode_statistics, dump_flows

from .conntrack_records import ERROR, TIMEOUTS, attribute, message, packed
from .conntrack_tables import PLAIN


def answering(answers: Sequence[bytes | int], monkeypatch: pytest.MonkeyPatch) -> list[ConntrackSocket]:
    """Sockets that receive these in turn, over all of them: bytes, or an errno. The sockets made are in the list."""
    left, made = list(answers), []

    def receive(_: ConntrackSocket) -> memoryview:
        answer = left.pop(0)
        if isinstance(answer, int):
            raise UnreadableError("netlink: no answer") from OSError(answer, "")
        return memoryview(answer)

    def request(self: ConntrackSocket, kind: int, body: bytes) -> None:
        assert (kind, body) == (0x101, bytes(4))
        self._sequence += 1
        made.append(self)

    monkeypatch.setattr(ConntrackSocket, "_receive", receive)
    monkeypatch.setattr(ConntrackSocket, "_request", request)
    return made


def first(body: bytes) -> bytes:
    return message(body, sequence=1)


END = message(bytes(4), kind=3, sequence=1)


def test_a_dump_is_one_unfiltered_request(monkeypatch: pytest.MonkeyPatch) -> None:
    made = answering([first(packed(PLAIN)), first(packed(PLAIN)) + END], monkeypatch)
    dump = dump_flows(TIMEOUTS)
    assert [g.entries for g in dump.table.groups()] == [2]
    assert (dump.overruns, len(made)) == (0, 1)


@pytest.mark.parametrize("lost", [errno.ENOBUFS, message(struct.pack("=i", -errno.ENOBUFS), kind=3, sequence=1)])
def test_an_overrun_begins_the_dump_again_once(lost: int | bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    answering([first(packed(PLAIN)), lost, first(packed(PLAIN)) + END], monkeypatch)
    dump = dump_flows(TIMEOUTS)
    assert ([g.entries for g in dump.table.groups()], dump.overruns) == ([1], 1)


def test_a_second_overrun_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    answering([errno.ENOBUFS, errno.ENOBUFS, END], monkeypatch)
    with pytest.raises(UnreadableError, match=r"lost a part .* 2 times \(ENOBUFS\)"):
        dump_flows(TIMEOUTS)


@pytest.mark.parametrize(
    ("number", "code", "capability"),
    [
        (errno.EPERM, "missing-capability", "CAP_NET_ADMIN"),
        (errno.EINVAL, "unsupported", None),
        (errno.ENOMEM, "unreadable", None),
    ],
)
def test_refusals_become_errors(
    number: int, code: str, capability: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering([message(struct.pack("=i", -number) + bytes(16), kind=ERROR, sequence=1)], monkeypatch)
    with pytest.raises(UnreadableError) as caught:
        dump_flows(TIMEOUTS)
    assert (caught.value.code, caught.value.missing_capability) == (code, capability)


def test_a_dump_that_ends_with_what_is_no_error_number_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    answering([message(struct.pack("=i", -(2**31)) + bytes(16), kind=ERROR, sequence=1)], monkeypatch)
    with pytest.raises(MalformedError, match="no error number"):
        dump_flows(TIMEOUTS)


def test_silence_is_no_overrun(monkeypatch: pytest.MonkeyPatch) -> None:
    answering([errno.EAGAIN, END], monkeypatch)
    with pytest.raises(UnreadableError, match="no answer"):
        dump_flows(TIMEOUTS)


def statistics(*values: tuple[int, int]) -> bytes:
    return bytes(4) + b"".join(attribute(kind, struct.pack(">I", value)) for kind, value in values)


def test_statistics_have_the_names_of_the_columns() -> None:
    assert dict(decode_statistics(statistics((10, 5), (9, 6), (11, 7), (99, 8)))) == {
        "drop": 5, "insert_failed": 6, "early_drop": 7,
    }  # fmt: skip


@given(st.binary(max_size=120))
def test_any_statistics_raise_nothing_else(data: bytes) -> None:
    try:
        found = dict(decode_statistics(data))
    except MalformedError:
        return
    assert set(found) <= set(conntrack._STATISTICS.values())
