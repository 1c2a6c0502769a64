from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given

from kernel.damage import damaged
from whodunnet.errors import UnreadableError
from whodunnet.kernel.host import Facts, decide, find_place, find_roots, parse_filtered, parse_manager
from whodunnet.kernel.procfs.scope import Scope
from whodunnet.kernel.roots import Roots

HOST = Path("/host")
WHOLE, PART, ABOVE = (
    Scope(above=0, whole_machine=True),
    Scope(above=0, whole_machine=False),
    Scope(above=1, whole_machine=True),
)
INITIAL = frozenset({"pid", "user", "cgroup"})
POD = Facts(own=PART, shares_root=True, initial=frozenset({"user", "cgroup"}), manager="pod")
SHARED_PIDS = Facts(own=WHOLE, shares_root=False, initial=INITIAL, manager="pod")
ID = b"c0ffee" + b"0" * 58
LINE = b"700 650 8:1 %b %b rw,relatime - ext4 /dev/vda1 rw\n"


def facts(base: Facts, **changes: Any) -> Facts:
    return msgspec.structs.replace(base, **changes)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(Facts(own=WHOLE, shares_root=True, initial=INITIAL), id="root"),
        pytest.param(Facts(own=WHOLE, shares_root=None, initial=INITIAL), id="a user"),
        pytest.param(Facts(own=PART, shares_root=None, initial=INITIAL), id="a user, and processes are hidden"),
        pytest.param(Facts(own=WHOLE, shares_root=True, initial=INITIAL, mounted=WHOLE), id="with a mount at /host"),
        pytest.param(Facts(own=ABOVE, shares_root=True, initial=frozenset({"user"})), id="unshared namespaces"),
    ],
)
def test_the_machine_itself_is_read_where_it_is(found: Facts) -> None:
    place = decide(found, Roots(), HOST)
    assert (place.roots, place.container, place.host) == (Roots(), None, Path("/"))


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(facts(POD, mounted=ABOVE), id="a pid namespace of our own"),
        pytest.param(facts(POD, mounted=ABOVE, mounted_is_root=True), id="and rights"),
        pytest.param(facts(POD, mounted=Scope(above=1, whole_machine=False)), id="a node that is a container itself"),
        pytest.param(facts(SHARED_PIDS, mounted=WHOLE), id="shared pids"),
        pytest.param(facts(SHARED_PIDS, mounted=WHOLE, process_root=Path("/proc/1/root")), id="shared pids and rights"),
    ],
)
def test_a_mounted_host_is_used(found: Facts) -> None:
    place = decide(found, Roots(), HOST)
    assert (place.roots, place.container, place.host) == (Roots.below(HOST), "pod", HOST)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(POD, id="nothing there"),
        pytest.param(facts(POD, mounted=PART), id="a procfs that shows what ours does"),
        pytest.param(facts(POD, mounted=ABOVE, mounted_is_root=False), id="not the root of its first process"),
        pytest.param(facts(POD, process_root=Path("/proc/1/root")), id="only our own first process"),
    ],
)
def test_what_is_no_host_is_not_used(found: Facts) -> None:
    place = decide(found, Roots(), HOST)
    assert (place.roots, place.host, place.whole_machine) == (Roots(), None, False)


def test_with_shared_pids_the_root_of_the_first_process_is_the_host() -> None:
    place = decide(facts(SHARED_PIDS, process_root=Path("/proc/2/root")), Roots(), HOST)
    assert place.host == Path("/proc/2/root")
    assert (place.roots.proc, place.roots.run, place.roots.mounts) == (Path("/proc"), Path("/proc/2/root/run"), "2")


def test_with_shared_pids_and_no_way_to_files_our_own_procfs_is_read() -> None:
    place = decide(SHARED_PIDS, Roots(), HOST)
    assert (place.roots, place.host, place.whole_machine) == (Roots(), None, True)


def test_links_on_the_way_to_state_are_the_hosts(tmp_path: Path) -> None:
    (tmp_path / "mnt/state").mkdir(parents=True)
    (tmp_path / "var").symlink_to("/mnt/state")
    assert decide(facts(POD, mounted=ABOVE), Roots(), tmp_path).roots.var == tmp_path / "mnt/state"


def test_a_planted_host_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/1").mkdir()
    (tmp_path / "proc/self/status").write_text("NSpid:\t77\t7\n")
    (tmp_path / "run").mkdir()
    assert find_place(host=tmp_path) == find_place(host=tmp_path / "nothing")


def test_here_some_roots_are_found() -> None:
    assert (find_roots().proc / "self/status").exists()


def test_without_proc_nothing_is_found(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="mountinfo does not exist"):
        find_place(Roots.below(tmp_path))


@pytest.mark.parametrize(
    ("source", "point", "manager"),
    [
        (b"/var/lib/kubelet/pods/0b5c1f64-71a0-4c3e-8a53-2d1c6f0e9a11/etc-hosts", b"/etc/hosts", "pod"),
        (b"/pods/0b5c1f64-71a0-4c3e-8a53-2d1c6f0e9a11/containers/a/1f", b"/dev/termination-log", "pod"),
        (b"/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/%b/hostname" % ID, b"/etc/hostname", "pod"),
        (b"/var/lib/docker/containers/%b/resolv.conf" % ID, b"/etc/resolv.conf", "docker"),
        (b"/containers/%b/hosts" % ID, b"/etc/hosts", "docker"),
        (b"/run/containers/storage/overlay-containers/%b/userdata/hosts" % ID, b"/etc/hosts", "podman"),
        (b"/var/lib/docker/containers/%b/resolv.conf" % ID, b"/srv/etc/resolv.conf", None),
        (b"/etc/resolv.conf", b"/etc/resolv.conf", None),
    ],
)
def test_the_maker_of_a_container_is_known_by_what_it_mounts(source: bytes, point: bytes, manager: str | None) -> None:
    assert parse_manager(LINE % (source, point)) == manager


@given(damaged(LINE % (b"/containers/%b/hosts" % ID, b"/etc/hosts")))
def test_any_list_of_mounts_is_answered(data: bytes) -> None:
    assert parse_manager(data) in ("docker", None)


@pytest.mark.parametrize(("mode", "filtered"), [(b"0", False), (b"1", False), (b"2", True)])
def test_a_seccomp_filter_is_known(mode: bytes, filtered: bool) -> None:
    assert parse_filtered(b"NoNewPrivs:\t0\nSeccomp:\t%b\nSeccomp_filters:\t0\n" % mode) == filtered
