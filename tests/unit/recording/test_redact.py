"""A redacted recording is judged like the original, and holds none of its names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from whodunnet.attribution.containerd import PAUSE
from whodunnet.errors import RecordingError
from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.devices import Device, Devices
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Workloads
from whodunnet.recording.reader import load
from whodunnet.recording.redact import KEPT, REPLACED, Redactor, plans

from . import arbitrary
from .keyed import AT, KEY

NODES = Path(__file__).parents[2] / "fixtures/nodes"
INCIDENTS = ("incident-1-tcp-memory", "incident-4-unclosed-bodies")
quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module", params=INCIDENTS)
def incident(request: pytest.FixtureRequest) -> Recording:
    return load(NODES / str(request.param) / "recording.jsonl")


def redacted(recording: Recording, key: bytes = KEY) -> Recording:
    redactor = Redactor(key)
    node = redactor.node(recording.node)
    return replace(recording, node=node, snapshots=tuple(map(redactor.snapshot, recording.snapshots)))


# --- The tables ------------------------------------------------------------------------------------------------------


def structs(kind: Any, seen: dict[type, dict[str, Any]]) -> dict[type, dict[str, Any]]:
    """Every struct that can be reached from a type, with the types of its fields, by Python's own annotations."""
    if isinstance(kind, type) and issubclass(kind, Struct) and kind not in seen:
        seen[kind] = get_type_hints(kind)
        for field in seen[kind].values():
            structs(field, seen)
    for part in get_args(kind):
        structs(part, seen)
    return seen


def holds_text(kind: Any) -> bool:
    """str somewhere in the type itself, not in a struct below it; a Literal is a word of ours."""
    if getattr(kind, "__origin__", None) is not None and str(kind).startswith("typing.Literal"):
        return False
    return kind is str or any(holds_text(part) for part in get_args(kind))


def test_every_text_of_a_snapshot_and_node_is_said_to_be_replaced_or_kept() -> None:
    fields = structs(Snapshot, structs(Node, {}))
    texts = {(s.__name__, f) for s, hints in fields.items() for f, kind in hints.items() if holds_text(kind)}
    said = [(s.__name__, f) for table in (REPLACED, KEPT) for s, named in table.items() for f in named]
    assert len(texts) > 25
    assert sorted(said) == sorted(texts)


def test_a_snapshot_or_node_holds_nothing_that_could_be_text_in_disguise() -> None:
    """bytes or Any would pass the other test."""
    plain = {str, int, float, bool, type(None), datetime, Ellipsis}
    for hints in structs(Snapshot, structs(Node, {})).values():
        for kind in hints.values():
            assert leaves(kind) <= plain


def leaves(kind: Any) -> set[Any]:
    if str(kind).startswith("typing.Literal") or (isinstance(kind, type) and issubclass(kind, Struct)):
        return set()
    parts = get_args(kind)
    return {leaf for part in parts for leaf in leaves(part)} if parts else {kind}


class Neighbour(Struct, frozen=True, tag="neighbour"):
    name: str


def test_a_sample_of_an_unknown_type_is_refused() -> None:
    redactor = Redactor(KEY)
    redactor.node(Node(hostname="n1", kernel="6.1", boot_id=""))
    with pytest.raises(RecordingError, match="Neighbour cannot be redacted"):
        redactor.snapshot(Snapshot(at=AT, samples={"neighbour": Neighbour("gw")}))  # type: ignore[dict-item]


@pytest.mark.parametrize("table", [REPLACED, KEPT], ids=["replaced", "kept"])
def test_a_text_in_neither_table_stops_it_before_anything_is_recorded(
    table: dict[type, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = next(iter(table))
    monkeypatch.setitem(table, some, dict(list(table[some].items())[1:]))
    plans.cache_clear()
    with pytest.raises(RecordingError, match=f"{some.__name__}.*cannot be redacted"):
        Redactor()
    monkeypatch.undo()
    plans.cache_clear()
    Redactor()


def test_a_snapshot_is_refused_before_the_names_of_its_node_are_known(incident: Recording) -> None:
    with pytest.raises(RecordingError, match="before the names of its node are known"):
        Redactor().snapshot(incident.snapshots[0])


# --- What stays -----------------------------------------------------------------------------------------------------


def test_numbers_and_times_are_those_of_the_original(incident: Recording) -> None:
    assert numbers(redacted(incident)) == numbers(incident)


def numbers(recording: Recording) -> list[Any]:
    def walk(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            yield from value if all(k.isdecimal() for k in value) else ()
        if isinstance(value, dict | list):
            for part in value.values() if isinstance(value, dict) else value:
                yield from walk(part)
        elif not isinstance(value, str) or re.fullmatch(r"[0-9T:.-]+Z", value):
            yield value

    return list(walk(json.loads(msgspec.json.encode(recording))))


# --- Searched for ----------------------------------------------------------------------------------------------------


def texts(value: Any) -> Iterator[str]:
    """Every str in a value whose field is in the table of the replaced, but sentences."""
    if isinstance(value, Struct):
        for field in value.__struct_fields__:
            how = REPLACED.get(type(value), {}).get(field)
            inner = getattr(value, field)
            if isinstance(inner, dict | tuple) and how not in (None, "text"):
                yield from inner
            elif how is not None and how != "text" and inner is not None:
                yield inner
            if how is None or isinstance(inner, dict):
                yield from texts(inner)
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from texts(part)


STAY = {"", PAUSE, "127.0.0.1", "::1"}


def forms(original: str) -> set[str]:
    """How a name could still be found: as it is, lower-cased, and an address in hexadecimal or with dashes."""
    found = {original, original.lower(), original.upper()}
    if re.fullmatch(r"[0-9.]+", original):
        octets = [int(n) for n in original.split(".")]
        found |= {
            bytes(octets).hex(),
            bytes(octets[::-1]).hex(),
            original.replace(".", "-"),
            original.replace(".", "_"),
        }
    return found


def assert_not_found(original: Recording) -> None:
    after = redacted(original)
    told = msgspec.json.encode((after.node, after.snapshots)).decode()
    values = set(texts((after.node, after.snapshots)))
    originals = set(texts((original.node, original.snapshots))) - STAY - {original.node.kernel}
    assert not originals & values
    for one in originals:
        for form in forms(one):
            assert json.dumps(form)[1:-1] not in told, f"{one} is still there as {form}"


def test_no_name_of_an_incident_is_left(incident: Recording) -> None:
    """Once as it is, once with names that are unlike everything else and stand in its sentences too."""
    secret = with_secrets(incident, Random(4))
    assert len(set(texts(secret.snapshots))) > 20
    assert_not_found(incident)
    assert_not_found(secret)


@quick
@given(arbitrary.recording, st.integers(0, 2**48), st.booleans())
def test_no_name_of_any_node_is_left(recording: Recording, seed: int, odd: bool) -> None:
    """Each name is unlike everything else, and stands in the sentences of the samples too."""
    node = with_secrets(recording, Random(seed), odd)
    assert_not_found(node)


SENTENCES = (
    "{} cannot be read: Permission denied",
    "/run/netns/{} is no longer network namespace 4026532100",
    "network namespaces that could not be entered or read: 3 (first reason: /host/srv/{} x/ns cannot be read: No)",
    "/proc/7/stat: should be a pid, a name in parentheses and numbers, and is '7 ({}'",
    '/proc/7/cgroup: a line should be number:controllers:path, and is "0::/it\'s {}/x"',
    "the kernel refused the BPF program of sockets (Invalid argument): libbpf: {}: {}",
    "({}) [{}]; {}, {}",
    "TCP: {}",
)


def address_of(dice: Random) -> str:
    """Of either family, from the ranges for tests and documentation."""
    end = dice.randbytes(2)
    return f"198.18.{end[0]}.{end[1]}" if dice.random() < 0.5 else f"2001:db8::{end[0] + 1:x}:{end[1] + 1:x}"


def with_secrets(recording: Recording, dice: Random, odd: bool = False) -> Recording:
    """The same, with names that are found if they are left, and with those names in all sentences."""
    signs = "QXZqxz" + ("/. :'\"\\%é()*\u202e{}" if odd else "")
    made: dict[tuple[str, str], str] = {}

    def secret(how: str, text: str) -> str:
        if text in STAY or how == "release":
            return text
        if how == "address":
            return made.setdefault((how, text), address_of(dice))
        word = "ZQ" + "".join(dice.choice(signs) for _ in range(6)) + "XQ"
        return made.setdefault((how, text), word + (".service" if text.endswith(".service") else ""))

    def walk(value: Any, second: bool) -> Any:
        if isinstance(value, Struct):
            changed = {}
            for field in value.__struct_fields__:
                how, inner = REPLACED.get(type(value), {}).get(field), getattr(value, field)
                if isinstance(inner, str) and how == "text":
                    changed[field] = sentence() if second else inner
                elif isinstance(inner, str) and how is not None:
                    changed[field] = inner if second else secret(how, inner)
                elif isinstance(inner, dict) and how is not None:
                    names = inner if second else [secret(how, name) for name in inner]
                    changed[field] = dict(zip(names, (walk(v, second) for v in inner.values()), strict=True))
                elif isinstance(inner, tuple) and how not in (None, "text"):
                    changed[field] = inner if second else tuple(secret(how, name) for name in inner)
                elif how == "text" and isinstance(inner, tuple):
                    changed[field] = tuple(sentence() for _ in range(3)) if second else inner
                else:
                    changed[field] = walk(inner, second)
            return replace(value, **changed)
        if isinstance(value, dict):
            return {k: walk(v, second) for k, v in value.items()}
        return tuple(walk(v, second) for v in value) if isinstance(value, tuple) else value

    def sentence() -> str:
        known = here or ["nothing"]
        return dice.choice(SENTENCES).format(*(dice.choice(known) for _ in range(4)))

    snapshots = []
    node = walk(recording.node, False)
    for snapshot in recording.snapshots:
        named = walk(snapshot, False)
        here = [t for t in texts((node, named)) if len(t) > 1 and t not in STAY and t != node.kernel]
        snapshots.append(walk(named, True))
    return replace(recording, node=node, snapshots=tuple(snapshots))


# --- Pseudonyms ------------------------------------------------------------------------------------------------------


def test_a_name_has_one_pseudonym_for_as_long_as_a_recording_lasts(incident: Recording) -> None:
    assert redacted(incident) == redacted(incident)
    first, last = (s.samples["workloads"] for s in (redacted(incident).snapshots[0], redacted(incident).snapshots[-1]))
    assert isinstance(first, Workloads)
    assert isinstance(last, Workloads)
    assert first.by_pid == last.by_pid


def test_two_recordings_have_nothing_in_common(incident: Recording) -> None:
    one, other = (redacted(incident, key) for key in (b"1" * 16, b"2" * 16))
    shared = set(texts((one.node, one.snapshots))) & set(texts((other.node, other.snapshots)))
    assert shared <= STAY | {one.node.kernel}


def test_without_a_key_each_recording_has_its_own(incident: Recording) -> None:
    assert Redactor().node(incident.node) != Redactor().node(incident.node)


def test_a_device_of_a_provider_has_the_name_it_has_beside_its_addresses() -> None:
    redactor = Redactor(KEY)
    redactor.node(Node(hostname="n1", kernel="6.1", boot_id=""))
    devices = Devices(by_name={"customer0": Device(driver="ena", allowances={"pps_allowance_exceeded": 4})})
    place = Addresses(by_netns={1: (DeviceAddress(address="10.1.0.2", prefix_length=24, device="customer0"),)})
    samples: dict[str, AnySample] = {"devices": devices, "addresses": place}
    found = redactor.snapshot(Snapshot(at=Moment(datetime(2026, 3, 1, tzinfo=UTC), 1.0), samples=samples)).samples
    assert isinstance(found["devices"], Devices)
    assert isinstance(found["addresses"], Addresses)
    ((name, device),) = found["devices"].by_name.items()
    assert name == found["addresses"].by_netns[1][0].device != "customer0"
    assert device == devices.by_name["customer0"]


def test_an_address_of_a_device_and_of_a_tracked_connection_is_the_same_as_of_a_socket() -> None:
    redactor = Redactor(KEY)
    redactor.node(Node(hostname="n1", kernel="6.1", boot_id=""))
    flow = FlowGroup(
        family=4, protocol="tcp", source="10.1.0.2", destination=Endpoint("10.96.0.1", 80), source_as="10.0.0.1",
        answered_by=Endpoint("127.0.0.1", 8080), entries=1,
    )  # fmt: skip
    devices = tuple(
        DeviceAddress(address=a, prefix_length=24, device="eth0") for a in ("10.1.0.2", "10.0.0.1", "10.96.0.1")
    )
    samples: dict[str, AnySample] = {
        "conntrack": Conntrack(loaded=True, groups=(flow,)), "addresses": Addresses(by_netns={7: devices}),
    }  # fmt: skip
    found = redactor.snapshot(Snapshot(at=AT, samples=samples)).samples
    table, places = found["conntrack"], found["addresses"]
    assert isinstance(table, Conntrack)
    assert isinstance(places, Addresses)
    (group,) = table.groups
    assert group.destination is not None
    assert [a.address for a in places.by_netns[7]] == [group.source, group.source_as, group.destination.address]
    assert group.answered_by == Endpoint("127.0.0.1", 8080)
    assert "10." not in re.sub(r'"(?!10\.)[^"]*"', "", str(group.source)) or group.source != "10.1.0.2"
