import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError
from whodunnet.kernel.bpf.connection_ends import END_ROLES, ENDINGS, UNDER_WAY_BITS, decode_total, some_wait
from whodunnet.model.connections import CONNECT_CLASSES, IDLE_CLASSES, IDLE_STEPS
from whodunnet.model.sockets import Endpoint

BPF = Path(__file__).parents[4] / "bpf"
HEADER = (BPF / "connections.h").read_text()
libbpf = pytest.importorskip("whodunnet.kernel.bpf._libbpf", reason="the binding to libbpf is not built")


@pytest.mark.parametrize(("name", "prefix", "words"), [("end_role", "END_", END_ROLES), ("ending", "ENDING_", ENDINGS)])
def test_words_stand_in_the_order_of_the_header(name: str, prefix: str, words: tuple[str, ...]) -> None:
    listed = re.search(rf"enum {name} \{{([^}}]+)\}}", re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL))
    assert listed is not None
    names = [part.strip() for part in listed[1].split(",") if part.strip() and part.strip() != "ENDINGS"]
    assert [n.removeprefix(prefix).lower().replace("_", "-") for n in names] == list(words)


def test_bounds_are_those_of_the_header() -> None:
    bounds = {"IDLE_STEPS": len(IDLE_STEPS), "IDLE_CLASSES": IDLE_CLASSES, "CONNECT_CLASSES": CONNECT_CLASSES}
    bounds["UNDER_WAY_BITS"] = UNDER_WAY_BITS
    for name, value in bounds.items():
        found = re.search(rf"#define {name} (\d+)", HEADER)
        assert found is not None
        assert int(found[1]) == value


def entry(**fields: object) -> tuple[object, object]:
    key, value = libbpf.ffi.new("struct end_key *"), libbpf.ffi.new("struct end *")
    key.family, key.server_address[0:4], key.client_address[0:4] = 4, [10, 0, 0, 1], [10, 0, 0, 2]
    value.connections = 3
    for name, wanted in fields.items():
        setattr(value if hasattr(value, name) else key, name, wanted)
    return key, value


def test_an_entry_becomes_words() -> None:
    key, value = entry(
        pid=7, netns=8, server_port=80, span_class=50, role=1, ending=1, state=1, last_word=1, unanswered=1, asked=1,
        time=15_030,
        process_started_ns=2_500_000_000, comm=b"server",
    )  # fmt: skip
    found = decode_total(libbpf.ffi, key, value)
    assert found.end == (
        8, "accepted", "closed-here", "established", Endpoint("10.0.0.1", 80), "10.0.0.2", 7, "server", 2.5, True, True,
        True,
    )  # fmt: skip
    assert (found.span_class, found.connections, found.seconds) == (50, 3, 15.03)


def test_connect_times_are_in_microseconds() -> None:
    key, value = entry(ending=0, time=1_500_000)
    assert decode_total(libbpf.ffi, key, value).seconds == 1.5


def test_a_merged_entry_has_no_client_and_an_unknown_owner_is_none() -> None:
    key, value = entry(merged=1)
    found = decode_total(libbpf.ffi, key, value)
    assert (found.end.client, found.span_class, found.end.owner_pid) == (None, None, None)


@pytest.mark.parametrize("field", ["role", "ending"])
def test_an_entry_with_a_number_without_a_name_is_malformed(field: str) -> None:
    key, value = entry(**{field: 77})
    with pytest.raises(MalformedError, match="rebuild the package"):
        decode_total(libbpf.ffi, key, value)


@given(st.binary(min_size=16, max_size=16))
def test_any_name_of_a_process_becomes_fit_to_be_printed(name: bytes) -> None:
    key, value = entry(comm=name)
    comm = decode_total(libbpf.ffi, key, value).end.comm
    assert all(c.isprintable() for c in comm)


@given(st.integers(0, 2**62), st.floats(0, 200), st.integers(1, 9))
def test_whoever_waits_for_longer_than_until_a_repeat_is_seen(began_ns: int, waited: float, connects: int) -> None:
    slots = [0] * 64
    slots[(began_ns >> UNDER_WAY_BITS) % 64] = connects
    now_ns, round_seconds = began_ns + int(waited * 1e9), (64 << UNDER_WAY_BITS) / 1e9
    if waited < 0.8:
        assert not some_wait(slots, now_ns)
    elif 1.1 < waited % round_seconds < round_seconds - 0.3:
        assert some_wait(slots, now_ns)


def test_where_all_were_answered_nobody_waits() -> None:
    assert not some_wait([0] * 64, 5_000_000_000)
    assert not some_wait([-1] * 64, 5_000_000_000)
