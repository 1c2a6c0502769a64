"""WorkloadsCollector against a real podman of root, with its storage at the usual place and elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.model.workload import Workload

from .images import APP, HOST_MOUNTS, make_root_archive
from .leaks import LEAKED, LEAKING, has_leaked, leaked_by
from .node import wait_until
from .traces import need, nothing_left, run, short_directory

pytestmark = [pytest.mark.containers, pytest.mark.root]

CLOCK_SLACK_SECONDS = 2.0  # btime has whole seconds, and a container starts before podman says so
SLEEP = ("/busybox", "sleep", "1000000")
FLAGS = ("--runtime=runc", "--cgroup-manager=cgroupfs", "--storage-driver=vfs", "--events-backend=file")
LIMITS = ("--ulimit=nofile=20000:20000", "--ulimit=nproc=1000:1000")


class Podman:
    """Runs podman with its storage where it would be on a machine whose root directory is `here`."""

    def __init__(self, here: Path) -> None:
        self.roots = Roots(var=here / "var", run=here / "run")
        places = (f"--root={here}/var/lib/containers/storage", f"--runroot={here}/run/containers/storage")
        self._podman = ("podman", *places, f"--tmpdir={here}/run/libpod", *FLAGS)
        self("import", make_root_archive(here / "app.tar"), APP)

    def __call__(self, *argv: str | Path) -> str:
        return run(*self._podman, *argv)

    def start(self, name: str, *argv: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
        """Run a container of the application image; what `podman inspect` says of it."""
        mounts = [f"--volume={path}:{path}:ro" for path in HOST_MOUNTS]
        self("run", "-d", f"--name={name}", "--network=none", *LIMITS, *mounts, *options, APP, *argv)
        (inspected,) = json.loads(self("inspect", name))
        assert isinstance(inspected, dict)
        return inspected


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """A podman for all tests of this file."""
    need("podman", "conmon", "runc", "busybox", "umount")
    with short_directory() as here, nothing_left(here, "libpod_parent"):
        made = Podman(here)
        try:
            yield made
        finally:
            made("rm", "--all", "--force", "--time=0")


def attribute(pid: int, roots: Roots) -> Workload:
    return WorkloadsCollector(roots).attribute([pid]).by_pid[pid]


def assert_same(workload: Workload, inspected: dict[str, Any]) -> None:
    container = workload.container
    assert container is not None
    assert (container.id, container.name) == (inspected["Id"], inspected["Name"])
    assert (container.runtime, container.image) == ("podman", inspected["ImageName"])
    assert container.started is not None
    began = datetime.fromisoformat(inspected["State"]["StartedAt"]).astimezone(UTC)
    assert abs((container.started - began).total_seconds()) < CLOCK_SLACK_SECONDS
    assert workload.pod is None


def test_a_container_has_the_name_image_and_start_that_podman_says(podman: Podman) -> None:
    inspected = podman.start("web", *SLEEP)
    assert_same(attribute(inspected["State"]["Pid"], podman.roots), inspected)


def test_conmon_leads_to_storage_in_another_place(podman: Podman) -> None:
    inspected = podman.start("elsewhere", *SLEEP)
    assert_same(attribute(inspected["State"]["Pid"], Roots()), inspected)


def test_a_process_that_was_executed_later_is_in_the_container_too(podman: Podman) -> None:
    inspected = podman.start("host", *SLEEP)
    podman("exec", "-d", "host", "/busybox", "sleep", "77777")
    conmon = Path(f"/proc/{inspected['State']['ConmonPid']}/cmdline").read_text()
    assert "-n\0host\0" in conmon
    cgroup = Path(f"/sys/fs/cgroup/pids/libpod_parent/libpod-{inspected['Id']}/cgroup.procs")
    wait_until(lambda: len(cgroup.read_text().split()) == 2, "the second process is there")
    (pid,) = {*map(int, cgroup.read_text().split())} - {inspected["State"]["Pid"]}
    workload = attribute(pid, Roots())
    assert workload.container is not None
    assert (workload.container.name, workload.container.image, workload.container.started) == ("host", APP, None)
    assert_same(attribute(pid, podman.roots), inspected)


def test_annotations_of_kubernetes_make_no_pod(podman: Podman) -> None:
    names = {"io.kubernetes.pod.name": "bank", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "x"}
    inspected = podman.start("forger", *SLEEP, options=tuple(f"--annotation={k}={v}" for k, v in names.items()))
    assert_same(attribute(inspected["State"]["Pid"], podman.roots), inspected)


def test_a_container_in_a_pod_of_podman_is_in_no_pod_of_kubernetes(podman: Podman) -> None:
    podman("pod", "create", "--name=group", "--infra=false")
    inspected = podman.start("member", *SLEEP, options=("--pod=group",))
    assert_same(attribute(inspected["State"]["Pid"], podman.roots), inspected)


def test_a_leak_in_a_container_is_shown_with_its_name(podman: Podman) -> None:
    inspected = podman.start("leaky", *LEAKING)
    wait_until(lambda: has_leaked(inspected["State"]["Pid"]), "the sockets are there")
    assert leaked_by(inspected["Id"]) == (f"leaky ({inspected['Id'][:12]})", LEAKED)
