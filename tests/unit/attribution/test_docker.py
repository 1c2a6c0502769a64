"""attribution.docker: containers on disk, data roots in unusual places, labels that do not count."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.attribution.docker import Docker, options, parse_config
from whodunnet.attribution.notes import Notes
from whodunnet.errors import MalformedError
from whodunnet.model.workload import Pod

from .machine import ID, OTHER, Machine

UID = "285d27fb-34ca-4985-8fb1-57abb1c51319"
STATIC = "5c1d2e3f" * 4
CONFIG: dict[str, Any] = {
    "State": {"Running": True, "Pid": 14731, "StartedAt": "2026-11-21T05:21:26.503461135Z"},
    "ID": ID,
    "Config": {"Image": "app:1", "Labels": {}},
    "Name": "/web",
}
NOTES = Notes(name="web", image="app:1", first_pid=14731, started=datetime(2026, 11, 21, 5, 21, 26, 503461, tzinfo=UTC))


def labels(container: str = "app", uid: str = UID, **more: str) -> dict[str, Any]:
    names = {"pod.name": "web-0", "pod.namespace": "shop", "pod.uid": uid, "container.name": container}
    given = {f"io.kubernetes.{name}": value for name, value in names.items()} | more
    return CONFIG | {"Config": {"Image": "app:1", "Labels": given}}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def parse(config: object, pod_uid: str | None = None) -> Notes:
    return parse_config(json.dumps(config).encode(), "config.v2.json", pod_uid)


@pytest.mark.parametrize(
    "root", ["var/lib/docker", "var/snap/docker/common/var-lib-docker", "var/lib/docker/100000.100000"]
)
def test_a_container_is_found_at_known_places(machine: Machine, root: str) -> None:
    machine.write(f"{root}/containers/{ID}/config.v2.json", CONFIG)
    assert Docker(machine.processes).find(ID) == NOTES
    assert Docker(machine.processes).find("0" * 64) is None


def test_what_says_that_it_is_another_container_is_not_believed(machine: Machine) -> None:
    machine.write(f"var/lib/docker/containers/{OTHER}/config.v2.json", CONFIG)
    assert Docker(machine.processes).find(OTHER) is None


@pytest.mark.parametrize("name", ["data-root", "graph"])
def test_the_daemons_settings_lead_to_another_place(machine: Machine, name: str) -> None:
    machine.write("etc/docker/daemon.json", {name: "/mnt/big", "debug": True})
    machine.write(f"mnt/big/containers/{ID}/config.v2.json", CONFIG)
    assert Docker(machine.processes).find(ID) == NOTES


@pytest.mark.parametrize("argv", [("--data-root", "/mnt/big"), ("--data-root=/mnt/big",), ("-g", "/mnt/big")])
def test_the_daemons_arguments_lead_to_another_place(machine: Machine, argv: tuple[str, ...]) -> None:
    machine.process(800, "dockerd", argv=("/usr/bin/dockerd", *argv))
    machine.write("run/docker.pid", "800")
    machine.write(f"mnt/big/containers/{ID}/config.v2.json", CONFIG)
    assert Docker(machine.processes).find(ID) == NOTES


def test_a_users_process_is_no_daemon(machine: Machine) -> None:
    machine.process(800, "dockerd", argv=("dockerd", "--data-root=/mnt/big"), uid=1000)
    machine.write("run/docker.pid", "800")
    machine.write(f"mnt/big/containers/{ID}/config.v2.json", CONFIG)
    assert Docker(machine.processes).find(ID) is None


@pytest.mark.parametrize("settings", [b"", b"[]", b'{"data-root": 1}', b'{"data-root": "../x"}', b'{"data-root": ""}'])
def test_settings_of_another_form_leave_the_known_places(machine: Machine, settings: bytes) -> None:
    machine.write("etc/docker/daemon.json", settings)
    machine.write(f"var/lib/docker/containers/{ID}/config.v2.json", CONFIG)
    assert Docker(machine.processes).find(ID) == NOTES


def test_a_link_is_followed_as_the_machine_would(machine: Machine) -> None:
    machine.write(f"mnt/big/containers/{ID}/config.v2.json", CONFIG)
    (machine.top / "var/lib").mkdir(parents=True)
    (machine.top / "var/lib/docker").symlink_to("/mnt/big")
    assert Docker(machine.processes).find(ID) == NOTES


def test_labels_name_the_pod_that_the_cgroup_is_of() -> None:
    notes = parse(labels(), UID)
    assert (notes.name, notes.pod) == ("app", Pod(namespace="shop", name="web-0", uid=UID))
    sandbox = parse(labels("POD"), UID)
    assert (sandbox.name, sandbox.is_sandbox) == ("pause", True)


@pytest.mark.parametrize("pod_uid", [None, UID.replace("2", "3")])
def test_labels_of_an_image_make_no_pod(pod_uid: str | None) -> None:
    assert parse(labels(), pod_uid) == NOTES


def test_a_pod_from_the_kubelets_own_disk_is_static() -> None:
    source = {"annotation.kubernetes.io/config.source": "file"}
    for notes in (parse(labels(uid=STATIC), STATIC), parse(labels(**source), UID)):
        assert notes.pod is not None
        assert notes.pod.static


def test_a_container_that_does_not_run_has_neither_start_nor_process() -> None:
    notes = parse(CONFIG | {"State": {"Pid": 0, "StartedAt": "0001-01-01T00:00:00Z"}})
    assert (notes.first_pid, notes.started) == (None, None)


def test_hostile_names_are_cleaned() -> None:
    assert parse(CONFIG | {"Name": "/a\x1b[2J\u202e"}).name == "a\ufffd[2J\ufffd"


def test_a_users_own_docker_is_found_in_the_home_directory(machine: Machine) -> None:
    uid = machine.top.stat().st_uid
    machine.write("etc/passwd", f"x\nann:x:{uid + 1}:5:a:/home/ann:/bin/sh\nbob:x:{uid}:5:a:/home/bob:/bin/sh\n")
    machine.write(f"home/bob/.local/share/docker/containers/{ID}/config.v2.json", labels())
    notes = Docker(machine.processes).find_rootless(ID, uid)
    assert notes == Notes(name="web", image="app:1", started=NOTES.started)
    assert Docker(machine.processes).find_rootless(ID, uid + 1) is None
    assert Docker(machine.processes).find(ID) is None


def test_options_are_read_in_both_forms() -> None:
    assert list(options(["d", "--a", "1", "--a=2", "--b", "3", "--a"], ("--a",))) == ["1", "2"]


@pytest.mark.parametrize("data", [b"", b"[]", b'{"Name": 1}', b'{"State": {"Pid": "x"}}', b"\xff", b"[" * 9999])
def test_a_configuration_of_another_form_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match=r"config\.v2\.json"):
        parse_config(data, "config.v2.json")


@given(
    st.binary() | st.dictionaries(st.sampled_from([*CONFIG, "x"]), st.text() | st.none()).map(lambda d: str(d).encode())
)
def test_arbitrary_bytes_are_parsed_or_malformed(data: bytes) -> None:
    with suppress(MalformedError):
        parse_config(data, "config.v2.json", UID)
