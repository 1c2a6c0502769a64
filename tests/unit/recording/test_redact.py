"""A redacted recording is judged like the original, and holds none of its names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from random import Random
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from whodunnet.attribution.containerd import PAUSE, is_static_uid
from whodunnet.collectors.kernel_log import KNOWN
from whodunnet.errors import RecordingError
from whodunnet.model.addresses import Addresses, DeviceAddress
from whodunnet.model.conntrack import Conntrack, FlowGroup
from whodunnet.model.devices import Device, Devices
from whodunnet.model.sample import Failure, Moment
from whodunnet.model.snapshot import AnySample, Node, Recording, Snapshot
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads
from whodunnet.recording.pseudonyms import Kind, Pseudonyms
from whodunnet.recording.reader import load
from whodunnet.recording.redact import KEPT, REPLACED, Redactor, plans

from . import arbitrary

NODES = Path(__file__).parents[2] / "fixtures/nodes"
INCIDENTS = ("incident-1-tcp-memory", "incident-4-unclosed-bodies")
KEY = b"a key for tests."
AT = Moment(datetime(2026, 3, 1, tzinfo=UTC), 5_000.0)
quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module", params=INCIDENTS)
def incident(request: pytest.FixtureRequest) -> Recording:
    return load(NODES / str(request.param) / "recording.jsonl")


def redacted(recording: Recording, key: bytes = KEY) -> Recording:
    redactor = Redactor(key)
    node = redactor.node(recording.node)
    return replace(recording, node=node, snapshots=tuple(map(redactor.snapshot, recording.snapshots)))


def name(kind: Kind, text: str) -> str:
    return Pseudonyms(KEY).name(kind, text)


def address(text: str) -> str:
    return Pseudonyms(KEY).address(text)


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
            if isinstance(inner, dict) and how is not None:
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


def test_names_of_different_kinds_do_not_show_that_they_are_the_same() -> None:
    kinds: tuple[Kind, ...] = ("process", "pod", "host", "namespace", "container name", "image")
    assert len({name(kind, "web")[-10:] for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    ("kind", "original", "form"),
    [
        ("host", "edge-0412.example.com", r"host-[0-9a-f]{10}"),
        ("process", "nginx", r"p-[0-9a-f]{10}"),
        ("exe", "/usr/sbin/nginx", r"/exe-[0-9a-f]{10}"),
        ("cgroup", "/system.slice/nginx.service", r"/cgroup-[0-9a-f]{10}"),
        ("unit", "nginx.service", r"unit-[0-9a-f]{10}\.service"),
        ("unit", "session-3.scope", r"unit-[0-9a-f]{10}\.scope"),
        ("unit", "nginx.secret", r"unit-[0-9a-f]{10}"),
        ("container", "c0ffee01" * 8, r"[0-9a-f]{64}"),
        ("container", "web1", r"c-[0-9a-f]{10}"),
        ("container name", "worker", r"container-[0-9a-f]{10}"),
        ("container name", PAUSE, PAUSE),
        ("process", PAUSE, r"p-[0-9a-f]{10}"),
        ("uid", "5e6f0a11-1111-4111-8111-111111111111", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("uid", "5e6f0a11111141118111111111111111", r"[0-9a-f]{32}"),
        ("uid", "u1", r"uid-[0-9a-f]{10}"),
        ("boot", "b00t", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("release", "5.15.0-1011-aws", r"5\.15\.0-1011-aws"),
        ("release", "4.18.0-477.27.1.el8_8.x86_64", r"4\.18\.0-477\.27\.1\.el8_8\.x86_64"),
        ("release", "6.1.0-acme-amd64+", r"6\.1\.0-release-[0-9a-f]{10}-amd64\+"),
        ("pod", "", ""),
        ("device", "eth0", "eth0"),
        ("device", "enp3s0", "enp3s0"),
        ("device", "kube-ipvs0", "kube-ipvs0"),
        ("device", "flannel.1", r"flannel\.1"),
        ("device", "cali3f1e02ab4c5", r"zone-[0-9a-f]{10}"),
        ("device", "br-customer", r"zone-[0-9a-f]{10}"),
    ],
)
def test_a_pseudonym_says_its_kind_and_keeps_the_form_that_is_read(kind: Kind, original: str, form: str) -> None:
    found = name(kind, original)
    assert re.fullmatch(form, found)
    assert (found == original) == (form.replace("\\", "") == original)


def test_a_process_keeps_a_name_that_fits_into_a_comm() -> None:
    assert len(name("process", "x" * 15).encode()) <= 15


def test_a_pod_from_disk_is_still_known_as_one() -> None:
    assert is_static_uid(name("uid", "5e6f0a11111141118111111111111111"))
    assert not is_static_uid(name("uid", "5e6f0a11-1111-4111-8111-111111111111"))
    assert not is_static_uid(name("uid", "u1"))


@pytest.mark.parametrize(
    "special",
    ["127.0.0.1", "127.1.2.3", str(IPv4Address(0)), "0.1.2.3", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1",
     "::ffff:127.0.0.1"],
)  # fmt: skip
def test_an_address_that_says_what_and_not_who_stays(special: str) -> None:
    assert address(special) == special


@given(st.ip_addresses())
def test_an_address_becomes_another_one_of_its_family_and_scope(original: IPv4Address | IPv6Address) -> None:
    found = ip_address(address(str(original)))
    assert found.version == original.version
    assert address(original.exploded) == address(str(original))
    first = original.packed[0]
    if original.version == 4 and (first in (0, 127) or first >= 224):
        assert found == original
    else:
        assert found.is_link_local == original.is_link_local
        assert found.is_loopback == original.is_loopback
        assert found.is_multicast == original.is_multicast
        assert found.is_unspecified == original.is_unspecified


def test_that_an_address_is_the_providers_own_stays_known() -> None:
    found = address("fd00:ec2::253")
    assert found.startswith("fd00:ec2:")
    assert found != "fd00:ec2::253"
    assert not address("fd00:ec3::253").startswith("fd00:ec2:")


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


def test_no_two_link_local_addresses_become_one() -> None:
    every = {address(f"169.254.{n >> 8}.{n & 255}") for n in range(65_536)}
    assert len(every) == 65_536


@given(st.sets(st.integers(0, 2**32 - 1).map(lambda n: str(IPv4Address(n))), min_size=2, max_size=40))
def test_no_two_addresses_become_one(originals: set[str]) -> None:
    assert len({address(one) for one in originals}) == len(originals)


def test_neighbours_and_special_addresses_do_not_meet() -> None:
    """A seventh of all steps lands among the special addresses and has to go on."""
    some = [f"{n}.{m}.7.{i}" for n in (1, 10, 126, 128, 169, 223) for m in (0, 253, 254, 255) for i in range(250)]
    found = [address(one) for one in some]
    assert len(set(found)) == len(some)
    assert not [one for one in found if IPv4Address(one).packed[0] in (0, 127) or IPv4Address(one).packed[0] >= 224]


def test_the_same_address_in_both_families_stays_the_same() -> None:
    assert address("::ffff:10.32.7.40") == "::ffff:" + address("10.32.7.40")


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


def test_the_interface_behind_an_address_is_a_name_too() -> None:
    assert re.fullmatch(r"fe80::[0-9a-f:]+%zone-[0-9a-f]{10}", address("fe80::1%customer0"))
    assert address("fe80::1%2").endswith("%2")


@given(st.text(max_size=40))
def test_whatever_stands_for_an_address_is_replaced(text: str) -> None:
    found = address(text)
    assert found == "" if not text else re.match(r"address-|[0-9a-f]*[:.]", found)


@given(st.text(max_size=40), st.sampled_from(get_args(Kind)))
def test_any_text_has_a_pseudonym(text: str, kind: Kind) -> None:
    assert bool(name(kind, text)) == bool(text)


# --- Sentences -------------------------------------------------------------------------------------------------------


def scrubbed(sentence: str, **workload: Any) -> str:
    redactor = Redactor(KEY)
    redactor.node(Node(hostname="edge-0412.example.com", kernel="6.1", boot_id="8c2b7e90-0000-4000-8000-000000000004"))
    failed = Failure(code="unreadable", reason=sentence)
    samples: dict[str, AnySample] = {"tcp_memory": failed, "workloads": Workloads(by_pid={1: Workload(**workload)})}
    failure = redactor.snapshot(Snapshot(at=AT, samples=samples)).samples["tcp_memory"]
    assert isinstance(failure, Failure)
    return failure.reason


@pytest.mark.parametrize(
    "sentence",
    [
        "/proc/7/ns/net cannot be read: Permission denied",
        "/host/proc/net/sockstat: TCP: mem is missing",
        "/dev/kmsg cannot be read without CAP_SYSLOG (Operation not permitted)",
        "/var/log has none of kern.log, syslog, messages",
        "network namespaces that could not be entered or read: 3 (first reason: /proc/7/ns/net cannot be read: x)",
        "processes outside our pid namespace: without an owner (run with the host's pid namespace)",
        "whether a socket without a descriptor belongs to the kernel (NFS, iSCSI, ...) or is on its way",
        "process 4134187 is gone",
        "the kernel is locked down (confidentiality): BPF programs may not read its memory",
        "127.0.0.1 and ::1 stay, and so does 12:30:45",
        *(pattern.pattern for _, pattern in KNOWN),
    ],
)
def test_a_sentence_without_names_stays_as_it_is(sentence: str) -> None:
    assert scrubbed(sentence) == sentence


@pytest.mark.parametrize(
    ("sentence", "pattern"),
    [
        ("edge-0412.example.com is away, EDGE-0412 too", "host-X is away, host-X too"),
        ("nginx: on 10.1.2.3:80", "p-X: on A:80"),
        ("from [2001:db8::5]:443 and 2001:db8::5: gone", "from [A]:443 and A: gone"),
        ("to aa:bb:cc:dd:ee:ff", "to address-X"),
        ("/run/netns/customer one is no longer network namespace 7", "/path-X is no longer network namespace 7"),
        ("the binding does not load: /home/ann/x.so: cannot open", "the binding does not load: /path-X: cannot open"),
        ("/sys/fs/cgroup/acme/x does not exist here", "/path-X does not exist here"),
        ("/usr/bin/my nginx cannot be read: x", "/exe-X cannot be read: x"),
        ("pulled registry.example/edge/app:1", "pulled /path-X"),
        ("/proc/stat: btime is 'it\\'s ann'", "/proc/stat: btime is '(redacted)'"),
        ("is \"ann's\" or 'cut off", "is '(redacted)' or '(redacted)'"),
        ("boot 8c2b7e90-0000-4000-8000-000000000004", "boot U"),
        ("pod5e6f0a11_1111_4111_8111_111111111111.slice", "podU.slice"),
        (f"id {'c0ffee01' * 8}", "id H"),
    ],
)  # fmt: skip
def test_what_is_a_name_in_a_sentence_is_replaced(sentence: str, pattern: str) -> None:
    signs = {
        "X": "[0-9a-f]{10}",
        "A": "[0-9a-f.:]+",
        "U": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        "H": "[0-9a-f]{64}",
    }
    expected = re.sub(r"\b[XAUH]\b|(?<=pod)U|(?<=-)X", lambda m: signs[m[0]], re.escape(pattern).replace(r"\-", "-"))
    process = Process(pid=1, comm="nginx", exe="/usr/bin/my nginx")
    found = scrubbed(sentence, process=process)
    assert re.fullmatch(expected, found), found
    assert found != sentence


def test_a_name_in_a_sentence_has_the_pseudonym_it_has_elsewhere() -> None:
    container = Container(id="c0ffee01" * 8, name="worker", cgroup="/", image="i")
    pod = Pod(namespace="jobs", name="queue-6b7c", uid="5e6f0a11-1111-4111-8111-111111111111")
    found = scrubbed(f"{pod.name} {pod.uid} {container.id} worker 10.1.2.3", container=container, pod=pod)
    assert found.split() == [
        name("pod", "queue-6b7c"), name("uid", pod.uid or ""), name("container", container.id),
        name("container name", "worker"), address("10.1.2.3"),
    ]  # fmt: skip


@given(st.text(max_size=200))
def test_any_sentence_is_scrubbed_and_stays_one(sentence: str) -> None:
    assert bool(scrubbed(sentence)) == bool(sentence)


@given(st.text(min_size=5, max_size=15))
@example("\u0130nanc")
@example("(sd-pam)")
def test_a_name_that_stands_in_a_sentence_is_gone_whatever_it_is_made_of(comm: str) -> None:
    found = scrubbed(f"x {comm} y", process=Process(pid=1, comm=comm))
    assert found == f"x {name('process', comm)} y"
