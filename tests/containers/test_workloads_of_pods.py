"""WorkloadsCollector against real pods: containerd keeps its state where only the shims lead to."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.kernel.cgroupfs import read_hierarchies
from whodunnet.kernel.procfs.process import read_cgroup, read_stat
from whodunnet.kernel.roots import Roots
from whodunnet.model.workload import Pod, Workload

from .images import APP
from .node import Node, wait_until
from .pods import CgroupStyle, MakePod

pytestmark = [pytest.mark.containers, pytest.mark.root]

ROOTS = Roots()
CLOCK_SLACK_SECONDS = 2.0  # btime has whole seconds, and a container starts before containerd says so
SLEEP = ["/busybox", "sleep", "1000000"]


def attribute(pid: int) -> Workload:
    return WorkloadsCollector(ROOTS).attribute([pid]).by_pid[pid]


def state_of(pid: int) -> str | None:
    process = attribute(pid).process
    return process.state if process else None


@pytest.mark.parametrize("style", ["cgroupfs", "systemd"])
def test_a_process_in_a_pod_is_given_its_pod_and_container(pod: MakePod, node: Node, style: CgroupStyle) -> None:
    web = pod("web-0", cgroup_style=style)
    workload = attribute(web.pids["app"])
    container = workload.container
    assert container is not None
    assert workload.pod == Pod(namespace="shop", name="web-0", uid=web.uid)
    assert (container.id, container.name) == (web.containers["app"], "app")
    assert (container.runtime, container.image) == ("containerd", APP)
    assert (workload.unit, workload.netns) == (None, web.netns)
    assert container.started is not None
    began = datetime.fromtimestamp(node.cri.started_nanoseconds(container.id) / 1e9, UTC)
    assert abs((container.started - began).total_seconds()) < CLOCK_SLACK_SECONDS


def test_python_of_the_host_runs_in_a_container(pod: MakePod) -> None:
    web = pod("web-1", containers={"app": ["python3", "-c", "import time; time.sleep(1000000)"]})
    first = web.pids["app"]
    wait_until(lambda: read_stat(ROOTS, first).comm.startswith("python3"), "the runtime's own process becomes it")
    process = attribute(first).process
    assert process is not None
    assert process.exe is not None
    assert process.exe.startswith("/usr/bin/python3")


def test_a_child_that_lost_its_parent_still_belongs_to_its_container(pod: MakePod) -> None:
    web = pod("web-2", containers={"app": ["/bin/sh", "-c", "(/busybox sleep 99999 &); exec /busybox sleep 88888"]})
    first = web.pids["app"]
    children: list[int] = []

    def adopted() -> bool:
        children[:] = map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())
        return len(children) == 1 and read_stat(ROOTS, children[0]).parent == first

    wait_until(adopted, "the container's first process adopts the orphan")
    assert attribute(children[0]).pod == Pod(namespace="shop", name="web-2", uid=web.uid)


def test_a_process_outside_of_pods_has_no_container(pod: MakePod) -> None:
    web = pod("web-3")
    shim = read_stat(ROOTS, web.sandbox_pid).parent
    found = WorkloadsCollector(ROOTS).attribute([os.getpid(), shim])
    for pid in (os.getpid(), shim):
        assert (found.by_pid[pid].container, found.by_pid[pid].pod) == (None, None)


def test_two_containers_of_a_pod_share_its_namespace_and_keep_their_names(pod: MakePod) -> None:
    web = pod("web-4", containers={"app": SLEEP, "side": SLEEP})
    pids = [*web.pids.values(), web.sandbox_pid]
    found = WorkloadsCollector(ROOTS).attribute(pids, netns=[web.netns])
    names = [w.container.name for pid in pids if (w := found.by_pid[pid]).container]
    assert names == ["app", "side", "pause"]
    expected = Pod(namespace="shop", name="web-4", uid=web.uid)
    assert {w.pod for w in found.by_pid.values()} == {expected}
    assert found.by_netns == {web.netns: Workload(pod=expected, netns=web.netns)}
    assert web.ip


def test_the_nodes_namespace_is_not_a_host_network_pods(pod: MakePod) -> None:
    agent = pod("agent", ns="kube-system", host_network=True)
    found = WorkloadsCollector(ROOTS).attribute([agent.pids["app"]], netns=[agent.netns])
    assert found.by_pid[agent.pids["app"]].pod == Pod(namespace="kube-system", name="agent", uid=agent.uid)
    assert found.by_pid[agent.pids["app"]].netns == agent.netns
    assert found.by_netns == {}


def test_a_cgroup_v2_id_leads_to_the_container(pod: MakePod) -> None:
    unified = read_hierarchies(ROOTS).unified
    if unified is None:
        pytest.skip("no cgroup v2 hierarchy is mounted")
    web = pod("web-5", cgroup_style="systemd")
    path = next(line.path for line in read_cgroup(ROOTS, web.pids["app"]) if not line.controllers)
    directory = unified.directory(path)
    if directory is None or not directory.is_dir() or path == "/":
        pytest.skip("the runtime made no cgroup v2 for the container")
    inode = directory.stat().st_ino
    workload = WorkloadsCollector(ROOTS).attribute([], cgroup_ids=[inode]).by_cgroup_id[inode]
    assert workload.pod == Pod(namespace="shop", name="web-5", uid=web.uid)


@contextmanager
def paused(node: Node, container: str) -> Iterator[None]:
    """Freeze a container as `docker pause` does, for as long as the block lasts."""
    ctr = ["ctr", "-a", str(node.here / "containerd.sock"), "-n", "k8s.io", "tasks"]
    subprocess.run([*ctr, "pause", container], check=True)
    try:
        yield
    finally:
        subprocess.run([*ctr, "resume", container], check=True)


def test_a_paused_container_is_frozen_until_it_is_resumed(pod: MakePod, node: Node) -> None:
    web = pod("web-6", containers={"app": SLEEP, "side": SLEEP})
    collector = WorkloadsCollector(ROOTS)

    def states() -> dict[str, str | None]:
        found = collector.attribute(web.pids.values()).by_pid
        return {name: p.state for name, pid in web.pids.items() if (p := found[pid].process)}

    with paused(node, web.containers["app"]):
        wait_until(lambda: states() == {"app": "frozen", "side": "sleeping"}, "app is frozen and side is not")
    wait_until(lambda: states() == {"app": "sleeping", "side": "sleeping"}, "app runs again")


def test_a_stopped_process_is_stopped(pod: MakePod) -> None:
    pid = pod("web-7").pids["app"]
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state_of(pid) == "stopped", "the process is stopped")
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: state_of(pid) == "sleeping", "the process sleeps again")


def test_a_process_that_ended_is_unknown(pod: MakePod) -> None:
    pid = pod("web-8").pids["app"]
    collector = WorkloadsCollector(ROOTS)
    started = {pid: read_stat(ROOTS, pid).started_seconds}
    assert collector.attribute([pid], started).unknown_pids == 0
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the shim has reaped the process")
    found = collector.attribute([pid], started)
    assert (found.by_pid, found.unknown_pids) == ({}, 1)


def test_a_pid_given_to_a_later_process_is_unknown(pod: MakePod) -> None:
    pid = pod("web-9").pids["app"]
    earlier = read_stat(ROOTS, pid).started_seconds - 5.0
    assert WorkloadsCollector(ROOTS).attribute([pid], {pid: earlier}).by_pid == {}
