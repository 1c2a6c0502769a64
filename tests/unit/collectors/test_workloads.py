"""collectors.workloads: names for pids, network namespaces and cgroups of recorded nodes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.errors import UnreadableError
from whodunnet.kernel.procfs.process import read_netns, read_stat
from whodunnet.kernel.roots import Roots
from whodunnet.model.workload import Pod, Workload, Workloads

NODES = Path(__file__).parents[2] / "fixtures/nodes"
ELSEWHERE = Roots.below(NODES / "containerd-elsewhere")
V2 = Roots.below(NODES / "containerd-systemd-v2")
POD = Pod(namespace="shop", name="web-0", uid="7663d8de-18b5-47b3-9e49-21d2fdba96d3")
POD_V2 = Pod(namespace="shop", name="web-0", uid="285d27fb-34ca-4985-8fb1-57abb1c51319")
PAUSE, APP, SIDE, SSHD = 13557, 13590, 13618, 900
APP_ID = "96e0b849b4f61c0afa42411f3627731b6f751bf1175cb342b3a38082818d4dd9"
APP_V2 = 13708
CRIO = Roots.below(NODES / "crio-systemd")
CRIO_APP, CRIO_PAUSE, CRIO_CONMON = 3120, 3055, 3110


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A copy of a node, to be changed between two snapshots."""
    return shutil.copytree(NODES / "containerd-elsewhere", tmp_path / "node", symlinks=True)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def one(collector: WorkloadsCollector, pid: int) -> Workload:
    return collector.attribute([pid]).by_pid[pid]


def test_processes_of_a_pod_get_process_container_and_pod() -> None:
    found = WorkloadsCollector(ELSEWHERE).attribute([APP, SIDE, PAUSE])
    assert {pid: w.container.name for pid, w in found.by_pid.items() if w.container} == {
        APP: "app",
        SIDE: "side",
        PAUSE: "pause",
    }
    app = found.by_pid[APP]
    assert app.process is not None
    assert app.container is not None
    assert (app.process.comm, app.process.exe, app.process.descriptor_limit) == (
        "python3",
        "/usr/bin/python3.11",
        20000,
    )
    assert (app.container.runtime, app.container.image) == ("containerd", "whodunnet.test/app:1")
    assert app.container.cgroup == f"/kubepods/besteffort/pod{POD.uid}/{app.container.id}"
    assert app.container.started == app.process.started
    assert (app.pod, app.unit, app.netns) == (POD, None, read_netns(ELSEWHERE, APP))
    assert found.unknown_pids == 0


def test_a_process_of_the_machine_gets_its_unit() -> None:
    workload = one(WorkloadsCollector(ELSEWHERE), SSHD)
    assert workload.process is not None
    assert (workload.process.comm, workload.unit, workload.container, workload.pod) == (
        "sshd",
        "ssh.service",
        None,
        None,
    )


def test_a_node_with_version_2_alone_is_read_as_well() -> None:
    workload = one(WorkloadsCollector(V2), APP_V2)
    assert workload.container is not None
    assert (workload.container.name, workload.pod) == ("app", POD_V2)


def test_a_pid_that_is_gone_is_unknown() -> None:
    found = WorkloadsCollector(ELSEWHERE).attribute([4194304, SSHD, SSHD])
    assert (list(found.by_pid), found.unknown_pids) == ([SSHD], 1)


def test_a_pid_that_started_at_another_time_is_unknown() -> None:
    started = read_stat(ELSEWHERE, APP).started_seconds
    collector = WorkloadsCollector(ELSEWHERE)
    assert collector.attribute([APP], {APP: started + 0.0099}).unknown_pids == 0
    for other in (started + 0.03, started - 0.03, 0.0):
        assert collector.attribute([APP], {APP: other}) == Workloads(unknown_pids=1)


def test_a_process_that_cannot_be_understood_is_unknown(node: Path) -> None:
    (node / f"proc/{APP}/cgroup").write_bytes(b"\xff\xfe")
    assert WorkloadsCollector(Roots.below(node)).attribute([APP]).unknown_pids == 1


def test_a_second_snapshot_reads_only_the_state_again(node: Path) -> None:
    collector = WorkloadsCollector(Roots.below(node))
    first = one(collector, APP)
    for name in ("cgroup", "limits", "exe"):
        (node / f"proc/{APP}/{name}").unlink()
    rewrite(node / f"proc/{APP}/stat", " S ", " T ")
    second = one(collector, APP)
    assert first.process is not None
    assert second.process is not None
    assert (first.process.state, second.process.state) == ("sleeping", "stopped")
    assert second.container == first.container


def test_another_program_in_the_same_process_is_read_anew(node: Path) -> None:
    collector = WorkloadsCollector(Roots.below(node))
    one(collector, APP)
    (node / f"proc/{APP}/exe").unlink()
    (node / f"proc/{APP}/exe").symlink_to("/usr/bin/curl")
    rewrite(node / f"proc/{APP}/stat", "(python3)", "(curl)")
    process = one(collector, APP).process
    assert process is not None
    assert (process.comm, process.exe) == ("curl", "/usr/bin/curl")


def test_a_reused_pid_is_read_anew(node: Path) -> None:
    collector = WorkloadsCollector(Roots.below(node))
    one(collector, APP)
    (node / f"proc/{APP}/stat").write_text((node / f"proc/{SSHD}/stat").read_text().replace("900 ", f"{APP} "))
    (node / f"proc/{APP}/cgroup").write_text("0::/system.slice/ssh.service\n")
    assert one(collector, APP).unit == "ssh.service"


def test_a_frozen_container_is_frozen_whatever_its_processes_state(node: Path) -> None:
    collector = WorkloadsCollector(Roots.below(node))
    one(collector, APP)
    workload = one(collector, APP)
    assert workload.container is not None
    (node / f"sys/fs/cgroup/freezer{workload.container.cgroup}/freezer.state").write_text("FROZEN\n")
    for state in "DST":
        stat = (node / f"proc/{APP}/stat").read_text().split()
        stat[2] = state
        (node / f"proc/{APP}/stat").write_text(" ".join(stat))
        process = one(collector, APP).process
        assert process is not None
        assert process.state == "frozen"
    side = one(collector, SIDE).process
    assert side is not None
    assert side.state == "sleeping"


def test_a_pods_namespace_belongs_to_the_pod_as_a_whole() -> None:
    netns = read_netns(ELSEWHERE, PAUSE)
    assert netns is not None
    found = WorkloadsCollector(ELSEWHERE).attribute([], netns=[netns])
    assert found.by_netns == {netns: Workload(pod=POD, netns=netns)}


def test_a_namespace_of_one_container_beside_pause_names_the_container(node: Path) -> None:
    shutil.rmtree(node / f"proc/{SIDE}")
    netns = read_netns(Roots.below(node), PAUSE)
    assert netns is not None
    workload = WorkloadsCollector(Roots.below(node)).attribute([], netns=[netns]).by_netns[netns]
    assert workload.container is not None
    assert (workload.container.name, workload.process) == ("app", None)


def test_a_namespace_where_something_else_lives_is_nobodys() -> None:
    netns = read_netns(ELSEWHERE, SSHD)
    assert netns is not None
    assert WorkloadsCollector(ELSEWHERE).attribute([], netns=[netns, 1]).by_netns == {}


def test_a_namespace_of_two_pods_is_nobodys(node: Path) -> None:
    rewrite(node / f"proc/{SIDE}/cgroup", "7663d8de", "00000000")
    netns = read_netns(Roots.below(node), PAUSE)
    assert netns is not None
    assert WorkloadsCollector(Roots.below(node)).attribute([], netns=[netns]).by_netns == {}


def programs(node: Path, *paths: str, apart: bool = False) -> list[int]:
    """Processes of the machine in a namespace of their own; the last has forked the others, or they began apart."""
    pids = list(range(7000, 7000 + len(paths)))
    for pid, path in zip(pids, paths, strict=True):
        place = shutil.copytree(node / f"proc/{SSHD}", node / f"proc/{pid}", symlinks=True)
        stat = (place / "stat").read_text().replace(f"{SSHD} (sshd)", f"{pid} (tool)").split()
        stat[3] = "1" if apart or pid == pids[-1] else str(pids[-1])
        (place / "stat").write_text(" ".join(stat))
        for name, target in (("exe", path), ("ns/net", str(node / "netns/tools"))):
            (place / name).unlink()
            (place / name).symlink_to(target)
    return pids


@pytest.fixture
def tools(node: Path) -> int:
    """The inode number of the namespace of programs()."""
    (node / "netns/tools").touch()
    return (node / "netns/tools").stat().st_ino


@pytest.fixture
def sole(node: Path, tools: int) -> Callable[..., Workloads]:
    """Who is in it."""
    collector = WorkloadsCollector(Roots.below(node))
    return lambda **more: collector.attribute([], netns=[tools], **more)


def test_the_one_program_of_a_namespace_is_the_process_that_forked_the_others(
    node: Path, tools: int, sole: Callable[..., Workloads]
) -> None:
    *_, first = programs(node, "/usr/bin/proxy", "/usr/bin/proxy", "/usr/bin/proxy")
    found = sole()
    assert found.by_netns == {}
    (workload,) = found.sole_by_netns.values()
    assert workload.process is not None
    assert (workload.process.pid, workload.process.comm, workload.process.exe, workload.process.state) == (
        first, "tool", "/usr/bin/proxy", "sleeping",
    )  # fmt: skip
    assert workload.process.started is not None
    assert (workload.netns, workload.unit) == (tools, "ssh.service")
    assert sole() == found


def test_two_scripts_of_one_interpreter_are_two_programs(node: Path, sole: Callable[..., Workloads]) -> None:
    programs(node, "/usr/bin/python3", "/usr/bin/python3", apart=True)
    assert sole().sole_by_netns == {}


def test_a_namespace_of_two_programs_is_nobodys_alone(node: Path, sole: Callable[..., Workloads]) -> None:
    programs(node, "/usr/bin/proxy", "/usr/bin/sh")
    assert sole().sole_by_netns == {}


def test_a_namespace_that_is_shared_by_nature_is_nobodys_alone(
    node: Path, tools: int, sole: Callable[..., Workloads]
) -> None:
    programs(node, "/usr/bin/proxy")
    assert sole(shared_netns=[tools]).sole_by_netns == {}
    assert len(sole().sole_by_netns) == 1


def test_a_container_with_a_tool_of_the_machine_in_its_namespace_is_not_the_tool(
    node: Path, sole: Callable[..., Workloads]
) -> None:
    """As nsenter puts one there."""
    contained, _ = programs(node, "/usr/bin/proxy", "/usr/bin/proxy")
    shutil.copy(node / f"proc/{APP}/cgroup", node / f"proc/{contained}/cgroup")
    found = sole()
    assert (found.by_netns, found.sole_by_netns) == ({}, {})


def test_the_namespace_of_the_first_process_is_nobodys_alone(node: Path, sole: Callable[..., Workloads]) -> None:
    (pid,) = programs(node, "/sbin/init")
    if (node / "proc/1").exists():
        shutil.rmtree(node / "proc/1")
    (node / f"proc/{pid}").rename(node / "proc/1")
    assert sole().sole_by_netns == {}


def test_a_process_that_ended_meanwhile_does_not_count(node: Path, sole: Callable[..., Workloads]) -> None:
    gone, left = programs(node, "/usr/bin/sh", "/usr/bin/proxy")
    (node / f"proc/{gone}/stat").unlink()
    (workload,) = sole().sole_by_netns.values()
    assert workload.process is not None
    assert workload.process.pid == left
    (node / f"proc/{left}/stat").unlink()
    assert sole().sole_by_netns == {}


def test_a_namespace_of_too_many_processes_is_nobodys(
    node: Path, sole: Callable[..., Workloads], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(node, *["/usr/bin/proxy"] * 3)
    monkeypatch.setattr("whodunnet.collectors.workloads.MAX_PROCESSES_PER_NETNS", 2)
    assert sole().sole_by_netns == {}


def test_cgroups_get_containers_and_units_by_id() -> None:
    scope = next(V2.cgroup.glob("kubepods.slice/*/*/cri-containerd-f5d1e29a*")).stat().st_ino
    ssh = (V2.cgroup / "system.slice/ssh.service").stat().st_ino
    slice_ = (V2.cgroup / "system.slice").stat().st_ino
    found = WorkloadsCollector(V2).attribute([], cgroup_ids=[scope, ssh, slice_, 1]).by_cgroup_id
    assert set(found) == {scope, ssh}
    assert found[ssh] == Workload(unit="ssh.service")
    assert found[scope].pod == POD_V2
    assert found[scope].process is None


def test_names_of_another_pod_than_the_cgroups_are_not_believed(node: Path) -> None:
    rewrite(node / f"proc/{APP}/cgroup", "7663d8de", "00000000")
    workload = one(WorkloadsCollector(Roots.below(node)), APP)
    assert workload.pod == Pod(uid="00000000-18b5-47b3-9e49-21d2fdba96d3")
    assert workload.container is not None
    assert workload.container.name is None


def test_a_runtime_that_is_not_containerd_leaves_container_and_uid(node: Path) -> None:
    shutil.rmtree(node / "data")
    workload = one(WorkloadsCollector(Roots.below(node)), APP)
    assert workload.pod == Pod(uid=POD.uid)
    assert workload.container is not None
    assert (workload.container.name, workload.container.runtime, workload.container.started) == (None, None, None)


def test_a_users_cgroup_with_a_pods_container_id_is_not_given_the_pods_names(node: Path) -> None:
    (node / "run").mkdir()
    (node / "data/containerd/state").rename(node / "run/containerd")
    session = "/user.slice/user-1000.slice/user@1000.service"
    (node / f"proc/{SSHD}/cgroup").write_text(f"0::{session}/docker-{APP_ID}.scope\n")
    workload = one(WorkloadsCollector(Roots.below(node)), SSHD)
    assert workload.container is not None
    assert (workload.container.runtime, workload.container.name, workload.pod) == ("docker", None, None)


def test_a_container_that_containerd_runs_for_somebody_else_keeps_its_runtime_open(node: Path) -> None:
    bundle = next(node.glob(f"data/containerd/state/*/k8s.io/{APP_ID}"))
    (bundle / "config.json").write_text('{"ociVersion": "1.0.2"}')
    workload = one(WorkloadsCollector(Roots.below(node)), APP)
    assert workload.container is not None
    assert (workload.container.runtime, workload.container.name) == (None, None)
    assert workload.container.started is not None


def test_a_node_of_another_runtime_is_named_as_well() -> None:
    found = WorkloadsCollector(CRIO).attribute([CRIO_APP, CRIO_PAUSE, CRIO_CONMON]).by_pid
    app, pause, conmon = (found[pid] for pid in (CRIO_APP, CRIO_PAUSE, CRIO_CONMON))
    assert app.container is not None
    assert pause.container is not None
    assert (app.container.name, app.container.runtime, app.pod) == ("app", "cri-o", POD_V2)
    assert app.process is not None
    assert app.container.started == app.process.started
    assert (pause.container.name, pause.pod) == ("pause", POD_V2)
    assert (conmon.container, conmon.unit) == (None, f"crio-conmon-{app.container.id}.scope")


def test_a_directory_that_is_no_procfs_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError):
        WorkloadsCollector(Roots.below(tmp_path)).attribute([1])


@given(pids=st.sets(st.integers(-5, 2**40)), numbers=st.sets(st.integers(0, 2**64)))
def test_any_question_is_answered(pids: set[int], numbers: set[int]) -> None:
    found = WorkloadsCollector(V2).attribute(pids, netns=numbers, cgroup_ids=numbers)
    assert len(found.by_pid) + found.unknown_pids == len(pids)
