"""attribution.containerd: bundles on disk, found at known places and through the shim."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.attribution.containerd import CONFIG_LIMIT_BYTES, Containerd, parse_config
from whodunnet.attribution.notes import Notes
from whodunnet.attribution.processes import Processes
from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.process import read_boot_time, read_stat
from whodunnet.kernel.roots import Roots
from whodunnet.model.workload import Pod

NODES = Path(__file__).parents[2] / "fixtures/nodes"
ELSEWHERE = NODES / "containerd-elsewhere"
APP = "96e0b849b4f61c0afa42411f3627731b6f751bf1175cb342b3a38082818d4dd9"
APP_PID, SHIM_PID, SSHD_PID = 13590, 13533, 900
SANDBOX = "8dfb392cff335f4d2fb06aa45de484dadfde42f0f5fc6b3fea0540673f42e50f"
POD = Pod(namespace="shop", name="web-0", uid="7663d8de-18b5-47b3-9e49-21d2fdba96d3")


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A copy of the node whose containerd keeps its state in an unusual place."""
    return shutil.copytree(ELSEWHERE, tmp_path / "node", symlinks=True)


def config(**notes: str) -> bytes:
    return json.dumps(
        {"annotations": {f"io.kubernetes.cri.{k.replace('_', '-')}": v for k, v in notes.items()}}
    ).encode()


def test_a_container_is_found_through_the_working_directory_of_its_shim() -> None:
    roots = Roots.below(ELSEWHERE)
    noted = Containerd(Processes(roots)).find(APP, APP_PID)
    started = read_boot_time(roots) + timedelta(seconds=read_stat(roots, APP_PID).started_seconds)
    assert noted == Notes(name="app", image="whodunnet.test/app:1", pod=POD, started=started, first_pid=APP_PID)


def test_a_pods_sandbox_is_found_and_named_pause() -> None:
    noted = Containerd(Processes(Roots.below(ELSEWHERE))).find(SANDBOX, 13557)
    assert noted is not None
    assert (noted.name, noted.pod, noted.is_sandbox) == ("pause", POD, True)


def test_a_place_once_found_serves_containers_without_a_process() -> None:
    containerd = Containerd(Processes(Roots.below(ELSEWHERE)))
    assert containerd.find(APP) is None
    assert containerd.find(SANDBOX, 13557) is not None
    assert containerd.find(APP) is not None


@pytest.mark.parametrize("place", ["run/containerd", "run/k3s/containerd", "var/snap/microk8s/common/run/containerd"])
def test_known_places_need_no_process(node: Path, place: str) -> None:
    (node / place).parent.mkdir(parents=True)
    (node / "data/containerd/state").rename(node / place)
    noted = Containerd(Processes(Roots.below(node))).find(APP)
    assert noted is not None
    assert noted.pod == POD


def test_a_process_outside_of_containers_leads_nowhere() -> None:
    assert Containerd(Processes(Roots.below(ELSEWHERE))).find(APP, SSHD_PID) is None
    assert Containerd(Processes(Roots.below(ELSEWHERE))).find(APP, 4194304) is None


def test_an_ordinary_users_process_is_no_shim_whatever_its_name(node: Path) -> None:
    status = node / f"proc/{SHIM_PID}/status"
    status.write_text(status.read_text().replace("Uid:\t0\t0\t0\t0", "Uid:\t0\t1000\t0\t0"))
    assert Containerd(Processes(Roots.below(node))).find(APP, APP_PID) is None


def test_another_program_with_a_shims_name_is_no_shim(node: Path) -> None:
    (node / f"proc/{SHIM_PID}/exe").unlink()
    (node / f"proc/{SHIM_PID}/exe").symlink_to("/usr/bin/passwd")
    assert Containerd(Processes(Roots.below(node))).find(APP, APP_PID) is None


def test_a_shim_within_the_container_is_not_asked(node: Path) -> None:
    inner = node / "proc/20000"
    shutil.copytree(node / f"proc/{SHIM_PID}", inner, symlinks=True)
    stat = (inner / "stat").read_text().split()
    stat[0], stat[3] = "20000", str(APP_PID)
    (inner / "stat").write_text(" ".join(stat))
    (inner / "cwd").unlink()
    (inner / "cwd").symlink_to("../../forged/sandbox")
    (node / "forged" / "sandbox").mkdir(parents=True)
    (node / "forged" / APP).mkdir()
    (node / "forged" / APP / "config.json").write_bytes(config(sandbox_name="bank", sandbox_namespace="forged"))
    noted = Containerd(Processes(Roots.below(node))).find(APP, 20000)
    assert noted is not None
    assert noted.pod == POD


def test_a_loop_of_parents_ends(node: Path) -> None:
    stat = (node / "proc/1/stat").read_text()
    (node / "proc/1/stat").write_text(stat.replace(" S 0 ", f" S {APP_PID} "))
    assert Containerd(Processes(Roots.below(node))).find(APP, APP_PID) is not None


def test_a_container_whose_first_process_is_gone_started_when_it_was_configured(node: Path) -> None:
    bundle = node / "data/containerd/state/io.containerd.runtime.v2.task/k8s.io" / APP
    (bundle / "init.pid").unlink()
    os.utime(bundle / "config.json", (1_700_000_000, 1_700_000_000))
    found = Containerd(Processes(Roots.below(node))).find(APP, APP_PID)
    assert found is not None
    assert found.started == datetime.fromtimestamp(1_700_000_000, UTC)


def test_a_configuration_that_is_too_long_is_not_read(node: Path) -> None:
    bundle = node / "data/containerd/state/io.containerd.runtime.v2.task/k8s.io" / APP
    (bundle / "config.json").write_bytes(config(sandbox_name="web-0") + b" " * CONFIG_LIMIT_BYTES)
    assert Containerd(Processes(Roots.below(node))).find(APP, APP_PID) is None


def test_the_uid_comes_from_the_log_directory_where_it_is_not_noted() -> None:
    notes = config(sandbox_name="a", sandbox_namespace="b", sandbox_log_directory="/var/log/pods/b_a_4f1e")
    assert parse_config(notes, "config.json").pod == Pod(namespace="b", name="a", uid="4f1e")


def test_a_pod_from_the_kubelets_own_disk_is_static() -> None:
    by_uid = config(sandbox_name="etcd-n1", sandbox_namespace="kube-system", sandbox_uid="5c1d2e3f" * 4)
    data = json.loads(config(sandbox_name="etcd-n1", sandbox_namespace="kube-system"))
    data["annotations"]["kubernetes.io/config.source"] = "file"
    for raw in (by_uid, json.dumps(data).encode()):
        pod = parse_config(raw, "config.json").pod
        assert pod is not None
        assert pod.static


def test_a_container_that_kubernetes_did_not_ask_for_has_no_names() -> None:
    assert parse_config(b'{"annotations": null}', "config.json") == Notes()
    assert parse_config(b'{"ociVersion": "1.0.2"}', "config.json") == Notes()


def test_hostile_names_are_cleaned() -> None:
    pod = parse_config(config(sandbox_name="a\x1b[2J\u202e", sandbox_namespace="b\n"), "config.json").pod
    assert pod == Pod(namespace="b\ufffd", name="a\ufffd[2J\ufffd")


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"annotations": 1}', b'{"annotations": {"a": 1}}', b"\xff", b"[" * 9999]
)
def test_a_configuration_of_another_form_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match=r"config\.json"):
        parse_config(data, "config.json")


@given(
    st.one_of(st.binary(), st.recursive(st.text(), lambda s: st.dictionaries(st.text(), s)).map(msgspec.json.encode))
)
def test_arbitrary_bytes_are_parsed_or_malformed(data: bytes) -> None:
    with suppress(MalformedError):
        parse_config(data, "config.json")
