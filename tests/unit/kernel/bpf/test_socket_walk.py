import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import MalformedError
from whodunnet.kernel.bpf.socket_records import HOLDINGS, PROTOCOLS, ROLES, STATES, SYMPTOMS, decode_group, decode_stuck
from whodunnet.kernel.bpf.socket_walk import (
    DROPPING_LIMIT,
    LISTENER_LIMIT,
    NAMES_LIMIT,
    Hashed,
    surplus_by_state,
    ticks_per_second,
    unheld_groups,
)
from whodunnet.model.sockets import AGE_BOUNDS_SECONDS, SocketGroup

BPF = Path(__file__).parents[4] / "bpf"


def test_age_classes_are_those_of_the_program() -> None:
    source = (BPF / "sockets.bpf.c").read_text()
    bounds = re.search(r"bounds\[AGE_CLASSES - 1\] = \{([0-9, ]+)\}", source)
    assert bounds is not None
    assert tuple(map(int, bounds[1].split(","))) == AGE_BOUNDS_SECONDS
    classes = re.search(r"#define AGE_CLASSES (\d+)", (BPF / "sockets.h").read_text())
    assert classes is not None
    assert int(classes[1]) == len(AGE_BOUNDS_SECONDS) + 1


@pytest.mark.parametrize(
    ("name", "prefix", "words"),
    [
        ("protocol", "PROTOCOL_", PROTOCOLS),
        ("role", "ROLE_", ROLES),
        ("symptom", "SYMPTOM_", SYMPTOMS),
        ("holding", "HELD_", HOLDINGS[:-1]),  # the last is known to user space only
    ],
)
def test_words_stand_in_the_order_of_the_header(name: str, prefix: str, words: tuple[str, ...]) -> None:
    listed = re.search(rf"enum {name} \{{([^}}]+)\}}", (BPF / "sockets.h").read_text())
    assert listed is not None
    names = [re.sub(r"^(BY|IN|AS)_", "", part.strip().removeprefix(prefix)) for part in listed[1].split(",")]
    assert [n.lower().replace("_", "-") for n in names] == list(words)


def test_as_many_listeners_are_read_as_the_program_keeps() -> None:
    listeners = re.search(r"TABLE\(listeners, \w+, 0, (\d+),", (BPF / "sockets.bpf.c").read_text())
    assert listeners is not None
    assert int(listeners[1]) == LISTENER_LIMIT


def test_as_many_sockets_with_drops_are_read_as_the_program_keeps() -> None:
    dropping = re.search(r"TABLE\(dropping_sockets, \w+, 0, (\d+),", (BPF / "sockets.bpf.c").read_text())
    assert dropping is not None
    assert int(dropping[1]) == DROPPING_LIMIT


def test_as_many_sockets_for_names_are_read_as_the_program_keeps() -> None:
    names = re.search(r"TABLE\(name_sockets, \w+, 0, (\d+),", (BPF / "sockets.bpf.c").read_text())
    assert names is not None
    assert int(names[1]) == NAMES_LIMIT


def test_states_stand_where_the_kernel_numbers_them() -> None:
    named = {"established": 1, "syn-sent": 2, "time-wait": 6, "close": 7, "close-wait": 8, "last-ack": 9, "listen": 10}
    assert {name: STATES.index(name) for name in named} == named


def test_a_state_that_does_not_exist_is_no_crash() -> None:
    ffi = pytest.importorskip("whodunnet.kernel.bpf._libbpf", reason="libbpf is not installed").ffi
    key, value = ffi.new("struct group_key *", {"state": 77}), ffi.new("struct group *", {"sockets": 1})
    assert decode_group(ffi, key, value, first_pass=False).sockets == 1


@pytest.mark.parametrize("field", ["role", "symptom", "protocol", "holding"])
def test_a_group_with_a_number_without_a_name_is_malformed(field: str) -> None:
    ffi = pytest.importorskip("whodunnet.kernel.bpf._libbpf", reason="libbpf is not installed").ffi
    key, value = ffi.new("struct group_key *", {field: 77}), ffi.new("struct group *")
    with pytest.raises(MalformedError, match="rebuild the package"):
        decode_group(ffi, key, value, first_pass=False)


@pytest.mark.parametrize("field", ["role", "symptom", "holding", "unchanged"])
def test_a_stuck_socket_with_a_number_without_a_name_is_malformed(field: str) -> None:
    ffi = pytest.importorskip("whodunnet.kernel.bpf._libbpf", reason="libbpf is not installed").ffi
    with pytest.raises(MalformedError, match="rebuild the package"):
        decode_stuck(ffi, ffi.new("struct stuck *", {field: 77}))


def test_ticks_a_second_are_those_the_kernel_was_built_with() -> None:
    config = Path("/proc/config.gz")
    if not config.exists():
        pytest.skip("this kernel does not show its configuration (CONFIG_IKCONFIG_PROC)")
    built = re.search(rb"^CONFIG_HZ=(\d+)$", gzip.decompress(config.read_bytes()), re.MULTILINE)
    assert built is not None
    assert ticks_per_second() == int(built[1])


def group(netns: int, state: str, sockets: int, memory: int = 0, **rest: object) -> SocketGroup:
    known: dict[str, object] = {"protocol": "tcp", "role": "initiated", "holding": "descriptor"} | rest
    return SocketGroup(netns=netns, state=state, sockets=sockets, memory_bytes=memory, **known)  # type: ignore[arg-type]


def hashed(netns: int, state: str, sockets: int, memory: int = 0, without_file: bool = False) -> Hashed:
    return Hashed(netns, state, without_file, sockets, memory)


def test_nothing_is_left_where_processes_have_everything_open() -> None:
    groups = [group(1, "established", 3, 300), group(1, "established", 4, 400, role="accepted"), group(2, "listen", 1)]
    assert surplus_by_state(groups, [hashed(1, "established", 7, 700)]) == {}
    assert unheld_groups(groups, [hashed(1, "established", 7, 700)]) == []


def test_what_the_hash_has_more_is_left_by_namespace_and_state() -> None:
    groups = [group(1, "established", 3, 300), group(2, "established", 5, 500), group(1, "close-wait", 2, 20)]
    table = [hashed(1, "established", 10, 1000), hashed(2, "established", 5, 512), hashed(1, "close-wait", 3, 21)]
    assert surplus_by_state(groups, table) == {(1, "established"): (7, 700), (1, "close-wait"): (1, 1)}


@pytest.mark.parametrize(
    "other",
    [
        group(1, "established", 7, holding="orphan"),
        group(1, "established", 7, holding="accept-queue"),
        group(1, "established", 7, holding="kernel"),
        group(1, "established", 7, protocol="mptcp"),
        group(1, "close", 7),
        group(2, "established", 7),
    ],
)
def test_only_open_tcp_sockets_of_the_same_place_and_state_are_subtracted(other: SocketGroup) -> None:
    assert surplus_by_state([other], [hashed(1, "established", 7, 70)]) == {(1, "established"): (7, 70)}


def test_a_socket_closed_between_both_readings_is_no_negative_surplus() -> None:
    assert surplus_by_state([group(1, "established", 9)], [hashed(1, "established", 7)]) == {}


def test_memory_that_shrank_between_both_readings_is_not_negative() -> None:
    table = [hashed(1, "established", 8, 800)]
    assert surplus_by_state([group(1, "established", 7, 900)], table) == {(1, "established"): (1, 0)}


def test_sockets_without_a_file_are_the_kernels() -> None:
    groups = [group(1, "established", 3, 300)]
    table = [hashed(1, "established", 5, 500), hashed(1, "established", 2, 64, without_file=True)]
    found = {(g.holding, g.netns, g.state, g.sockets, g.memory_bytes) for g in unheld_groups(groups, table)}
    assert found == {
        ("no-descriptor", 1, "established", 2, 200),
        ("kernel", 1, "established", 2, 64),
    }
    assert {(g.owner_pid, g.protocol, g.role) for g in unheld_groups(groups, table)} == {(None, "tcp", "unconnected")}


places = st.tuples(st.integers(1, 3), st.sampled_from(["established", "close-wait", "fin-wait-2"]))
amounts = st.tuples(st.integers(0, 1000), st.integers(0, 10**9))


@given(st.dictionaries(places, amounts), st.lists(st.tuples(places, amounts)))
def test_open_and_left_over_sockets_are_all_of_the_hash(
    table: dict[tuple[int, str], tuple[int, int]], opened: list[tuple[tuple[int, str], tuple[int, int]]]
) -> None:
    groups = [group(*place, *amount) for place, amount in opened]
    rest = surplus_by_state(groups, [hashed(*place, *amount) for place, amount in table.items()])
    for place, (sockets, memory) in table.items():
        open_here = sum(n for p, (n, _) in opened if p == place)
        assert rest.get(place, (0, 0))[0] == max(0, sockets - open_here)
        assert 0 <= rest.get(place, (0, 0))[1] <= memory
    assert set(rest) <= set(table)
