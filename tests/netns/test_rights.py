"""The same leak, looked at with other rights: found, or said to be unseen, and never taken for healthy. Needs root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from netns.command import NOBODY, WHODUNNET, Answer, ask, diagnose, mounted, nobody_with
from netns.namespace import Namespace
from whodunnet.kernel.procfs.sockstat import read_sockstat
from whodunnet.kernel.roots import Roots

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="rights can only be given away")]

LEAKED = 61
"""More than the 50 that the rule asks for."""
LEAKER = """
import socket, sys
with open("/proc/self/comm", "w") as comm:
    comm.write("leaker")
listener = socket.create_server(("127.0.0.1", 0), backlog=600)
pairs = [(socket.create_connection(listener.getsockname()), listener.accept()[0]) for _ in range(int(sys.argv[1]))]
for client, _ in pairs:
    client.sendall(bytes(int(sys.argv[2])))
print(flush=True)
sys.stdin.read()
"""
HIDEPID = mounted("mount -t proc -o hidepid=2 proc /proc")
SUBSET = mounted("mount -t proc -o subset=pid proc /proc")
PID_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")
FOREIGN_PID_NAMESPACE = ("unshare", "--pid", "--fork")


class Leak(NamedTuple):
    """Where and who."""

    namespace: Namespace
    pid: int

    def is_named(self, document: dict[str, Any]) -> bool:
        """Whether a finding has this process as its culprit."""
        return bool(self.culprits(document))

    def culprits(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        """The parties that are this process."""
        parties = [p for f in document["findings"] for p in f["parties"] if p["role"] == "culprit"]
        return [p for p in parties if (p.get("process") or {}).get("pid") == self.pid]


def sockets_of(kept: ExitStack, namespace: Namespace, pairs: int, unread: int) -> int:
    """A process with that many connections to itself; its pid."""
    command = [sys.executable, "-c", LEAKER, str(pairs), str(unread)]
    process = namespace(
        lambda: kept.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    )
    kept.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process.pid


@pytest.fixture(scope="module")
def leak() -> Iterator[Leak]:
    with ExitStack() as kept:
        namespace = kept.enter_context(Namespace())
        yield Leak(namespace, sockets_of(kept, namespace, LEAKED, 20_011))


@pytest.fixture(scope="module", autouse=True)
def nobody_can_run_it() -> None:
    done = subprocess.run([*NOBODY, str(WHODUNNET), "--version"], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this interpreter is not for everybody: {done.stderr}")


def sources(document: dict[str, Any]) -> set[str]:
    """Where the evidence about sockets comes from."""
    answers = [*document["findings"], *document["cleared"]]
    return {e["source"] for a in answers if a["rule"] == "socket-leak" for e in a["evidence"]}


def not_checked(document: dict[str, Any]) -> dict[str, Any]:
    (answer,) = [n for n in document["not_checked"] if n["rule"] == "socket-leak"]
    found: dict[str, Any] = answer
    return found


def is_cleared(document: dict[str, Any]) -> bool:
    return any(c["rule"] == "socket-leak" for c in document["cleared"])


@pytest.mark.parametrize(
    ("rights", "arguments", "method"),
    [
        pytest.param((), (), "bpf", id="root"),
        pytest.param((), ("--no-bpf",), "sock_diag", id="root without BPF"),
        pytest.param(nobody_with("bpf", "perfmon"), (), "bpf", id="nobody with CAP_BPF and CAP_PERFMON"),
        pytest.param(nobody_with("sys_admin"), (), "bpf", id="nobody with CAP_SYS_ADMIN"),
        pytest.param(
            nobody_with("sys_admin", "sys_ptrace", "dac_read_search"),
            ("--no-bpf",),
            "sock_diag",
            id="nobody who may enter",
        ),
        pytest.param(mounted("mount -t tmpfs none /dev"), (), "bpf", id="without /dev/kmsg"),
        pytest.param(("unshare", "--net"), (), "bpf", id="in another network namespace"),
        pytest.param(
            FOREIGN_PID_NAMESPACE, ("--no-bpf",), "sock_diag", id="in a pid namespace, with the host's procfs"
        ),
    ],
)
def test_the_leak_is_found(leak: Leak, rights: tuple[str, ...], arguments: tuple[str, ...], method: str) -> None:
    document = diagnose("--for", "0s", *arguments, rights=rights).document
    assert leak.is_named(document), document
    assert any(method in source for source in sources(document))
    assert "socket-leak" not in {answer["rule"] for answer in document["not_checked"]}


@pytest.mark.parametrize("rights", [(), nobody_with("bpf", "perfmon")], ids=["root", "CAP_BPF and CAP_PERFMON"])
def test_the_culprit_has_a_name(leak: Leak, rights: tuple[str, ...]) -> None:
    (culprit,) = leak.culprits(diagnose("--for", "0s", rights=rights).document)
    assert culprit["process"]["comm"] == "leaker"
    assert culprit["sockets"] == LEAKED


def test_all_programs_load_with_rights_for_bpf_only() -> None:
    """Also those that look into a module's types, which takes more (libbpf: BTF of modules by id, CAP_SYS_ADMIN)."""
    document = diagnose("--for", "1s", rights=nobody_with("bpf", "perfmon")).document
    refused = {one["rule"]: one["reason"] for one in document["not_checked"] if "BPF" in one["reason"]}
    assert refused == {}


def test_the_culprit_has_its_namespace_with_rights_for_bpf_only(leak: Leak) -> None:
    (culprit,) = leak.culprits(diagnose("--for", "0s", rights=nobody_with("bpf", "perfmon")).document)
    assert culprit["netns"] == leak.namespace.number


@pytest.mark.usefixtures("leak")
def test_nobody_known_is_no_culprit() -> None:
    """Enough rights to see the sockets in their namespace, too few for descriptors of others."""
    document = diagnose("--for", "0s", "--no-bpf", rights=nobody_with("sys_admin", "sys_ptrace")).document
    culprits = [p for f in document["findings"] for p in f["parties"] if p["role"] == "culprit"]
    assert all(p.get("process") or p.get("container") or p.get("pod") or p.get("unit") for p in culprits), culprits


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        pytest.param(nobody_with("bpf"), "CAP_PERFMON", id="CAP_BPF only"),
        pytest.param(nobody_with("perfmon"), "CAP_BPF", id="CAP_PERFMON only"),
        pytest.param(nobody_with("sys_ptrace"), "CAP_BPF", id="CAP_SYS_PTRACE only"),
        pytest.param(NOBODY, "CAP_BPF", id="nobody"),
        pytest.param((*HIDEPID, *NOBODY), "CAP_BPF", id="nobody, and processes are hidden"),
        pytest.param((*PID_NAMESPACE, *NOBODY), "CAP_BPF", id="nobody in a pid namespace"),
        pytest.param((*mounted("mount -t tmpfs none /dev"), *NOBODY), "CAP_BPF", id="nobody without /dev/kmsg"),
        pytest.param((*mounted("mount -t tmpfs none /sys"), *NOBODY), "CAP_BPF", id="nobody without /sys"),
    ],
)
def test_a_leak_that_cannot_be_seen_is_not_ruled_out(leak: Leak, rights: tuple[str, ...], missing: str) -> None:
    document = diagnose("--for", "0s", rights=rights).document
    assert not leak.is_named(document)
    assert not is_cleared(document), document["cleared"]
    answer = not_checked(document)
    assert (answer["code"], answer["missing_capability"]) == ("missing-capability", missing)
    assert missing in answer["reason"]


@pytest.mark.parametrize(
    ("rights", "arguments"),
    [
        pytest.param(PID_NAMESPACE, ("--no-bpf",), id="in a pid namespace without BPF"),
        pytest.param(
            PID_NAMESPACE,
            (),
            id="in a pid namespace",
        ),
        pytest.param(
            FOREIGN_PID_NAMESPACE,
            (),
            id="in a pid namespace, with the host's procfs",
        ),
        pytest.param(nobody_with("bpf", "perfmon"), ("--no-bpf",), id="nobody without BPF"),
    ],
)
def test_a_leak_out_of_sight_is_not_ruled_out(leak: Leak, rights: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    document = diagnose("--for", "0s", *arguments, rights=rights).document
    assert not is_cleared(document), document["cleared"]
    assert leak.is_named(document) or not_checked(document)["reason"]


def test_a_leak_out_of_sight_is_not_ruled_out_where_most_sockets_are_in_sight(leak: Leak) -> None:
    with ExitStack() as kept:
        here = kept.enter_context(Namespace())
        sockets_of(kept, here, min(3 * read_sockstat(Roots()).tcp_alloc, 9000), 0)
        document = here(lambda: diagnose("--for", "0s", rights=(*HIDEPID, *NOBODY)).document)
    assert not leak.is_named(document)
    assert not is_cleared(document), document["cleared"]


def test_a_leak_of_another_user_in_our_own_namespace_is_not_ruled_out(leak: Leak) -> None:
    document = leak.namespace(lambda: diagnose("--for", "0s", rights=NOBODY).document)
    assert not is_cleared(document), document["cleared"]


@pytest.mark.parametrize("mounts", ["mount -t proc -o subset=pid proc /proc", "mount -t tmpfs none /proc"])
@pytest.mark.parametrize("verb", ["diagnose", "sockets", "list"])
def test_without_the_files_of_proc_it_says_so_in_one_sentence(verb: str, mounts: str) -> None:
    answer = ask(verb, rights=mounted(mounts))
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("whodunnet: ")
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    "rights",
    [
        pytest.param((), id="root"),
        pytest.param(NOBODY, id="nobody"),
        pytest.param(nobody_with("bpf", "perfmon"), id="CAP_BPF and CAP_PERFMON"),
        pytest.param((*HIDEPID, *NOBODY), id="nobody, and processes are hidden"),
        pytest.param(PID_NAMESPACE, id="pid namespace"),
        pytest.param(mounted("mount -t tmpfs none /sys"), id="without /sys"),
    ],
)
@pytest.mark.parametrize("verb", [("sockets",), ("sockets", "--by", "process", "--format", "json"), ("list",)])
def test_every_command_works_with_few_rights(rights: tuple[str, ...], verb: tuple[str, ...]) -> None:
    answer = ask(*verb, rights=rights)
    assert (answer.status, answer.err) == (0, "")
    if "json" in verb:
        assert "rows" in answer.document


@pytest.mark.usefixtures("leak")
@pytest.mark.parametrize(
    "form",
    [
        "text",
        pytest.param(
            "npd",
        ),
    ],
)
def test_nobody_is_not_told_that_all_is_well(form: str) -> None:
    answer: Answer = ask("diagnose", "--for", "0s", "--format", form, rights=NOBODY)
    assert "socket-leak" in answer.out
    if form == "text":
        assert "CAP_BPF" in answer.out
        assert answer.err.startswith("More would be seen with: sudo ")
    else:
        assert answer.err == ""


@pytest.mark.usefixtures("leak")
def test_a_rule_that_is_required_and_not_checked_leaves_the_node_unjudged() -> None:
    document = diagnose("--for", "0s", "--require", "socket-leak", rights=NOBODY).document
    assert document["outcome"] == "incomplete"
