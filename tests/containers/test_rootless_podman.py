"""WorkloadsCollector against a real podman of an ordinary user, in a session's cgroup of a cgroup v2 of its own."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from whodunnet.collectors.workloads import WorkloadsCollector
from whodunnet.kernel.roots import Roots

from .images import APP, make_root_archive
from .node import wait_until
from .test_podman import FLAGS, LIMITS, SLEEP
from .traces import need, nothing_left, remove_cgroup, short_directory, unified

pytestmark = [pytest.mark.containers, pytest.mark.root]

USER = "games"
_SESSION = """
set -e
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/$1/p
chown -R $2: /sys/fs/cgroup/$1
echo $$ > /sys/fs/cgroup/$1/p/cgroup.procs
cd "$HOME"
exec setpriv --reuid=$2 --regid=$2 --clear-groups sh -ec "$3"
"""


class Session:
    """A user with a home directory and a session of its own."""

    def __init__(self, here: Path) -> None:
        self.user = pwd.getpwnam(USER)
        self.cgroup = f"user.slice/user-{self.user.pw_uid}.slice/user@{self.user.pw_uid}.service"
        self.home, self.run = here / "home", here / "run"
        for directory in (self.home, self.run):
            directory.mkdir()
            shutil.chown(directory, USER)
        self.archive = make_root_archive(here / "app.tar")

    def podman(self, name: str) -> dict[str, Any]:
        """Start a container; what `podman inspect` says of it."""
        podman = " ".join(("podman", *FLAGS))
        begin = f"run -d --name={name} --network=none --cgroup-parent=/{self.cgroup}/p {' '.join(LIMITS)}"
        script = f"{podman} import {self.archive} {APP} >&2\n{podman} {begin} {APP} {' '.join(SLEEP)} >&2\n"
        script += f"{podman} inspect {name}"
        done = subprocess.run(
            ["unshare", "--mount", "--net", "sh", "-c", _SESSION, "sh", self.cgroup, USER, script],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.run)},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (inspected,) = json.loads(done.stdout)
        assert isinstance(inspected, dict)
        return inspected


@pytest.fixture
def session() -> Iterator[Session]:
    """A user's session; skips where users may not make namespaces, or there is no cgroup v2 to be had."""
    need("podman", "conmon", "runc", "busybox", "setpriv", "unshare", "newuidmap")
    namespaces = ["setpriv", f"--reuid={USER}", "unshare", "--user", "true"]
    if subprocess.run(namespaces, capture_output=True, check=False).returncode != 0:
        pytest.skip("ordinary users may not make user namespaces here")
    mount = unified()
    with short_directory(0o755) as here, nothing_left(here, "user.slice"):
        made = Session(here)
        try:
            yield made
        finally:
            for pid in _processes_in(mount / made.cgroup):
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not _processes_in(mount / made.cgroup), "the session is empty")
            remove_cgroup(mount / made.cgroup)


def _processes_in(cgroup: Path) -> list[int]:
    return [int(pid) for path in cgroup.rglob("cgroup.procs") for pid in path.read_text().split()]


def test_a_users_container_is_named_by_the_users_own_podman(session: Session) -> None:
    inspected = session.podman("web")
    pid = inspected["State"]["Pid"]
    workload = WorkloadsCollector(Roots()).attribute([pid]).by_pid[pid]
    container = workload.container
    assert container is not None
    assert (container.id, container.name, container.runtime) == (inspected["Id"], "web", "podman")
    assert (container.image, workload.pod, workload.unit) == (APP, None, None)
    assert workload.process is not None
    assert container.started == workload.process.started
    assert container.cgroup.startswith(f"/{session.cgroup}/")
