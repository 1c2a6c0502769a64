"""A recording with connections comes back as it was; redacted it holds no name and no order of theirs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whodunnet.cli.record import reordered
from whodunnet.errors import RecordingError
from whodunnet.model.connections import ConnectionGroup, Connections, Span, groups_in_order
from whodunnet.model.snapshot import Node, Recording, Snapshot
from whodunnet.model.sockets import AcceptQueue, Endpoint, Sockets
from whodunnet.model.workload import Process, Workload, Workloads
from whodunnet.recording.header import header_of
from whodunnet.recording.lines import save
from whodunnet.recording.reader import load
from whodunnet.recording.recorder import Recorder
from whodunnet.recording.redact import Redactor

from . import keyed
from .arbitrary_connections import recording_with_connections
from .keyed import AT, KEY
from .test_redact import assert_not_found, with_secrets

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NODE = Node(hostname="n1", kernel="6.1", boot_id="")
SECRETS = ("10.77.1.2", "10.77.3.4", "2001:db8::77", "zq-secret", "zq-helper")


def group(server: str | None, client: str | None, comm: str = "zq-secret", **fields: object) -> ConnectionGroup:
    given = {
        "netns": 4026531833, "role": "accepted", "ending": "reset-received", "state": "close-wait", "owner_pid": 7,
        "connections": 3, "spans": (Span(4.9, 5.0, 3, 14.9),),
    } | fields  # fmt: skip
    return ConnectionGroup(server=Endpoint(server, 8443), client=client, comm=comm, **given)  # type: ignore[arg-type]


@quick
@given(recording_with_connections)
def test_what_was_saved_comes_back(recording: Recording) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "node.jsonl")
        save(recording, path)
        for text in (path.read_bytes().splitlines()[1:],):
            assert tuple(msgspec.json.decode(line, type=Snapshot) for line in text) == recording.snapshots


@quick
@given(recording_with_connections, st.integers(0, 2**48), st.booleans())
def test_no_name_of_any_node_is_left(recording: Recording, seed: int, odd: bool) -> None:
    assert_not_found(with_secrets(recording, Random(seed), odd))


def told(snapshot: Snapshot) -> tuple[Snapshot, str]:
    redactor = Redactor(KEY)
    redactor.node(NODE)
    found = reordered(redactor.snapshot(snapshot))
    return found, msgspec.json.encode(found).decode()


def planted() -> Snapshot:
    """Each secret where a node would have it, and in the sentences beside it."""
    return Snapshot(
        at=AT,
        samples={
            "connections": Connections(
                groups=(
                    group("10.77.1.2", "10.77.3.4"), group("2001:db8::77", "10.77.1.2", "zq-helper"), group(None, None),
                ),
                watched_seconds=9.0,
                counters={4026531833: {"AttemptFails": 2}},
                fallback_reason="'zq-secret' of 10.77.3.4 cannot be read, nor zq-helper at 2001:db8::77",
            ),
        },
    )  # fmt: skip


def test_planted_secrets_are_gone_in_every_form() -> None:
    _, text = told(planted())
    for secret in SECRETS:
        assert secret not in text
        assert secret.upper() not in text
    assert "0a4d" not in text


def test_ports_numbers_times_and_our_words_stay() -> None:
    found, _ = told(planted())
    sample = found.samples["connections"]
    assert isinstance(sample, Connections)
    assert {g.server.port for g in sample.groups} == {8443}
    assert {(g.netns, g.owner_pid, g.ending, g.state, g.spans) for g in sample.groups} == {
        (4026531833, 7, "reset-received", "close-wait", (Span(4.9, 5.0, 3, 14.9),))
    }
    assert sample.counters == {4026531833: {"AttemptFails": 2}}


def test_an_end_and_its_process_have_the_names_they_have_elsewhere() -> None:
    """So that a redacted recording still joins client, server and owner."""
    found, _ = told(
        Snapshot(
            at=AT,
            samples={
                "connections": Connections(
                    groups=(
                        group("10.77.1.2", "10.77.3.4"),
                        group("10.77.1.2", "10.77.3.4", role="initiated", comm="curl"),
                    ),
                    watched_seconds=1.0,
                ),
                "sockets": Sockets(
                    method="bpf", groups=(), accept_queues=(
                        AcceptQueue(owner_pid=7, netns=1, local=Endpoint("10.77.1.2", 8443), waiting=0, limit=1),
                    ),
                ),
                "workloads": Workloads(by_pid={7: Workload(process=Process(pid=7, comm="zq-secret"))}),
            },
        )
    )  # fmt: skip
    connections, sockets, workloads = (found.samples[n] for n in ("connections", "sockets", "workloads"))
    assert isinstance(connections, Connections)
    assert isinstance(sockets, Sockets)
    assert isinstance(workloads, Workloads)
    client, server = sorted(connections.groups, key=lambda g: g.role, reverse=True)
    assert (server.server, server.client) == (client.server, client.client)
    assert server.server == sockets.accept_queues[0].local
    process = workloads.by_pid[7].process
    assert process is not None
    assert server.comm == process.comm == keyed.name("process", "zq-secret")


def test_the_order_of_groups_is_that_of_their_pseudonyms() -> None:
    """That of the originals would tell which address is the lower one."""
    addresses = [f"10.77.0.{n}" for n in range(40)]
    groups = groups_in_order(group(address, address) for address in addresses)
    assert [g.client for g in groups] == sorted(addresses)
    found, _ = told(Snapshot(at=AT, samples={"connections": Connections(groups=groups, watched_seconds=1.0)}))
    sample = found.samples["connections"]
    assert isinstance(sample, Connections)
    assert sample.groups == groups_in_order(sample.groups)
    assert [g.client for g in sample.groups] != [keyed.address(g.client or "") for g in groups]


def test_loopback_stays_what_it_is() -> None:
    found, _ = told(
        Snapshot(at=AT, samples={"connections": Connections(groups=(group("::1", "::1"),), watched_seconds=1.0)})
    )
    sample = found.samples["connections"]
    assert isinstance(sample, Connections)
    assert (sample.groups[0].server.address, sample.groups[0].client) == ("::1", "::1")


@dataclass(frozen=True)
class Damage:
    """What a recording of a stranger may hold in place of something, and what it is refused for."""

    there: bytes
    instead: bytes


@pytest.mark.parametrize(
    "damage",
    [
        Damage(b"[4.9,5.0,3,14.9]", b"[4.9,5.0,0,14.9]"),
        Damage(b"[4.9,5.0,3,14.9]", b"[4.9,5.0,3,1e99]"),
        Damage(b'"ending":"reset-received"', b'"ending":"exploded"'),
        Damage(b'"connections":3', b'"connections":-3'),
        Damage(b'"role":"accepted"', b'"role":"other"'),
    ],
)
def test_what_no_kernel_can_have_counted_is_refused(damage: Damage, tmp_path: Path) -> None:
    """A class without connections has no mean."""
    path = tmp_path / "node.jsonl"
    save(Recording(node=NODE, snapshots=(planted(),)), path)
    content = path.read_bytes()
    assert damage.there in content
    path.write_bytes(content.replace(damage.there, damage.instead))
    with pytest.raises(RecordingError, match="damaged"):
        load(path)


def test_a_recorder_keeps_connections(tmp_path: Path) -> None:
    path = tmp_path / "node.wdn"
    recording = Recording(node=NODE, snapshots=(planted(),))
    with Recorder(path, 10**7) as recorder:
        recorder.append(recording.snapshots[0], header_of(recording))
    assert load(path).snapshots == recording.snapshots
