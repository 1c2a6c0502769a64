"""whodunnet inside a real pod on the node: it finds the node's files and processes, or says what would show them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .debug_pod import WHODUNNET, DebugPod, debug_pod
from .node import Node, wait_until
from .pods import MakePod, RunningPod

pytestmark = [pytest.mark.root, pytest.mark.containers]

NEVER_READS = """
import socket, time
server = socket.create_server(("127.0.0.1", 0), backlog=200)
ends = [(socket.create_connection(server.getsockname()), server.accept()[0]) for _ in range(61)]
for client, _ in ends: client.sendall(bytes(20011))
time.sleep(1000)
"""


@pytest.fixture
def leaking(pod: MakePod) -> RunningPod:
    made = pod("foo-7d9f", ns="payments", containers={"foo": ["/usr/bin/python3", "-c", NEVER_READS]})
    pid = made.pids["foo"]
    wait_until(lambda: len(list(Path(f"/proc/{pid}/fd").iterdir())) > 120, "its connections are there")
    return made


def diagnose(inside: DebugPod, *options: str) -> dict[str, Any]:
    said = inside(WHODUNNET, "diagnose", "--for", "1s", "--format", "json", *options)
    assert said.err == ""
    document: dict[str, Any] = json.loads(said.out)
    return document


def culprits(document: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    """Pod, its namespace, container, and pid as the node has it."""
    parties = [p for f in document["findings"] for p in f["parties"] if p["role"] == "culprit"]
    return [
        ((p["pod"] or {})["name"], p["pod"]["namespace"], p["container"]["name"], p["process"]["pid"]) for p in parties
    ]


def not_checked(document: dict[str, Any]) -> set[str]:
    return {answer["rule"] for answer in document["not_checked"]}


@pytest.mark.parametrize(
    ("rights", "method"),
    [
        pytest.param({}, "bpf", id="as the profile sysadmin"),
        pytest.param({"host_network": False}, "bpf", id="with a network of its own"),
        pytest.param({"host": False}, "bpf", id="without /host"),
        pytest.param({"host": False, "host_network": False}, "bpf", id="with the host's pids only"),
        pytest.param({"host_pids": False}, "sock_diag", id="with /host, in a pid namespace of its own"),
        pytest.param({"host_pids": False, "host_network": False}, "sock_diag", id="with /host only"),
    ],
)
def test_a_leak_in_another_pod_is_named(node: Node, leaking: RunningPod, rights: dict[str, bool], method: str) -> None:
    with debug_pod(node, **rights) as inside:
        document = diagnose(inside)
    assert culprits(document) == [("foo-7d9f", "payments", "foo", leaking.pids["foo"])], document
    assert not_checked(document) == set()
    sources = {e["source"] for f in document["findings"] for e in f["evidence"]}
    assert any(method in source for source in sources), sources


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        pytest.param({}, ["CAP_BPF", "CAP_SYS_ADMIN"], id="as the profile general"),
        pytest.param({"host": False}, ["CAP_BPF", "root directory at /host"], id="with the host's pids only"),
        pytest.param({"host_pids": False}, ["CAP_BPF", "the host's pid namespace"], id="with /host only"),
        pytest.param(
            {"host": False, "host_pids": False, "host_network": False},
            ["CAP_BPF", "the host's pid namespace", "root directory at /host", "the host's network namespace"],
            id="as any other pod",
        ),
    ],
)
@pytest.mark.usefixtures("leaking")
def test_without_rights_the_node_is_not_judged_and_the_command_that_gives_them_is_said(
    node: Node, rights: dict[str, bool], missing: list[str]
) -> None:
    with debug_pod(node, privileged=False, **rights) as inside:
        document, listed = diagnose(inside), inside(WHODUNNET, "list")
    assert "socket-leak" in not_checked(document)
    assert not culprits(document)
    (command,) = [line.strip() for line in listed.out.splitlines() if "would be seen with:" in line]
    assert command.startswith("More would be seen with: kubectl debug node/")
    assert command.endswith("-it --image=IMAGE --profile=sysadmin -- whodunnet list")
    (lacking,) = [line for line in listed.out.splitlines() if "Missing here:" in line]
    assert all(word in lacking for word in missing), lacking


def test_a_pod_that_sees_itself_only_says_so(node: Node) -> None:
    with debug_pod(node, host=False, host_pids=False) as inside:
        document, listed = diagnose(inside), inside(WHODUNNET, "list")
    assert any("not the whole node" in limit for limit in document["limits"]), document["limits"]
    assert "our own pid namespace only" in listed.out
    assert "CAP_" not in next(line for line in listed.out.splitlines() if "Missing here:" in line)


def test_the_profile_sysadmin_lacks_nothing(node: Node) -> None:
    with debug_pod(node) as inside:
        listed = inside(WHODUNNET, "list")
    assert "Missing here" not in listed.out
    assert "in a pod\n" in listed.out
    assert "the machine's, at /host\n" in listed.out


def test_the_node_has_its_own_name_and_not_the_pod_s(node: Node) -> None:
    with debug_pod(node, host_network=False) as inside:
        document = diagnose(inside)
    assert document["node"]["hostname"] == Path("/etc/hostname").read_text().strip()
