"""A runtime's notes are rewritten all the time: the pod has its right name or none."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab.look import wait_until
from lab.score import culprits
from lab.stage import Player, Pod, Stage
from tests.chaos import rewriter
from tests.chaos.run import Run, nothing_left
from tests.chaos.scene import Leak
from tests.netns.command import mounted
from whodunnet.attribution.runtimes import Runtimes
from whodunnet.kernel.procfs.process import read_cgroup
from whodunnet.kernel.roots import Roots

CONTAINER = "c0ffee" + uuid.uuid4().hex + uuid.uuid4().hex[:26]
UIDS = tuple(str(uuid.uuid4()) for _ in range(2))
NAMES = (("shop", "web-0", "app"), ("elsewhere", "intruder-0", "spy"))
"""Namespace, pod and container: the right ones, and another's."""
LOOKS = 3000
PAUSE_SECONDS = 0.002


class Runtime(NamedTuple):
    """Where one keeps its note of our container, and under which keys the names stand."""

    cgroup: str
    note: str
    keys: tuple[str, str, str, str]

    def noted(self, names: tuple[str, str, str], uid: str) -> dict[str, Any]:
        labels = dict(zip(self.keys, (*names, uid), strict=True))
        if self.note.endswith("v2.json"):
            container = CONTAINER if uid == UIDS[0] else "0" * 64
            return {"ID": container, "Name": f"/k8s_{names[2]}", "Config": {"Labels": labels}}
        return {"annotations": labels}


KUBERNETES = tuple(f"io.kubernetes.{key}" for key in ("pod.namespace", "pod.name", "container.name", "pod.uid"))
RUNTIMES = {
    "containerd": Runtime(
        CONTAINER,
        f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{CONTAINER}/config.json",
        tuple(  # type: ignore[arg-type]
            f"io.kubernetes.cri.{key}" for key in ("sandbox-namespace", "sandbox-name", "container-name", "sandbox-uid")
        ),
    ),
    "docker": Runtime(CONTAINER, f"var/lib/docker/containers/{CONTAINER}/config.v2.json", KUBERNETES),  # type: ignore[arg-type]
    "cri-o": Runtime(
        f"crio-{CONTAINER}.scope",
        f"run/containers/storage/overlay-containers/{CONTAINER}/userdata/config.json",
        KUBERNETES,  # type: ignore[arg-type]
    ),
}


class Node(NamedTuple):
    """run and var of a machine whose runtime is busy."""

    runtime: str
    top: Path
    writer: Player

    @property
    def turns(self) -> int:
        return len(self.writer.log.read_text().splitlines())


@pytest.fixture(params=RUNTIMES)
def node(request: pytest.FixtureRequest, stage: Stage, leak: Leak) -> Iterator[Node]:
    """The leaking client is in a container of this runtime, in a pod."""
    runtime = RUNTIMES[request.param]
    top, place = stage.directory, Pod(f"{stage.label}-runtime", "", "")
    for name in ("run", "var"):
        (top / name).mkdir()
    stage.namespace(place.namespace)
    right, others = (runtime.noted(names, uid) for names, uid in zip(NAMES, UIDS, strict=True))
    writer = stage.play(place, "runtime", rewriter.rewrite, str(top / runtime.note), right, others, PAUSE_SECONDS)
    wait_until(lambda: len(writer.log.read_text().splitlines()) > 0, 15, stage.logs)
    leave = enter(stage, runtime.cgroup, leak.client.pid)
    try:
        yield Node(request.param, top, writer)
        stage.check_alive()
    finally:
        leave.write_text(str(leak.client.pid))


def enter(stage: Stage, cgroup: str, pid: int) -> Path:
    """Into a container's cgroup of a pod, below one of this stage; where to write it back out of it."""
    hierarchies = map(Path, ("/sys/fs/cgroup/pids", "/sys/fs/cgroup"))
    top = next((path for path in hierarchies if (path / "cgroup.procs").exists()), None)
    if top is None:
        pytest.skip("no cgroup hierarchy with processes is mounted")
    leaf = top / stage.label / "kubepods/besteffort" / f"pod{UIDS[0]}" / cgroup
    for path in (*reversed(leaf.parents[:4]), leaf):
        stage.tell_guard(f"directory {path}")
        path.mkdir()
        stage.undo.callback(path.rmdir)
    (leaf / "cgroup.procs").write_text(str(pid))
    return top / "cgroup.procs"


def test_of_thousands_of_looks_none_sees_a_wrong_name(
    node: Node, leak: Leak, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: Counter[tuple[str | None, ...]] = Counter()
    roots = Roots(run=node.top / "run", var=node.top / "var")
    turns = node.turns
    for _ in range(LOOKS):
        found = Runtimes(roots).attribute(read_cgroup(roots, leak.client.pid), leak.client.pid)
        assert found.pod is not None
        assert found.container is not None
        assert (found.pod.uid, found.container.id) == (UIDS[0], CONTAINER)
        seen[found.pod.namespace, found.pod.name, found.container.name] += 1
    with capsys.disabled():
        print(f"\n{node.runtime}, rewritten in every way {node.turns - turns} times: {dict(seen)}")
    assert node.turns > turns, "nothing was rewritten meanwhile"
    assert set(seen) == {NAMES[0], (None, None, None)}


def test_a_diagnosis_names_the_leak_and_its_pod_rightly_or_not_at_all(node: Node, leak: Leak, tmp_path: Path) -> None:
    rights = mounted(*(f"mount --bind {node.top / name} /{name}" for name in ("run", "var")))
    with nothing_left():
        for number in range(3):
            answer = Run(tmp_path / str(number), "diagnose", "--for", "1s", "--format", "json", rights=rights).answer()
            assert leak.is_named(answer.document)
            for party in (p for finding in answer.document["findings"] for p in culprits(finding)):
                assert right_or_none(party), party
    table = Run(tmp_path / "table", "sockets", "--by", "pod", "--format", "json", rights=rights).answer()
    assert table.status == 0
    assert CONTAINER in table.out or UIDS[0] in table.out
    assert not [name for name in (*NAMES[1], UIDS[1]) if name in table.out]


def right_or_none(party: Mapping[str, Any]) -> bool:
    pod, container = party.get("pod") or {}, party.get("container") or {}
    names = (pod.get("namespace"), pod.get("name"), container.get("name"))
    return pod.get("uid") in (UIDS[0], None) and names in (NAMES[0], (None, None, None))
