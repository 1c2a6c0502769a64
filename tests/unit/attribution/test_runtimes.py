"""attribution.runtimes: which notes count for which cgroup."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from whodunnet.attribution.runtimes import Runtimes
from whodunnet.kernel.procfs.process import read_cgroup
from whodunnet.model.workload import Container, Pod, Workload

from .machine import BOOT, ID, Machine

UID = "285d27fb-34ca-4985-8fb1-57abb1c51319"
POD = Pod(namespace="shop", name="web-0", uid=UID)
USER = 1000
SESSION = f"/user.slice/user-{USER}.slice/user@{USER}.service"
INIT, PROCESS = 500, 600
STARTED = datetime.fromtimestamp(BOOT + 5, UTC)
KUBERNETES = {
    "io.kubernetes.pod.name": "web-0",
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.uid": UID,
    "io.kubernetes.container.name": "app",
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def attribute(machine: Machine, cgroup: str) -> Workload:
    machine.process(PROCESS, cgroup=cgroup)
    return Runtimes(machine.roots).attribute(read_cgroup(machine.roots, PROCESS), PROCESS)


def names(workload: Workload) -> tuple[str | None, str | None, Pod | None]:
    """Runtime, container and pod."""
    assert workload.container is not None
    return workload.container.runtime, workload.container.name, workload.pod


def docker(machine: Machine, cgroup: str, **labels: str) -> None:
    """A container of root's Docker, whose first process is in this cgroup."""
    machine.process(INIT, cgroup=cgroup)
    config: dict[str, Any] = {"Name": "/web", "State": {"Pid": INIT}, "Config": {"Image": "i", "Labels": labels}}
    machine.write(f"var/lib/docker/containers/{ID}/config.v2.json", config)


def podman(machine: Machine, cgroup: str) -> None:
    """A container of root's podman, whose first process is in this cgroup."""
    machine.process(INIT, cgroup=cgroup)
    machine.write("var/lib/containers/storage/overlay-containers/containers.json", [{"id": ID, "names": ["web"]}])
    machine.write(f"run/containers/storage/overlay-containers/{ID}/userdata/pidfile", str(INIT))


def crio(machine: Machine, cgroup: str, uid: str = UID) -> None:
    """A container of CRI-O, whose first process is in this cgroup."""
    machine.process(INIT, cgroup=cgroup)
    userdata = f"run/containers/storage/overlay-containers/{ID}/userdata"
    machine.write(f"{userdata}/config.json", {"annotations": KUBERNETES | {"io.kubernetes.pod.uid": uid}})
    machine.write(f"{userdata}/pidfile", str(INIT))


def containerd(machine: Machine, cgroup: str) -> None:
    machine.process(INIT, cgroup=cgroup)
    noted = {"sandbox-name": "web-0", "sandbox-namespace": "shop", "sandbox-uid": UID, "container-name": "app"}
    bundle = f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}"
    machine.write(f"{bundle}/config.json", {"annotations": {f"io.kubernetes.cri.{k}": v for k, v in noted.items()}})
    machine.write(f"{bundle}/init.pid", str(INIT))


def test_docker_names_its_own_container(machine: Machine) -> None:
    docker(machine, f"/docker/{ID}")
    assert names(attribute(machine, f"/docker/{ID}")) == ("docker", "web", None)
    assert names(attribute(machine, f"/docker/{ID}/init.scope")) == ("docker", "web", None)


def test_podman_names_its_own_container(machine: Machine) -> None:
    cgroup = f"/machine.slice/libpod-{ID}.scope"
    podman(machine, cgroup)
    workload = attribute(machine, f"{cgroup}/container")
    assert names(workload) == ("podman", "web", None)
    assert workload.container is not None
    assert workload.container.started == STARTED


def test_a_container_with_another_parent_is_found_at_docker(machine: Machine) -> None:
    docker(machine, f"/actions_job/{ID}")
    assert names(attribute(machine, f"/actions_job/{ID}")) == ("docker", "web", None)


@pytest.mark.parametrize("add", [docker, containerd, crio])
def test_a_pods_container_is_named_whatever_the_runtime(machine: Machine, add: Any) -> None:
    prefix = "crio-" if add is crio else ""
    cgroup = f"/kubepods/besteffort/pod{UID}/{prefix}{ID}"
    add(machine, cgroup, **(KUBERNETES if add is docker else {}))
    runtime = {docker: "docker", containerd: "containerd", crio: "cri-o"}[add]
    assert names(attribute(machine, cgroup)) == (runtime, "app", POD)


@pytest.mark.parametrize(
    ("add", "named"), [(docker, "docker-{}.scope"), (podman, "libpod-{}.scope"), (crio, "crio-{}.scope")]
)
def test_a_service_cannot_pass_for_a_container(machine: Machine, add: Any, named: str) -> None:
    add(machine, f"/system.slice/{named.format(ID)}")
    workload = attribute(machine, f"/system.slice/evil.service/{named.format(ID)}")
    assert names(workload)[1:] == (None, None)
    assert workload.container is not None
    assert (workload.container.image, workload.container.started) == (None, None)


def test_a_service_cannot_pass_for_a_pod(machine: Machine) -> None:
    containerd(machine, f"/kubepods/besteffort/pod{UID}/{ID}")
    forged = attribute(machine, f"/system.slice/evil.service/kubepods/pod{UID}/{ID}")
    assert names(forged)[:2] == (None, None)


@pytest.mark.parametrize("add", [docker, podman])
def test_a_user_cannot_pass_for_roots_container(machine: Machine, add: Any) -> None:
    cgroup = f"{SESSION}/user.slice/{'docker' if add is docker else 'libpod'}-{ID}.scope"
    add(machine, cgroup)  # even if root's container were there
    assert names(attribute(machine, cgroup))[1:] == (None, None)


@pytest.mark.parametrize(
    "inside", [f"kubepods/pod{UID}/{ID}", f"app.slice/cri-containerd-{ID}.scope", "lxc.payload.web"]
)
def test_a_user_cannot_pass_for_a_pod_or_machine(machine: Machine, inside: str) -> None:
    containerd(machine, f"/kubepods/besteffort/pod{UID}/{ID}")
    found = attribute(machine, f"{SESSION}/{inside}")
    assert (found.container, found.pod) == (None, None)
    assert found.unit in (f"user@{USER}.service", Path(inside).name)


def test_root_in_a_session_has_roots_containers(machine: Machine) -> None:
    cgroup = f"/user.slice/user-0.slice/user@0.service/user.slice/libpod-{ID}.scope"
    podman(machine, cgroup)
    assert names(attribute(machine, cgroup)) == ("podman", "web", None)


def test_a_users_own_docker_names_only_that_users_container(machine: Machine) -> None:
    own = os.getuid() + 1 if os.getuid() == 0 else os.getuid()
    session = f"/user.slice/user-{own}.slice/user@{own}.service/docker-{ID}.scope"
    machine.write("etc/passwd", f"bob:x:{own}:1::/home/bob:/bin/sh\n")
    config = machine.write(
        f"home/bob/.local/share/docker/containers/{ID}/config.v2.json",
        {"Name": "/mine", "Config": {"Labels": KUBERNETES}},
    )
    if os.getuid() == 0:
        os.chown(config, own, own)
    assert names(attribute(machine, session)) == ("docker", "mine", None)
    assert names(attribute(machine, f"/docker/{ID}")) == ("docker", None, None)
    assert names(attribute(machine, session.replace(str(own), str(own + 1)))) == ("docker", None, None)


def test_notes_of_another_pod_than_the_cgroups_do_not_count(machine: Machine) -> None:
    cgroup = f"/kubepods/besteffort/pod{UID}/crio-{ID}"
    crio(machine, cgroup, uid=UID.replace("2", "3"))
    assert names(attribute(machine, cgroup)) == ("cri-o", None, Pod(uid=UID))


def test_the_kubelets_logs_name_a_pod_whose_runtime_says_nothing(machine: Machine) -> None:
    machine.write(f"var/log/pods/shop_web-0_{UID}/app/0.log", "")
    machine.write(f"var/log/containers/web-0_shop_app-{ID}.log", "")
    assert names(attribute(machine, f"/kubepods/besteffort/pod{UID}/{ID}")) == (None, "app", POD)
    assert attribute(machine, f"/kubepods/besteffort/pod{UID}") == Workload(pod=POD)


def test_a_static_pod_is_named_by_the_kubelets_logs(machine: Machine) -> None:
    uid = "5c1d2e3f" * 4
    machine.write(f"var/log/pods/kube-system_etcd-n1_{uid}/etcd/0.log", "")
    found = attribute(machine, f"/kubepods.slice/kubepods-pod{uid}.slice/cri-containerd-{ID}.scope")
    assert found.pod == Pod(namespace="kube-system", name="etcd-n1", uid=uid, static=True)


def test_machines_have_their_name_for_an_id(machine: Machine) -> None:
    noted = "NAME=db\nSCOPE=machine-db.scope\nSERVICE=systemd-nspawn\nREALTIME=1700000005000000\n"
    machine.write("run/systemd/machines/db", noted)
    for cgroup in ("/machine.slice/machine-db.scope/payload", "/machine.slice/machine-db.scope"):
        expected = Container(id="db", name="db", runtime="nspawn", cgroup=cgroup, started=STARTED)
        assert attribute(machine, cgroup) == Workload(container=expected)
    expected = Container(id="db", name="db", runtime="lxc", cgroup="/lxc.payload.db")
    assert attribute(machine, "/lxc.payload.db") == Workload(container=expected)


def test_a_container_of_plain_runc_is_found_where_no_name_tells(machine: Machine) -> None:
    machine.process(INIT)
    state = {
        "id": "job",
        "init_process_pid": INIT,
        "init_process_start": 500,
        "cgroup_paths": {"": "/sys/fs/cgroup/jobs"},
    }
    machine.write("run/runc/job/state.json", state)
    expected = Container(id="job", name="job", runtime="runc", cgroup="/jobs", started=STARTED)
    assert attribute(machine, "/jobs/a.scope") == Workload(container=expected)
    assert attribute(machine, "/other/a.scope") == Workload(unit="a.scope")
