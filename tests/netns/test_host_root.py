"""A root directory of our own, with and without the machine mounted at /host: what is used, what misleads nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

import whodunnet
from netns.command import ask, diagnose
from netns.namespace import Namespace

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="only root may chroot and mount")]

LEAKER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=600)
pairs = [(socket.create_connection(listener.getsockname()), listener.accept()[0]) for _ in range(61)]
for client, _ in pairs: client.sendall(bytes(20011))
print(flush=True)
sys.stdin.read()
"""
POD = "0b5c1f64-71a0-4c3e-8a53-2d1c6f0e9a11"
CONTAINER = "c0ffee" + "0" * 58
BINDS = sorted(
    {"/usr", "/lib", "/lib64", "/bin", sys.prefix, sys.base_prefix, str(Path(whodunnet.__file__).parents[1])}
)
"""What this interpreter needs, at the same place in the other root directory."""
REAL = "mount --rbind / host"
FILES_ONLY = "mount --bind / host"
PLANTED = "mkdir -p host/proc/1/ns host/proc/self host/run host/var; echo 'NSpid: 1 1' >host/proc/self/status"
OWN_PROCFS = "mkdir -p host/proc host/run host/var; mount -t proc proc host/proc"
ENDED_PROCFS = "mkdir -p host/proc; unshare --pid --fork mount -t proc proc host/proc"
PIDS, PIDS_AND_NET = ("--pid", "--fork"), ("--pid", "--fork", "--net", "--uts")


def in_root(top: Path, host: str, *namespaces: str) -> tuple[str, ...]:
    """In another root directory, in namespaces that vanish with it. host: how the directory `host` in it is made."""
    script = f"mount -t tmpfs none {top}; cd {top}; mkdir host proc tmp; "
    script += "".join(f"mkdir -p .{path}; mount --bind {path} .{path}; " for path in BINDS)
    script += f'{host}; mount -t proc proc proc; exec chroot . "$@"'
    return ("unshare", "--mount", *namespaces, "sh", "-ec", script, "sh")


class Leak(NamedTuple):
    namespace: Namespace
    pid: int


@pytest.fixture(scope="module")
def leak() -> Iterator[Leak]:
    with ExitStack() as kept:
        namespace = kept.enter_context(Namespace())
        command = [sys.executable, "-c", LEAKER]
        process = namespace(
            lambda: kept.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        )
        kept.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline()
        yield Leak(namespace, process.pid)


def places(rights: tuple[str, ...]) -> dict[str, str]:
    """What `whodunnet list` says of where it looks."""
    answer = ask("list", rights=rights)
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.partition("Where it looks\n")[2].splitlines()
    return {line.split()[0]: line.strip().partition(" ")[2].strip() for line in lines}


@pytest.mark.parametrize(
    ("host", "namespaces", "proc", "files"),
    [
        pytest.param(REAL, (), "/host/proc", "/host", id="host"),
        pytest.param(REAL, PIDS, "/host/proc", "/host", id="host, from a pid namespace"),
        pytest.param(REAL, PIDS_AND_NET, "/host/proc", "/host", id="host, from namespaces of our own"),
        pytest.param(":", (), "/proc", "/root", id="shared pids only"),
        pytest.param(PLANTED, (), "/proc", "/root", id="shared pids and a planted host"),
    ],
)
def test_the_leak_is_named_from_another_root_directory(
    leak: Leak, tmp_path: Path, host: str, namespaces: tuple[str, ...], proc: str, files: str
) -> None:
    rights = in_root(tmp_path, host, *namespaces)
    found = places(rights)
    assert found["processes"].startswith("the whole machine")
    assert found["processes"].endswith(f"by {proc}")
    assert found["files"].endswith(files)
    document = diagnose("--for", "0s", rights=rights).document
    culprits = [p for f in document["findings"] for p in f["parties"] if p["role"] == "culprit"]
    assert [(c["process"]["pid"], c["netns"]) for c in culprits] == [(leak.pid, leak.namespace.number)], document
    assert "tcp-memory" not in {answer["rule"] for answer in document["not_checked"]}


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(":", id="nothing at host"),
        pytest.param(FILES_ONLY, id="files without procfs"),
        pytest.param(PLANTED, id="planted files"),
        pytest.param(OWN_PROCFS, id="our own procfs"),
        pytest.param(ENDED_PROCFS, id="procfs of another pid namespace"),
    ],
)
@pytest.mark.usefixtures("leak")
def test_what_is_not_the_machine_is_not_taken_for_it(tmp_path: Path, host: str) -> None:
    rights = in_root(tmp_path, host, *PIDS)
    found = places(rights)
    assert found["processes"] == "our own pid namespace only, by /proc"
    assert found["files"] == "out of sight: this container's own"
    assert "the host's pid namespace" in found["Missing"]
    document = diagnose("--for", "0s", rights=rights).document
    assert "socket-leak" in {answer["rule"] for answer in document["not_checked"]}
    assert any("not the whole node" in limit for limit in document["limits"])


@pytest.mark.usefixtures("leak")
def test_limits_that_cannot_be_reached_are_not_checked(tmp_path: Path) -> None:
    document = diagnose("--for", "0s", "--only", "tcp-memory", rights=in_root(tmp_path, ":", *PIDS_AND_NET)).document
    (answer,) = document["not_checked"]
    assert (answer["rule"], answer["missing_capability"]) == ("tcp-memory", "CAP_SYS_ADMIN")


@pytest.fixture
def cgroups(leak: Leak) -> Iterator[Path]:
    """The leaker in a pod's cgroup; the answer is another pod's, for us."""
    hierarchy = next(
        (p for p in map(Path, ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")) if (p / "cgroup.procs").exists()), None
    )
    if hierarchy is None:
        pytest.skip("no cgroup hierarchy with processes is mounted")
    pods = [hierarchy / "kubepods/besteffort" / f"pod{uid}" for uid in (POD, POD.replace("0b", "1b"))]
    theirs, ours = pods[0] / CONTAINER, pods[1] / CONTAINER
    made = [path for leaf in (theirs, ours) for path in (*reversed(leaf.relative_to(hierarchy).parents), leaf)]
    made = [hierarchy / path for path in dict.fromkeys(made) if not (hierarchy / path).exists()]
    for path in made:
        path.mkdir()
    (theirs / "cgroup.procs").write_text(str(leak.pid))
    try:
        yield ours / "cgroup.procs"
    finally:
        (hierarchy / "cgroup.procs").write_text(str(leak.pid))
        for path in reversed(made):
            path.rmdir()


@pytest.mark.parametrize("namespaces", [(), PIDS], ids=["shared pids", "a pid namespace"])
def test_the_pod_is_known_from_a_cgroup_namespace_of_our_own(
    leak: Leak, cgroups: Path, tmp_path: Path, namespaces: tuple[str, ...]
) -> None:
    join = ("sh", "-ec", f'echo $$ >{cgroups}; exec "$@"', "sh")
    rights = (*join, *in_root(tmp_path, REAL, *namespaces, "--cgroup"))
    document = diagnose("--for", "0s", rights=rights).document
    (culprit,) = [p for f in document["findings"] for p in f["parties"] if p["role"] == "culprit"]
    assert culprit["process"]["pid"] == leak.pid
    assert (culprit["pod"]["uid"], culprit["container"]["id"]) == (POD, CONTAINER)
