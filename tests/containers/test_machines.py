"""WorkloadsCollector against real containers of runc, LXC and systemd-nspawn, which keep names but no images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.kernel.roots import Roots
from whodunnet.model.workload import Container, Workload

from .images import unpack_root
from .node import wait_until
from .traces import need, nothing_left, remove_cgroup, run, unified

pytestmark = [pytest.mark.containers, pytest.mark.root]

CLOCK_SLACK_SECONDS = 2.0
JOB, LXC, MACHINE = "night.job+1", "whodunnet-lxc", "whodunnet-nspawn"


def attribute(pid: int) -> Workload:
    return WorkloadsCollector(Roots()).attribute([pid]).by_pid[pid]


@pytest.mark.parametrize("cgroup", ["/whodunnet/nightly", "/whodunnet/of.service/some.slice"])
def test_a_container_of_runc_is_found_by_its_cgroup(tmp_path: Path, cgroup: str) -> None:
    need("runc", "busybox")
    unpack_root(tmp_path / "rootfs")
    run("runc", "spec", "--bundle", tmp_path)
    spec = json.loads((tmp_path / "config.json").read_text())
    spec["process"] |= {"args": ["/busybox", "sleep", "1000000"], "terminal": False, "rlimits": []}
    spec["linux"]["cgroupsPath"] = cgroup
    (tmp_path / "config.json").write_text(json.dumps(spec))
    with nothing_left(tmp_path, "whodunnet"):
        try:
            subprocess.run(["runc", "run", "-d", "--bundle", str(tmp_path), JOB], check=True, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            state = json.loads(run("runc", "state", JOB))
            workload = attribute(state["pid"])
        finally:
            run("runc", "delete", "--force", JOB)
    assert workload.process is not None
    expected = Container(id=JOB, name=JOB, runtime="runc", cgroup=cgroup, started=workload.process.started)
    assert (workload.container, workload.pod, workload.unit) == (expected, None, None)
    created = datetime.fromisoformat(state["created"]).astimezone(UTC)
    assert expected.started is not None
    assert abs((expected.started - created).total_seconds()) < CLOCK_SLACK_SECONDS


@contextmanager
def lxc(here: Path) -> Iterator[int]:
    """A running container of LXC; its first process."""
    where = ("-P", str(here), "-n", LXC)
    (here / LXC).mkdir()
    settings = {
        "uts.name": LXC,
        "rootfs.path": f"dir:{unpack_root(here / LXC / 'rootfs')}",
        "net.0.type": "empty",
        "apparmor.profile": "unconfined",
        "init.cmd": "/busybox sleep 1000000",
        "mount.auto": "proc:mixed",
        "tty.max": "0",
        "pty.max": "0",
    }
    (here / LXC / "config").write_text("".join(f"lxc.{name} = {value}\n" for name, value in settings.items()))
    try:
        run("lxc-start", *where)
        run("lxc-wait", *where, "-s", "RUNNING", "-t", "10")
        yield int(run("lxc-info", *where, "-p", "-H"))
    finally:
        run("lxc-stop", *where, "-k")


def test_a_container_of_lxc_is_found_by_its_cgroup(tmp_path: Path) -> None:
    need("lxc-start", "lxc-info", "busybox")
    with nothing_left(tmp_path, "lxc.pivot", f"lxc.payload.{LXC}", f"lxc.monitor.{LXC}"), lxc(tmp_path) as pid:
        workload = attribute(pid)
        monitor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
        outside = attribute(monitor)
    assert workload.container == Container(id=LXC, name=LXC, runtime="lxc", cgroup=f"/lxc.payload.{LXC}")
    assert (workload.pod, workload.unit) == (None, None)
    assert outside.container is None


_NSPAWN = """
set -e
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$1"
echo $$ > "/sys/fs/cgroup/$1/cgroup.procs"
exec systemd-nspawn --quiet --register=no --keep-unit --directory="$2" --machine="$3" /busybox sleep 1000000
"""


def test_a_machine_of_nspawn_is_found_by_its_cgroup(tmp_path: Path) -> None:
    need("systemd-nspawn", "unshare", "busybox")
    mount = unified()
    root = unpack_root(tmp_path / "root")
    (root / "etc/os-release").touch()
    service = rf"machine.slice/systemd-nspawn@{MACHINE.replace('-', chr(92) + 'x2d')}.service"
    with nothing_left(tmp_path, "machine.slice"):
        argv = ["unshare", "--net", "--mount", "sh", "-c", _NSPAWN, "sh", service, str(root), MACHINE]
        nspawn = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        payload = mount / service / "payload/cgroup.procs"
        try:
            wait_until(lambda: nspawn.poll() is not None or (payload.exists() and payload.read_text() != ""), "it runs")
            assert nspawn.poll() is None, nspawn.stderr and nspawn.stderr.read()
            inside, outside = attribute(int(payload.read_text().split()[0])), attribute(nspawn.pid)
        finally:
            for pid in payload.read_text().split() if payload.exists() else []:
                os.kill(int(pid), signal.SIGKILL)
            nspawn.terminate()
            nspawn.communicate(timeout=20)
            remove_cgroup(mount / service)
    assert inside.container == Container(id=MACHINE, name=MACHINE, runtime="nspawn", cgroup=f"/{service}/payload")
    assert (outside.container, outside.unit) == (None, Path(service).name)
