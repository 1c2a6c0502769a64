"""attribution.kubelet: pods and containers by the names of their log directories and links."""

from __future__ import annotations

from pathlib import Path

import pytest

from whodunnet.attribution.kubelet import Kubelet
from whodunnet.model.workload import Pod

from .machine import ID, OTHER, Machine

UID = "285d27fb-34ca-4985-8fb1-57abb1c51319"
STATIC = "5c1d2e3f" * 4
POD = Pod(namespace="shop", name="web-0.a", uid=UID)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.write(f"var/log/pods/shop_web-0.a_{UID}/app/0.log", "")
    made.write(f"var/log/pods/kube-system_etcd-n1_{STATIC}/etcd/0.log", "")
    made.write(f"var/log/containers/web-0.a_shop_app-side-{ID}.log", "")
    return made


def test_a_pod_is_named_by_its_log_directory(machine: Machine) -> None:
    assert Kubelet(machine.roots).pod(UID) == POD


def test_a_pod_with_the_kubelets_own_uid_is_static(machine: Machine) -> None:
    assert Kubelet(machine.roots).pod(STATIC) == Pod(namespace="kube-system", name="etcd-n1", uid=STATIC, static=True)


def test_a_container_is_named_by_its_link(machine: Machine) -> None:
    kubelet = Kubelet(machine.roots)
    assert kubelet.container(ID, POD) == "app-side"
    assert kubelet.container(OTHER, POD) is None
    assert kubelet.container(ID, Pod(namespace="shop", name="web-1", uid=UID)) is None
    assert kubelet.container(ID, Pod(uid=UID)) is None


def test_two_directories_with_one_uid_name_nobody(machine: Machine) -> None:
    machine.write(f"var/log/pods/shop_web-1_{UID}/app/0.log", "")
    assert Kubelet(machine.roots).pod(UID) == Pod(uid=UID)


@pytest.mark.parametrize("name", [f"shop_web_0_{UID}", f"_web_{UID}", f"Shop_web_{UID}", f"shop_a\x1b_{UID}", UID])
def test_a_directory_of_another_form_names_nobody(tmp_path: Path, name: str) -> None:
    (tmp_path / "var/log/pods" / name).mkdir(parents=True)
    assert Kubelet(Machine(tmp_path).roots).pod(UID) == Pod(uid=UID)


def test_a_link_whose_name_may_have_been_cut_names_nobody(machine: Machine) -> None:
    long = "a" * (251 - len(f"_shop_app-{ID}.log"))
    machine.write(f"var/log/containers/{long}_shop_app-{OTHER}.log", "")
    assert Kubelet(machine.roots).container(OTHER, Pod(namespace="shop", name=long, uid=UID)) is None


def test_a_node_without_logs_leaves_the_uid(tmp_path: Path) -> None:
    assert Kubelet(Machine(tmp_path).roots).pod(UID) == Pod(uid=UID)
