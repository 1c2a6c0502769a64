"""WorkloadsCollector against a real Docker, whose data root only dockerd's own command line tells."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.model.workload import Pod, Workload

from .dockerd import NEEDED_PROGRAMS, PID_FILE, Dockerd
from .images import APP
from .leaks import LEAKED, LEAKING, has_leaked, leaked_by
from .node import wait_until
from .traces import need, nothing_left

pytestmark = [pytest.mark.containers, pytest.mark.root]

SLEEP = ("/busybox", "sleep", "1000000")
POD_UID = "0f1e2d3c-34ca-4985-8fb1-57abb1c51319"
LABELS = {
    "io.kubernetes.pod.name": "web-0",
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.uid": POD_UID,
    "io.kubernetes.container.name": "app",
}
KUBERNETES = tuple(f"--label={name}={value}" for name, value in LABELS.items())


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    """A dockerd for all tests of this file."""
    need(*NEEDED_PROGRAMS)
    if PID_FILE.exists():
        pytest.skip(f"{PID_FILE} is there: another dockerd runs here")
    here = tmp_path_factory.mktemp("docker")
    with nothing_left(here, "docker", "kubepods"):
        made = Dockerd(here)
        try:
            made.prepare()
            yield made
        finally:
            made.stop()


def attribute(inspected: dict[str, Any], roots: Roots | None = None) -> Workload:
    pid = inspected["State"]["Pid"]
    return WorkloadsCollector(roots or Roots()).attribute([pid]).by_pid[pid]


def test_a_container_has_the_name_image_and_start_that_docker_says(dockerd: Dockerd) -> None:
    inspected = dockerd.start("web", *SLEEP)
    workload = attribute(inspected)
    container = workload.container
    assert container is not None
    assert (container.id, f"/{container.name}") == (inspected["Id"], inspected["Name"])
    assert (container.runtime, container.image) == ("docker", APP)
    assert container.started == datetime.fromisoformat(inspected["State"]["StartedAt"])
    assert (workload.pod, workload.unit) == (None, None)


def test_a_container_that_was_started_again_has_the_later_start(dockerd: Dockerd) -> None:
    first = attribute(dockerd.start("again", *SLEEP)).container
    inspected = dockerd.restart("again")
    second = attribute(inspected).container
    assert first is not None
    assert second is not None
    assert (first.id, first.name) == (second.id, second.name)
    assert second.started == datetime.fromisoformat(inspected["State"]["StartedAt"])
    assert second.started != first.started


def test_labels_of_kubernetes_make_no_pod_of_an_ordinary_container(dockerd: Dockerd) -> None:
    workload = attribute(dockerd.start("forger", *SLEEP, options=KUBERNETES))
    assert workload.container is not None
    assert (workload.container.name, workload.pod) == ("forger", None)


def test_a_container_in_a_pods_cgroup_is_named_by_the_kubelets_labels(dockerd: Dockerd) -> None:
    parent = f"--cgroup-parent=/kubepods/besteffort/pod{POD_UID}"  # as cri-dockerd asks for
    workload = attribute(dockerd.start("k8s_app_web-0", *SLEEP, options=(*KUBERNETES, parent)))
    assert workload.container is not None
    assert (workload.container.name, workload.container.runtime) == ("app", "docker")
    assert workload.pod == Pod(namespace="shop", name="web-0", uid=POD_UID)


def test_a_cgroup_that_only_has_a_containers_id_is_not_given_its_names(dockerd: Dockerd, tmp_path: Path) -> None:
    inspected = dockerd.start("victim", *SLEEP)
    identifier, pid = inspected["Id"], inspected["State"]["Pid"]
    for name in (str(pid), "self", "999999"):
        (tmp_path / "proc" / name).mkdir(parents=True)
    for name in ("stat", "self/mountinfo", f"{pid}/stat", f"{pid}/cgroup"):
        (tmp_path / "proc" / name).write_bytes(Path("/proc", name).read_bytes())
    forger = tmp_path / "proc/999999"
    (forger / "stat").write_text((tmp_path / f"proc/{pid}/stat").read_text().replace(str(pid), "999999", 1))
    (forger / "limits").write_bytes(Path("/proc/self/limits").read_bytes())
    roots = Roots(proc=tmp_path / "proc", var=tmp_path / "var")
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/docker").symlink_to(dockerd.here / "data")
    forged = f"/system.slice/x.service/docker-{identifier}.scope"
    for path, expected in ((f"/docker/{identifier}", "victim"), (forged, None)):
        (forger / "cgroup").write_text("".join(f"{n}:{c}:{path}\n" for n, c in ((4, "memory"), (0, ""))))
        container = WorkloadsCollector(roots).attribute([999999]).by_pid[999999].container
        assert container is not None
        assert (container.id, container.name) == (identifier, expected)


def test_a_leak_in_a_container_is_shown_with_its_name(dockerd: Dockerd) -> None:
    inspected = dockerd.start("leaky", *LEAKING)
    wait_until(lambda: has_leaked(inspected["State"]["Pid"]), "the sockets are there")
    label, sockets = leaked_by(inspected["Id"])
    assert label == f"leaky ({inspected['Id'][:12]})"
    assert sockets == LEAKED
