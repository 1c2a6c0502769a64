"""The command line that would show more: exact, and never with a hostile word in it."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.cli.advice import NEEDED, advice, missing_rights, refusal
from whodunnet.kernel.host import Place
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Node, Recording, Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.model.text import clean

ARGV = ["/opt/w/bin/whodunnet", "diagnose", "--for", "10s"]
SUPPORT = Support(
    capabilities=frozenset(), euid=1000, kernel="6", hostname="node-7", boot_id="b", page_size_bytes=4096,
    possible_cpus=1, btf=True, lockdown=None, virtual_machine=None, pid_namespace_depth=0, cgroup_layout=None,
)  # fmt: skip
ROOT = msgspec.structs.replace(SUPPORT, euid=0, capabilities=frozenset(NEEDED))
HERE = Place(roots=Roots())
POD = Place(roots=Roots(), container="pod", host=None, whole_machine=False, host_pids=False, host_network=False)


def with_(place: Place, **changes: Any) -> Place:
    return msgspec.structs.replace(place, **changes)


def command(place: Place, support: Support = SUPPORT, environment: dict[str, str] | None = None) -> str:
    return advice(place, support, ARGV, environment or {})[0].partition(": ")[2]


def test_who_has_everything_is_told_nothing() -> None:
    assert advice(HERE, ROOT, ARGV, {}) == []
    assert advice(with_(HERE, container="pod"), ROOT, ARGV, {}) == []


def test_a_user_is_told_the_same_command_as_root() -> None:
    assert command(HERE) == "sudo /opt/w/bin/whodunnet diagnose --for 10s"
    assert command(HERE, environment={"WHODUNNET_BUNDLE": "/var/tmp/who dunnet"}) == (
        "sudo '/var/tmp/who dunnet' diagnose --for 10s"
    )


def test_what_one_command_needs_beyond_the_others_is_missing_too() -> None:
    assert advice(HERE, ROOT, ARGV, {}, also=("CAP_NET_ADMIN",)) == [
        "Missing here: CAP_NET_ADMIN. This is root already: start it where nothing was taken from root, as in a login"
        " shell."
    ]
    assert advice(HERE, SUPPORT, ARGV, {}, also=("CAP_NET_ADMIN",))[-1].startswith("Missing here: CAP_NET_ADMIN, CAP_")


def test_root_without_its_rights_is_told_what_was_taken() -> None:
    less = msgspec.structs.replace(ROOT, capabilities=frozenset(NEEDED) - {"CAP_SYS_PTRACE"})
    (line,) = advice(HERE, less, ARGV, {})
    assert line.startswith("Missing here: CAP_SYS_PTRACE. This is root already")


@pytest.mark.parametrize(
    ("changes", "node"),
    [
        ({}, "NODE"),
        ({"host": Path("/host")}, "node-7"),
        ({"host_network": True}, "node-7"),
    ],
)
def test_in_a_pod_it_is_kubectl_debug(changes: dict[str, Any], node: str) -> None:
    expected = f"kubectl debug node/{node} -it --image=IMAGE --profile=sysadmin -- whodunnet diagnose --for 10s"
    lines = advice(with_(POD, **changes), SUPPORT, ARGV, {})
    assert lines[0] == f"More would be seen with: {expected}"
    assert ("NODE: " in lines[1]) == (node == "NODE")


def test_one_file_on_the_host_is_run_in_any_image() -> None:
    bundle = {"WHODUNNET_BUNDLE": "/host/var/tmp/whodunnet"}
    assert command(POD, environment=bundle).endswith("-- /host/var/tmp/whodunnet diagnose --for 10s")
    assert "IMAGE: any" in advice(POD, SUPPORT, ARGV, bundle)[1]


@pytest.mark.parametrize(("container", "program"), [("docker", "docker"), ("podman", "sudo podman")])
def test_in_a_container_of_its_own_it_is_that_runtime(container: Any, program: str) -> None:
    assert command(with_(POD, container=container)) == (
        f"{program} run --rm -it --privileged --pid=host --network=host --cgroupns=host --volume=/:/host:ro IMAGE "
        "whodunnet diagnose --for 10s"
    )


def test_in_namespaces_of_unknown_making_it_is_the_machine_itself() -> None:
    (first, _) = advice(with_(POD, container="other"), SUPPORT, ARGV, {})
    assert first == "On the machine itself more would be seen with: sudo whodunnet diagnose --for 10s"


@pytest.mark.parametrize(
    ("place", "held", "missing"),
    [
        (HERE, {"CAP_SYS_ADMIN"}, ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]),
        (HERE, set(NEEDED) - {"CAP_SYS_ADMIN"}, ["CAP_SYS_ADMIN"]),
        (with_(HERE, host_network=False), NEEDED, []),
        (with_(HERE, host_pids=False), NEEDED, ["the host's pid namespace"]),
        (
            POD,
            NEEDED,
            ["the host's pid namespace", "the host's root directory at /host", "the host's network namespace"],
        ),
        (with_(HERE, host_user=False), NEEDED, [*NEEDED, "rights outside of our user namespace"]),
    ],
)
def test_exactly_what_is_missing_is_named(place: Place, held: Any, missing: list[str]) -> None:
    assert missing_rights(place, msgspec.structs.replace(ROOT, capabilities=frozenset(held))) == missing


def test_a_filter_is_named_only_where_bpf_was_refused_by_it() -> None:
    filtered = with_(HERE, container="docker", filtered=True)
    assert missing_rights(filtered, ROOT) == []
    assert missing_rights(filtered, ROOT, "refused") == ["system calls that a seccomp filter forbids (bpf)"]
    assert missing_rights(with_(filtered, container=None), ROOT, "refused") == []


def test_bpf_was_refused_where_no_capability_is_named() -> None:
    def recording(**changes: Any) -> Recording:
        sockets = Sockets(method="sock_diag", groups=(), page_size_bytes=4096, **changes)
        at = Moment(wall=datetime(2026, 11, 21, tzinfo=UTC), boot_seconds=1.0)
        node = Node(hostname="n", kernel="6", boot_id="b")
        return Recording(node=node, snapshots=(Snapshot(at=at, samples={"sockets": sockets}),))

    assert refusal(recording(fallback_reason="a security module")) == "a security module"
    assert refusal(recording(fallback_reason="no right", missing_capability="CAP_BPF")) is None
    assert refusal(recording()) is None


@given(st.lists(st.text(min_size=1, max_size=20), max_size=5), st.text(max_size=20), st.text(min_size=1, max_size=20))
def test_no_word_becomes_more_than_one(words: list[str], hostname: str, bundle: str) -> None:
    support = msgspec.structs.replace(SUPPORT, hostname=hostname)
    environment = {"WHODUNNET_BUNDLE": f"/host/{bundle}"}
    for place in (HERE, with_(POD, host_network=True), with_(POD, container="docker"), with_(POD, container="other")):
        bare, full = (
            advice(place, support, argv, environment)[0].partition(": ")[2]
            for argv in (["whodunnet"], ["whodunnet", *words])
        )
        assert shlex.split(full) == [*shlex.split(bare), *(clean(word) for word in words)]
        assert full.isprintable()
