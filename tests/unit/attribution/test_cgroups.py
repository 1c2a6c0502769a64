"""attribution.cgroups: every cgroup name we know, and names chosen to mislead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.attribution.cgroups import CgroupOwner, find_owner, machine_of_scope, parse_path
from whodunnet.kernel.procfs.process import CgroupLine

ID = "933d6619" * 8
OTHER = "0a1b2c3d" * 8
UID = "285d27fb-34ca-4985-8fb1-57abb1c51319"
UID_ = UID.replace("-", "_")
STATIC = "5c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f"
BURSTABLE = "kubepods.slice/kubepods-burstable.slice"

CONTAINERS = {
    f"/kubepods/besteffort/pod{UID}/{ID}": (None, UID),
    f"/kubepods/burstable/pod{UID}/{ID}": (None, UID),
    f"/kubepods/pod{UID}/{ID}": (None, UID),
    f"/kubepods/pod{STATIC}/{ID}": (None, STATIC),
    f"/kubepods/pod{UID}/{ID}/init.scope": (None, UID),
    f"/{BURSTABLE}/kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope": ("containerd", UID),
    f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope": ("containerd", UID),
    f"/kubepods.slice/kubepods-pod{STATIC}.slice/crio-{ID}.scope": ("cri-o", STATIC),
    f"/{BURSTABLE}/kubepods-burstable-pod{UID_}.slice/docker-{ID}.scope": ("docker", UID),
    f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
    f"kubelet-kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope": ("containerd", UID),
    f"/system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice:cri-containerd:{ID}": ("containerd", UID),
    f"/docker/{OTHER}/kubelet/kubepods/besteffort/pod{UID}/{ID}": (None, UID),
    f"/../../kubepods/pod{UID}/{ID}": (None, UID),
    f"/k8s.io/{ID}": ("containerd", None),
    f"/docker/{ID}": ("docker", None),
    f"/system.slice/docker-{ID}.scope": ("docker", None),
    f"/libpod_parent/libpod-{ID}": ("podman", None),
    f"/machine.slice/libpod-{ID}.scope/container": ("podman", None),
    f"/system.slice/web.service/libpod-payload-{ID}": ("podman", None),
    f"/system.slice/crio-{ID}.scope": ("cri-o", None),
    f"/kubepods/burstable/pod{UID}/crio-{ID}": ("cri-o", UID),
    f"/actions_job/{ID}": (None, None),
}

SESSION = "/user.slice/user-1000.slice/user@1000.service"
OF_USERS = {
    f"{SESSION}/user.slice/libpod-{ID}.scope": ("podman", 1000),
    f"{SESSION}/app.slice/web.service/libpod-payload-{ID}": ("podman", 1000),
    f"{SESSION}/user.slice/docker-{ID}.scope": ("docker", 1000),
    f"/user@1000.service/libpod-{ID}": ("podman", 1000),
    f"/user.slice/libpod-{ID}.scope": ("podman", None),
    f"/user.slice/user-0.slice/session-1.scope/user-1000.slice/libpod-{ID}": ("podman", 0),
}

MACHINES = {
    "/machine.slice/systemd-nspawn@web.service/payload": ("nspawn", "web"),
    "/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service": ("nspawn", "web"),
    "/machine.slice/systemd-nspawn@web.service/system.slice/nginx.service": ("nspawn", "web"),
    "/machine.slice/systemd-nspawn@my\\x2dweb.service/payload": ("nspawn", "my-web"),
    "/machine.slice/machine-my\\x2dweb.scope/payload/init.scope": ("nspawn", "my-web"),
    "/lxc.payload.web": ("lxc", "web"),
    "/lxc.payload.web/system.slice/nginx.service": ("lxc", "web"),
    "/lxc.payload/web-1": ("lxc", "web-1"),
    "/lxc/web": ("lxc", "web"),
    "/system.slice/lxc.payload.web": ("lxc", "web"),
    f"/lxc.payload.web/kubepods/pod{UID}/{ID}": ("lxc", "web"),
    f"/lxc.payload.web/docker/{ID}": ("lxc", "web"),
    f"/machine.slice/machine-web.scope/payload/machine.slice/libpod-{ID}.scope": ("nspawn", "web"),
    f"/lxc.payload.web/user.slice/user-1000.slice/user@1000.service/libpod-{ID}.scope": ("lxc", "web"),
}

UNITS = {
    "/system.slice/ssh.service": "ssh.service",
    "/init.scope": "init.scope",
    "/user.slice/user-1000.slice/session-3.scope": "session-3.scope",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/x.service": "x.service",
    "/user.slice/user-1000.slice/user@1000.service/init.scope": "init.scope",
    "/user.slice/user-1000.slice/user@1000.service": "user@1000.service",
    "/system.slice/system-getty.slice/getty@tty1.service": "getty@tty1.service",
    "/machine.slice/systemd-nspawn@web.service": "systemd-nspawn@web.service",
    "/machine.slice/systemd-nspawn@web.service/supervisor": "systemd-nspawn@web.service",
    "/machine.slice/machine-web.scope/supervisor": "machine-web.scope",
    "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator": "machine-qemu\\x2d1\\x2dvm.scope",
    "/system.slice/x.service/lxc.payload.web": "x.service",
    "/system.slice/x.service/machine.slice/machine-web.scope/payload": "x.service",
    "/user.slice/user-1000.slice/user@1000.service/lxc.payload.web": "user@1000.service",
    "/user.slice/user-1000.slice/session-3.scope/lxc/web": "session-3.scope",
    f"/system.slice/crio-conmon-{ID}.scope": f"crio-conmon-{ID}.scope",
    f"/machine.slice/libpod-conmon-{ID}.scope": f"libpod-conmon-{ID}.scope",
}

NOTHING = [
    "/lxc.monitor.web",
    "/lxc.pivot",
    "/lxc/monitor",
    "/lxc",
    "/lxc.payload.",
    "/lxc.payload.\x1b[2J",
    "/lxc.payload.-x",
    "/x/lxc/web",
    "/machine.slice",
    "/",
    "",
    "/system.slice",
    "/kubepods",
    "/kubepods/besteffort",
    "/docker",
    f"/docker/{ID[:-1]}",
    f"/x/{ID}0",
]


@pytest.mark.parametrize(("path", "expected"), CONTAINERS.items())
def test_a_containers_cgroup_names_container_runtime_and_pod(path: str, expected: tuple[str, str]) -> None:
    runtime, uid = expected
    assert parse_path(path) == CgroupOwner(path=path, container=ID, runtime=runtime, pod_uid=uid)


@pytest.mark.parametrize(("path", "expected"), OF_USERS.items())
def test_a_container_in_a_session_is_that_users(path: str, expected: tuple[str, int | None]) -> None:
    runtime, user = expected
    assert parse_path(path) == CgroupOwner(path=path, container=ID, runtime=runtime, in_session=True, user=user)


@pytest.mark.parametrize(("path", "expected"), MACHINES.items())
def test_a_machines_cgroup_names_the_machine_and_nothing_within(path: str, expected: tuple[str, str]) -> None:
    runtime, name = expected
    assert parse_path(path) == CgroupOwner(path=path, container=name, runtime=runtime)


def test_a_machine_within_a_pod_or_container_is_the_containers_own() -> None:
    assert parse_path(f"/kubepods/pod{UID}/{ID}/lxc.payload.web").container == ID
    assert parse_path(f"/docker/{ID}/lxc.payload.web").runtime == "docker"


@pytest.mark.parametrize("name", ["a/b", "a-b", "", "\\x2e\\x2e\\x2fetc", "x\\x0a"])
def test_a_scope_that_names_no_machine_has_none(name: str) -> None:
    assert machine_of_scope(f"/machine.slice/machine-{name}.scope") is None
    assert machine_of_scope(f"/x/machine.slice/machine-{name}.scope") is None


@pytest.mark.parametrize(("path", "unit"), UNITS.items())
def test_a_units_cgroup_names_the_unit(path: str, unit: str) -> None:
    assert parse_path(path) == CgroupOwner(path=path, unit=unit)


@pytest.mark.parametrize("path", NOTHING)
def test_other_cgroups_name_nothing(path: str) -> None:
    assert parse_path(path) == CgroupOwner(path=path)


def test_a_pods_own_cgroup_names_the_pod_alone() -> None:
    assert parse_path(f"/kubepods/pod{UID}") == CgroupOwner(path=f"/kubepods/pod{UID}", pod_uid=UID)


def test_a_container_cannot_name_another_one_below_itself() -> None:
    path = f"/kubepods/pod{UID}/{ID}/kubepods/pod{STATIC}/{OTHER}"
    assert (parse_path(path).container, parse_path(path).pod_uid) == (ID, UID)
    assert parse_path(f"/docker/{ID}/docker/{OTHER}").container == ID


def test_a_user_cannot_name_a_pod_in_a_session() -> None:
    session = "/user.slice/user-1000.slice/user@1000.service"
    for inside in (f"kubepods/pod{UID}/{OTHER}", f"app.slice/cri-containerd-{OTHER}.scope", OTHER):
        owner = parse_path(f"{session}/{inside}")
        assert (owner.container, owner.pod_uid) == (None, None)


def test_a_service_cannot_name_another_one_below_itself() -> None:
    assert parse_path("/system.slice/mail.service/ssh.service").unit == "mail.service"


def test_a_unit_with_hostile_characters_is_none() -> None:
    assert parse_path("/system.slice/x\x1b[31m.service").unit is None
    assert parse_path("/system.slice/\u202ex.service").unit is None
    assert parse_path("/system.slice/" + "x" * 300 + ".service").unit is None


@pytest.mark.parametrize("uid", ["../..", "x" * 32, UID.upper(), UID[:-1], UID + "0", ""])
def test_a_pod_uid_of_another_form_is_none(uid: str) -> None:
    assert parse_path(f"/kubepods/pod{uid}/{ID}").pod_uid is None


def test_the_hierarchy_that_names_a_container_is_chosen() -> None:
    lines = [
        CgroupLine(9, ("name=systemd",), "/system.slice/containerd.service"),
        CgroupLine(4, ("memory",), "/"),
        CgroupLine(3, ("cpu", "cpuacct"), f"/kubepods/pod{UID}/{ID}"),
        CgroupLine(0, (), "/"),
    ]
    assert find_owner(lines).container == ID


def test_memory_is_asked_before_the_other_hierarchies() -> None:
    lines = [CgroupLine(0, (), f"/docker/{OTHER}"), CgroupLine(4, ("memory",), f"/docker/{ID}")]
    assert find_owner(lines).container == ID


def test_the_unit_comes_from_systemds_own_hierarchy() -> None:
    lines = [
        CgroupLine(4, ("memory",), "/system.slice/outer.service"),
        CgroupLine(1, ("name=systemd",), "/user.slice/user-0.slice/session-1.scope"),
    ]
    assert find_owner(lines).unit == "session-1.scope"
    assert find_owner([CgroupLine(0, (), "/system.slice/ssh.service")]).unit == "ssh.service"


def test_a_process_without_cgroups_has_no_owner() -> None:
    assert find_owner([]) == CgroupOwner(path="/")


WORDS = st.sampled_from(
    [*CONTAINERS, *UNITS, *MACHINES, *OF_USERS, "..", ":", "kubepods", f"pod{UID}", ID, f"docker-{ID}.scope", "\udcff"]
)


@given(st.one_of(st.text(), st.lists(st.one_of(WORDS, st.text(max_size=8))).map("/".join)))
def test_any_path_says_well_formed_things_or_nothing(path: str) -> None:
    owner = parse_path(path)
    if owner.runtime in ("nspawn", "lxc"):
        assert owner.container is not None
        assert owner.container.isascii()
        assert owner.container.isprintable()
    else:
        assert owner.container is None or (len(owner.container) == 64 and int(owner.container, 16) >= 0)
    assert owner.pod_uid is None or len(owner.pod_uid) in (32, 36)
    assert owner.unit is None or (owner.unit.isascii() and owner.unit.isprintable() and owner.container is None)


@given(st.lists(st.builds(CgroupLine, st.integers(), st.lists(st.text()).map(tuple), st.text())))
def test_any_hierarchies_have_an_owner(lines: list[CgroupLine]) -> None:
    assert find_owner(lines).path in {"/", *(line.path for line in lines)}
