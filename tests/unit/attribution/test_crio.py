"""attribution.crio: a node laid out as CRI-O lays it out, and annotations that a pod chose."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.attribution.crio import Crio, parse_config
from whodunnet.attribution.notes import Notes
from whodunnet.attribution.processes import Processes
from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.process import read_boot_time, read_stat
from whodunnet.kernel.roots import Roots
from whodunnet.model.workload import Pod

NODE = Path(__file__).parents[2] / "fixtures/nodes/crio-systemd"
APP = "5b0c6a2f9d1e4738" * 4
SANDBOX = "c7e9134d6a8b2f05" * 4
APP_PID, SANDBOX_PID = 3120, 3055
POD = Pod(namespace="shop", name="web-0", uid="285d27fb-34ca-4985-8fb1-57abb1c51319")


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return shutil.copytree(NODE, tmp_path / "node", symlinks=True)


def parse(notes: dict[str, str]) -> Notes:
    return parse_config(json.dumps({"annotations": notes}).encode(), "config.json")


def labels(pod: str = "web-0", namespace: str = "shop", uid: str = "x", container: str = "app") -> dict[str, str]:
    names = {"pod.name": pod, "pod.namespace": namespace, "pod.uid": uid, "container.name": container}
    return {f"io.kubernetes.{name}": value for name, value in names.items()}


def test_a_container_has_the_names_of_the_kubelets_labels() -> None:
    roots = Roots.below(NODE)
    notes = Crio(Processes(roots)).find(APP)
    assert notes is not None
    assert (notes.name, notes.image, notes.pod, notes.is_sandbox) == ("app", "registry.test/shop/web:1.4", POD, False)
    assert notes.first_pid == APP_PID
    assert notes.started is not None
    started = (notes.started - read_boot_time(roots)).total_seconds()
    assert started == pytest.approx(read_stat(roots, APP_PID).started_seconds)


def test_a_pods_sandbox_is_named_pause() -> None:
    notes = Crio(Processes(Roots.below(NODE))).find(SANDBOX)
    assert notes is not None
    assert (notes.name, notes.pod, notes.is_sandbox) == ("pause", POD, True)


def test_the_copy_on_disk_serves_where_the_other_is_gone(node: Path) -> None:
    shutil.copytree(node / "run/containers", node / "var/lib/containers")
    shutil.rmtree(node / "run/containers")
    notes = Crio(Processes(Roots.below(node))).find(APP)
    assert notes is not None
    assert notes.pod == POD


def test_conmon_leads_to_bundles_in_another_place(node: Path) -> None:
    (node / "data").mkdir()
    (node / "run/containers").rename(node / "data/containers")
    assert Crio(Processes(Roots.below(node))).find(APP) is None
    notes = Crio(Processes(Roots.below(node))).find(APP, APP_PID)
    assert notes is None  # conmon still says the old place
    cmdline = node / "proc/3110/cmdline"
    cmdline.write_bytes(cmdline.read_bytes().replace(b"/run/containers", b"/data/containers"))
    notes = Crio(Processes(Roots.below(node))).find(APP, APP_PID)
    assert notes is not None
    assert notes.pod == POD


def test_annotations_that_a_pod_chose_do_not_name_it() -> None:
    names = {"KubeName": "bank", "Namespace": "money", "ContainerName": "vault", "ContainerType": "sandbox"}
    chosen = {f"io.kubernetes.cri-o.{name}": value for name, value in names.items()}
    assert parse(chosen) == Notes()
    notes = parse(chosen | labels())
    assert (notes.name, notes.is_sandbox) == ("app", False)
    assert notes.pod == Pod(namespace="shop", name="web-0", uid="x")


def test_a_pod_from_the_kubelets_own_disk_is_static() -> None:
    by_source = parse(labels() | {"kubernetes.io/config.source": "file"})
    by_uid = parse(labels(uid="5c1d2e3f" * 4))
    from_server = parse(labels() | {"kubernetes.io/config.source": "api"})
    assert [notes.pod.static for notes in (by_source, by_uid, from_server) if notes.pod] == [True, True, False]


def test_hostile_names_are_cleaned() -> None:
    assert parse(labels(pod="a\x1b[2J")).pod == Pod(namespace="shop", name="a\ufffd[2J", uid="x")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"annotations": 1}', b"\xff", b"[" * 9999])
def test_a_configuration_of_another_form_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match=r"config\.json"):
        parse_config(data, "config.json")


@given(st.binary() | st.dictionaries(st.text(), st.text()).map(lambda d: json.dumps({"annotations": d}).encode()))
def test_arbitrary_bytes_are_parsed_or_malformed(data: bytes) -> None:
    with suppress(MalformedError):
        parse_config(data, "config.json")
