"""attribution.podman and conmon: containers on disk, through conmon, and of ordinary users."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.attribution.conmon import own_options
from whodunnet.attribution.notes import Notes
from whodunnet.attribution.podman import Podman, parse_list
from whodunnet.errors import MalformedError

from .machine import BOOT, ID, OTHER, Machine

STORAGE = "var/lib/containers/storage"
STARTED = datetime.fromtimestamp(BOOT + 5, UTC)
METADATA = json.dumps({"image-name": "app:1", "name": "web", "created-at": 1})
CONTAINERS = [{"id": ID, "names": ["other-name"], "metadata": METADATA}, {"id": OTHER, "names": ["b"], "metadata": "{"}]
INIT, CONMON = 500, 400


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def conmon(storage: str, *, name: str = "web", container: str = ID, exec_session: str = "") -> tuple[str, ...]:
    bundle = f"/{storage}/overlay-containers/{container}/userdata"
    where = f"{bundle}/{exec_session}" if exec_session else bundle
    own = ("-c", container, "-u", exec_session or container, "-r", "/usr/bin/runc", "-b", where, "-n", name)
    passed_on = (
        "--runtime-arg",
        "-n",
        "--runtime-arg=--log",
        "--exit-command",
        "/bin/podman",
        "--exit-command-arg",
        "-n",
    )
    return ("/usr/bin/conmon", "--api-version", "1", *own, "-p", f"{bundle}/pidfile", *passed_on)


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
@pytest.mark.parametrize("name", ["containers.json", "volatile-containers.json"])
def test_a_container_is_found_at_the_usual_place(machine: Machine, driver: str, name: str) -> None:
    machine.write(f"{STORAGE}/{driver}-containers/{name}", CONTAINERS)
    machine.process(INIT)
    machine.write(f"run/containers/storage/{driver}-containers/{ID}/userdata/pidfile", f"{INIT}\n")
    podman = Podman(machine.processes)
    assert podman.find(ID) == Notes(name="web", image="app:1", started=STARTED, first_pid=INIT)
    assert podman.find(OTHER) == Notes(name="b")
    assert podman.find("0" * 64) is None


def test_conmon_leads_to_storage_in_another_place(machine: Machine) -> None:
    machine.process(CONMON, "conmon", argv=conmon("data"))
    machine.process(INIT, parent=CONMON)
    assert Podman(machine.processes).find(ID, INIT) == Notes(name="web", started=STARTED, first_pid=INIT)
    machine.write("data/overlay-containers/containers.json", CONTAINERS)
    assert Podman(machine.processes).find(ID, INIT) == Notes(name="web", image="app:1", started=STARTED, first_pid=INIT)


def test_the_conmon_of_an_exec_session_does_not_know_the_start(machine: Machine) -> None:
    machine.process(CONMON, "conmon", argv=conmon("data", exec_session=OTHER))
    machine.process(INIT, parent=CONMON)
    machine.write("data/overlay-containers/containers.json", CONTAINERS)
    assert Podman(machine.processes).find(ID, INIT) == Notes(name="web", image="app:1")


def test_the_conmon_of_another_container_is_not_asked(machine: Machine) -> None:
    machine.process(CONMON, "conmon", argv=conmon("data", container=OTHER))
    machine.process(INIT, parent=CONMON)
    assert Podman(machine.processes).find(ID, INIT) is None


def test_a_conmon_within_the_container_is_not_asked(machine: Machine) -> None:
    machine.process(CONMON, "conmon", argv=conmon("data"))
    machine.process(INIT, parent=CONMON)
    machine.process(600, "conmon", parent=INIT, argv=conmon("forged", name="bank"))
    noted = Podman(machine.processes).find(ID, machine.process(601, parent=600))
    assert noted is not None
    assert noted.name == "web"


def test_a_users_conmon_names_no_container_of_root(machine: Machine) -> None:
    machine.process(CONMON, "conmon", argv=conmon("data", name="bank"), uid=1000)
    machine.process(INIT, parent=CONMON, uid=1000)
    podman = Podman(machine.processes)
    assert podman.find(ID, INIT) is None
    assert podman.find_rootless(ID, 1001, INIT) is None
    assert podman.find_rootless(ID, 1000, INIT) == Notes(name="bank", started=STARTED, first_pid=INIT)


def test_another_program_with_conmons_name_is_none(machine: Machine) -> None:
    machine.process(CONMON, "conmon", argv=conmon("data"))
    (machine.top / f"proc/{CONMON}/exe").unlink()
    (machine.top / f"proc/{CONMON}/exe").symlink_to("/usr/bin/python3")
    machine.process(INIT, parent=CONMON)
    assert Podman(machine.processes).find(ID, INIT) is None


def test_the_image_of_a_users_container_is_read_from_the_users_storage(machine: Machine) -> None:
    storage = "home/bob/.local/share/containers/storage"
    uid = os.getuid() or 1000
    machine.process(CONMON, "conmon", argv=conmon(storage), uid=uid)
    machine.process(INIT, parent=CONMON, uid=uid)
    written = machine.write(f"{storage}/overlay-containers/containers.json", CONTAINERS)
    os.chown(written, uid, -1)
    expected = Notes(name="web", image="app:1", started=STARTED, first_pid=INIT)
    assert Podman(machine.processes).find_rootless(ID, uid, INIT) == expected
    written.rename(machine.top / "real.json")
    written.symlink_to(machine.top / "real.json")
    without_image = Notes(name="web", started=STARTED, first_pid=INIT)
    assert Podman(machine.processes).find_rootless(ID, uid, INIT) == without_image


def test_hostile_names_are_cleaned() -> None:
    listed = parse_list(json.dumps([{"id": ID, "names": ["a\x1b[2J"]}]).encode(), "containers.json")
    assert listed[ID].name == "a\ufffd[2J"


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'[{"names": []}]', b"\xff", b"[" * 9999])
def test_a_list_of_another_form_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match=r"containers\.json"):
        parse_list(data, "containers.json")


@given(st.lists(st.text()), st.text())
def test_any_arguments_of_conmon_are_survived(words: list[str], name: str) -> None:
    assert all(option in {"container", "session", "name", "bundle", "pid_file"} for option, _ in own_options(words))
    assert ("name", name) in list(own_options(["conmon", "-n", name, *words]))


@given(st.binary())
def test_arbitrary_bytes_are_parsed_or_malformed(data: bytes) -> None:
    with suppress(MalformedError):
        parse_list(data, "containers.json")
