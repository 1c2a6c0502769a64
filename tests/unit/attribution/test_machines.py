"""attribution.machines: what systemd-machined noted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.attribution.machines import Machines, parse_machine

from .machine import Machine

NOTED = (
    "# This is private data. Do not parse.\nNAME=my-web\nSCOPE=machine-my\\\\x2dweb.scope\nSERVICE=systemd-nspawn\n"
    "LEADER=500\nCLASS=container\nREALTIME=1700000005000000\nMONOTONIC=5000000\n"
)
SCOPE = r"/machine.slice/machine-my\x2dweb.scope"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("noted", [NOTED, NOTED.replace("machine-my\\\\x2dweb.scope", '"machine-my\\\\x2dweb.scope"')])
def test_a_registered_machine_is_found_by_its_scope(machine: Machine, noted: str) -> None:
    machine.write("run/systemd/machines/my-web", noted)
    machines = Machines(machine.roots)
    assert machines.of_scope(SCOPE) == "my-web"
    assert machines.started("my-web") == datetime.fromtimestamp(1_700_000_005, UTC)
    for other in (
        "/",
        "/machine.slice",
        f"{SCOPE}/supervisor",
        f"/user.slice{SCOPE}",
        "/machine.slice/machine-x.scope",
    ):
        assert machines.of_scope(other) is None


@pytest.mark.parametrize(
    "change", [("NAME=my-web", "NAME=other"), ("systemd-nspawn", "libvirt-qemu"), ("SCOPE=", "X=")]
)
def test_a_machine_that_is_not_the_one_is_none(machine: Machine, change: tuple[str, str]) -> None:
    machine.write("run/systemd/machines/my-web", NOTED.replace(*change))
    assert Machines(machine.roots).of_scope(SCOPE) is None


def test_a_machine_that_nobody_registered_is_none(machine: Machine) -> None:
    assert Machines(machine.roots).of_scope(SCOPE) is None
    assert Machines(machine.roots).started("my-web") is None


@given(st.binary() | st.integers().map(lambda n: f"NAME=x\nREALTIME={n}".encode()))
def test_any_file_is_read(data: bytes) -> None:
    assert isinstance(parse_machine(data).name, str)
