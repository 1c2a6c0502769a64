"""attribution.runc: containers of any name, in cgroups of any shape."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.attribution.runc import Runc, parse_state
from whodunnet.errors import MalformedError
from whodunnet.kernel.procfs.process import CgroupLine
from whodunnet.model.workload import Container

from .machine import BOOT, ID, Machine

PID, TICKS = 500, 500
V1 = {"memory": "/sys/fs/cgroup/memory/jobs/a", "name=systemd": "/sys/fs/cgroup/systemd/jobs/a"}
V2 = {"": "/sys/fs/cgroup/jobs/a"}
HYBRID = V1 | {"": "/sys/fs/cgroup/unified/jobs/a"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.process(PID)
    return made


def add(machine: Machine, name: str, cgroups: dict[str, str], start: int = TICKS) -> None:
    state = {"id": name, "init_process_pid": PID, "init_process_start": start, "cgroup_paths": cgroups, "config": {}}
    machine.write(f"run/runc/{name}/state.json", state)


def find(machine: Machine, *lines: tuple[str, str]) -> Container | None:
    hierarchies = tuple(CgroupLine(n, (name,) if name else (), path) for n, (name, path) in enumerate(lines))
    return Runc(machine.processes).find(hierarchies)


@pytest.mark.parametrize("below", ["", "/init.scope"])
@pytest.mark.parametrize("cgroups", [V1, V2, HYBRID])
def test_a_container_is_found_by_its_cgroups(machine: Machine, cgroups: dict[str, str], below: str) -> None:
    add(machine, "my.job", cgroups)
    started = datetime.fromtimestamp(BOOT + 5, UTC)
    expected = Container(id="my.job", name="my.job", runtime="runc", cgroup="/jobs/a", started=started)
    assert find(machine, *((name, f"/jobs/a{below}") for name in cgroups)) == expected


def test_a_process_that_is_in_one_of_the_cgroups_only_is_not_in_the_container(machine: Machine) -> None:
    add(machine, "my.job", V1)
    assert find(machine, ("memory", "/jobs/a"), ("name=systemd", "/")) is None
    assert find(machine, ("memory", "/jobs/ab"), ("name=systemd", "/jobs/ab")) is None
    assert find(machine, ("", "/jobs/a")) is None


def test_a_container_in_the_root_cgroup_does_not_hold_everybody(machine: Machine) -> None:
    add(machine, "all", {"memory": "/sys/fs/cgroup/memory", "": "/sys/fs/cgroup/unified", "pids": "/elsewhere"})
    assert find(machine, ("memory", "/"), ("", "/"), ("pids", "/")) is None


def test_a_container_that_has_ended_has_left_its_cgroups_to_others(machine: Machine) -> None:
    add(machine, "my.job", V2, start=TICKS - 1)
    assert find(machine, ("", "/jobs/a")) is None


def test_containers_with_the_ids_of_other_runtimes_are_left_to_them(machine: Machine) -> None:
    add(machine, ID, V2)
    assert find(machine, ("", "/jobs/a")) is None


@pytest.mark.parametrize("path", ["/sys/fs/cgroup/memory/../x", "", "x", "/sys/fs/cgroup", "/proc/1"])
def test_a_directory_outside_of_the_hierarchies_is_no_cgroup(path: str) -> None:
    state = f'{{"id": "a", "init_process_pid": 1, "init_process_start": 1, "cgroup_paths": {{"memory": "{path}"}}}}'
    assert parse_state(state.encode(), "state.json").cgroups == {}


@pytest.mark.parametrize("data", [b"", b"[]", b'{"id": "a"}', b"\xff", b"[" * 9999])
def test_a_state_of_another_form_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match=r"state\.json"):
        parse_state(data, "state.json")


@given(st.binary())
def test_arbitrary_bytes_are_parsed_or_malformed(data: bytes) -> None:
    with suppress(MalformedError):
        parse_state(data, "state.json")
