import os
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import MACHINES, damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import (
    CAPABILITIES,
    TaskStatus,
    node,
    parse_lockdown,
    parse_status,
    parse_virtual_machine,
    read_cgroup_layout,
    read_hostname,
    read_lockdown,
    read_support,
)

REAL_STATUS = (MACHINES / "linux-6.18/proc/self/status").read_bytes()
REAL_CPUINFO = (MACHINES / "linux-6.18/proc/cpuinfo").read_bytes()
HEADER = Path("/usr/include/linux/capability.h")


def test_a_real_machine_is_described() -> None:
    support = read_support(Roots.below(MACHINES / "linux-6.18"))
    assert (support.kernel, support.hostname, support.possible_cpus) == ("6.18.44-fc-v595", "vm", 2)
    assert (support.btf, support.lockdown, support.virtual_machine) == (True, None, True)
    assert (support.cgroup_layout, support.pid_namespace_depth, support.euid) == ("hybrid", 0, 0)
    assert support.capabilities == frozenset(CAPABILITIES) - {"CAP_SYS_RESOURCE"}


def test_the_machine_we_run_on_is_described() -> None:
    support = read_support(Roots())
    assert support.euid == os.geteuid()
    assert support.kernel == os.uname().release
    assert node(support).boot_id == support.boot_id


def test_a_hostname_is_cleaned_before_it_is_printed() -> None:
    support = read_support(Roots.below(MACHINES / "linux-6.18"))
    assert node(msgspec.structs.replace(support, hostname="a\x1b[31mb")).hostname == "a�[31mb"


@pytest.mark.parametrize(
    ("namespace", "file", "name"),
    [
        ("uts:[4026532177]", "node-7\n", "node-7"),
        ("uts:[4026532177]", "# who\n\n node-8\nx", "node-8"),
        ("uts:[4026532177]", "\n", "pod-1"),
        ("uts:[4026532177]", None, "pod-1"),
        ("uts:[4026531838]", "stale\n", "pod-1"),
    ],
)
def test_in_a_container_the_machine_has_its_own_name(
    tmp_path: Path, namespace: str, file: str | None, name: str
) -> None:
    (tmp_path / "proc/self/ns").mkdir(parents=True)
    (tmp_path / "proc/self/ns/uts").symlink_to(namespace)
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/hostname").write_text("pod-1\n")
    (tmp_path / "etc").mkdir()
    if file is not None:
        (tmp_path / "etc/hostname").write_text(file)
    assert read_hostname(Roots.below(tmp_path)) == name


def test_a_machine_without_proc_cannot_be_described(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="self/status does not exist"):
        read_support(Roots.below(tmp_path))


def test_capabilities_are_those_of_the_kernel_header() -> None:
    if not HEADER.exists():
        pytest.skip("linux/capability.h is not installed")
    words = [line.split() for line in HEADER.read_text().splitlines() if line.startswith("#define CAP_")]
    numbers = {word[1]: int(word[2]) for word in words if len(word) == 3 and word[2].isdigit()}
    assert {name: bit for bit, name in enumerate(CAPABILITIES)} == {
        name: bit for name, bit in numbers.items() if bit <= 40
    }


@given(st.frozensets(st.sampled_from(CAPABILITIES)), st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_rights_are_read_back(capabilities: frozenset[str], euid: int, depth: int) -> None:
    mask = sum(1 << CAPABILITIES.index(name) for name in capabilities)
    pids = "\t".join(["7"] * (depth + 1))
    data = f"Name:\tx:y\nUid:\t0\t{euid}\t0\t0\nNSpid:\t{pids}\nCapEff:\t{mask:016x}\n".encode()
    assert parse_status(data, "f") == TaskStatus(euid=euid, capabilities=capabilities, pid_namespace_depth=depth)


def test_bits_of_a_newer_kernel_have_no_name() -> None:
    assert parse_status(b"Uid:\t0\t0\t0\t0\nCapEff:\tffffffffffffffff\n", "f").capabilities == frozenset(CAPABILITIES)


@given(damaged(REAL_STATUS))
def test_a_damaged_status_is_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_status(data, "f")


@given(st.sampled_from(["none", "integrity", "confidentiality"]))
def test_the_lockdown_mode_is_the_word_in_brackets(mode: str) -> None:
    assert (
        parse_lockdown(b"none integrity confidentiality\n".replace(mode.encode(), b"[%b]" % mode.encode()), "f") == mode
    )


@given(damaged(b"none [integrity] confidentiality\n"))
def test_a_damaged_lockdown_is_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        parse_lockdown(data, "f")


def test_lockdown_is_unknown_without_securityfs(tmp_path: Path) -> None:
    assert read_lockdown(Roots.below(tmp_path)) is None


@given(damaged(REAL_CPUINFO))
def test_any_cpuinfo_is_answered(data: bytes) -> None:
    assert parse_virtual_machine(data) in (True, False, None)


def test_a_hypervisor_shows_in_the_flags_of_x86_only() -> None:
    assert parse_virtual_machine(REAL_CPUINFO) is True
    assert parse_virtual_machine(REAL_CPUINFO.replace(b" hypervisor", b"")) is False
    assert parse_virtual_machine(b"processor\t: 0\nFeatures\t: fp asimd\n") is None


@pytest.mark.parametrize(
    ("file", "layout"),
    [("cgroup.controllers", "v2"), ("unified/cgroup.controllers", "hybrid"), ("memory/tasks", "v1"), ("x", None)],
)
def test_the_cgroup_layout_is_known_by_its_files(tmp_path: Path, file: str, layout: str | None) -> None:
    path = tmp_path / "sys/fs/cgroup" / file
    path.parent.mkdir(parents=True)
    path.touch()
    assert read_cgroup_layout(Roots.below(tmp_path)) == layout
