"""Real pods: a containerd with CRI and a CNI bridge on a node of the lab, until the stage closes.

It has a view of the mounts of its own, so that these vanish with it. What else it leaves is taken away by a guard in a
session of its own (`python -m lab.containerd`), whether the stage closes or we are killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lab.containers import CGROUPS
from lab.images import BUSYBOX, archive
from lab.interpreter import inherited, with_python
from lab.look import NotThereError, wait_until
from lab.node import BRIDGE, GATEWAY, GATEWAY6, Node
from lab.stage import ROOT, Stage, session
from lab.who import Who

PROGRAMS = ("containerd", "ctr", "runc", "busybox")
PLUGINS = Path("/usr/lib/cni")
NEEDED_PLUGINS = ("bridge", "host-local", "loopback")
MODULES = ("grpc", "cri_api")
FIXED_PLACES = ("/run/containerd", "/var/lib/cni")
"""Compiled into containerd and CNI, whatever the configuration says."""

HOST_DIRECTORIES = ("/usr", "/lib", "/lib64", "/bin")
FIRST, LAST = "10.77.0.100", "10.77.0.199"
FIRST6, LAST6 = "fd77::100", "fd77::199"
OWN_VIEW = 'for place in {places}; do mount -t tmpfs none "$place"; done && exec containerd -c "$0"'
CONFIGURATION = """\
version = 2
root = "{here}/root"
state = "{here}/state"
disabled_plugins = [{disabled}]
[grpc]
  address = "{here}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{here}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{here}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{here}/runc"
"""


@dataclass(frozen=True)
class Contained:
    """A program in a container of a pod. uid: the pod's; its cgroup and its labels have it. address6: empty, if pods
    have none. log: what it prints, in the format of CRI."""

    comm: str
    pid: int
    container: str
    uid: str
    address: str
    address6: str
    log: Path

    @property
    def netns(self) -> Path:
        return Path(f"/proc/{self.pid}/ns/net")

    def who(self, state: str | None = None) -> Who:
        return Who(self.comm, frozenset(session(self.pid)), state, pod=self.uid)


class Containerd:
    """pods have an address on the node's bridge, or the node's own. ipv6: they have one of IPv6 too. Raises
    NotThereError where it cannot run."""

    def __init__(self, stage: Stage, node: Node, *, ipv6: bool = False) -> None:
        if absent := missing():
            raise NotThereError(f"no real pods here: {', '.join(absent)} not installed")
        from lab.cri import RuntimeClient

        self.here = stage.directory / "containerd"
        self.here.mkdir()
        self._ipv6 = ipv6
        self._guard = Guard(stage, self.here)
        self._write_files()
        own = ("unshare", "--mount", "--propagation", "private", "sh", "-c")
        view = OWN_VIEW.format(places=" ".join(FIXED_PLACES))
        stage.run(node.host, "containerd", *own, view, str(self.here / "config.toml"))
        self._cri = RuntimeClient(self.here / "containerd.sock", self.here / "logs")
        stage.undo.callback(self._cri.close)
        wait_until(self._cri.is_ready, 20, stage.logs)
        self._ctr("images", "import", str(self.here / "busybox.tar"))
        self._stage = stage

    def play(
        self, name: str, comm: str, function: Callable[..., None], *arguments: Any, host_network: bool = False
    ) -> Contained:
        """A function of a case, as the one container of a pod of its own."""
        uid = str(uuid.uuid4())
        self._guard.tell(f"pod {uid}")
        config = self._cri.sandbox_config(name, "shop", uid, host_network=host_network)
        sandbox = self._cri.run_sandbox(config)
        self._stage.undo.callback(self._cri.remove_sandbox, sandbox)
        actor = (comm, function.__module__, function.__name__, json.dumps(arguments))
        command = (sys.executable, "-m", "lab.actor", *actor)
        environment = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        container = self._cri.run_container(sandbox, config, comm, BUSYBOX, command, environment, mounts())
        pid = self._cri.container_pid(container)
        wait_until(partial(goes_by, pid, comm), 20, lambda: f"{comm} does not run: {self._said()}")
        four, six, *_ = (*self._cri.sandbox_addresses(sandbox), "", "")
        return Contained(comm, pid, container, uid, four, six, Path(config.log_directory) / f"{comm}.log")

    def pause(self, contained: Contained) -> None:
        """As `docker pause` does, until the stage closes."""
        self._ctr("tasks", "pause", contained.container)
        self._stage.undo.callback(self._ctr, "tasks", "resume", contained.container)

    def state(self, contained: Contained) -> str:
        """In containerd's own words: RUNNING, PAUSED, ..."""
        rows = (line.split() for line in self._ctr("tasks", "list").splitlines())
        return next(row[2] for row in rows if row[0] == contained.container)

    def _write_files(self) -> None:
        (self.here / "cni").mkdir()
        disabled = ", ".join(f'"io.containerd.snapshotter.v1.{name}"' for name in ("aufs", "btrfs", "devmapper", "zfs"))
        place = {"here": self.here, "image": BUSYBOX, "plugins": PLUGINS, "disabled": disabled}
        (self.here / "config.toml").write_text(CONFIGURATION.format(**place))
        (self.here / "cni" / "10-bridge.conflist").write_text(json.dumps(self._network()))
        archive(self.here / "busybox.tar", BUSYBOX, Path(shutil.which("busybox") or "").read_bytes())

    def _network(self) -> dict[str, object]:
        ranges = [[{"subnet": "10.77.0.0/24", "rangeStart": FIRST, "rangeEnd": LAST, "gateway": GATEWAY}]]
        routes = [{"dst": "0.0.0.0/0"}]
        if self._ipv6:
            ranges.append([{"subnet": "fd77::/64", "rangeStart": FIRST6, "rangeEnd": LAST6, "gateway": GATEWAY6}])
            routes.append({"dst": "::/0"})
        addresses = {
            "type": "host-local",
            "dataDir": str(self.here / "addresses"),
            "ranges": ranges,
            "routes": routes,
        }
        bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipam": addresses}
        return {"cniVersion": "0.4.0", "name": "lab", "plugins": [bridge]}

    def _ctr(self, *arguments: str) -> str:
        command = ["ctr", "-a", str(self.here / "containerd.sock"), "-n", "k8s.io", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def _said(self) -> str:
        return "\n".join(log.read_text(errors="replace")[-600:] for log in self.here.glob("logs/*/*.log"))


def missing() -> list[str]:
    """Programs, plugins and modules without which there are no pods."""
    programs = [name for name in PROGRAMS if shutil.which(name) is None]
    plugins = [f"CNI plugin {name}" for name in NEEDED_PLUGINS if not (PLUGINS / name).exists()]
    return [*programs, *plugins, *(f"Python module {name}" for name in MODULES if find_spec(name) is None)]


def mounts() -> list[str]:
    """Directories of the host with which this Python runs in a container as here, none of them within another."""
    wanted = (*HOST_DIRECTORIES, str(ROOT), sys.prefix, sys.base_prefix)
    return [path for path in dict.fromkeys(wanted) if not {*map(str, Path(path).parents)} & {*wanted}]


def goes_by(pid: int, comm: str) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() == comm


class Guard:
    """Is told what there will be, and takes it down when our end of its pipe closes."""

    def __init__(self, stage: Stage, here: Path) -> None:
        self._process = subprocess.Popen(
            with_python([sys.executable, "-P", "-m", "lab.containerd"]),
            stdin=subprocess.PIPE,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
            pass_fds=inherited(),
        )
        stage.undo.callback(self._process.communicate)
        self.tell(f"socket {here / 'containerd.sock'}")
        for place in map(Path, FIXED_PLACES):
            if not place.exists():
                self.tell(f"directory {place}")
                place.mkdir(parents=True)

    def tell(self, thing: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{thing}\n".encode())
        self._process.stdin.flush()


def take_down(things: list[tuple[str, str]]) -> None:
    """Processes in the pods' cgroups and the shims of our containerd, then the cgroups, then the directories."""
    uids = [name for kind, name in things if kind == "pod"]
    sockets = [name for kind, name in things if kind == "socket"]
    for cgroup in cgroups(uids):
        with suppress(OSError):
            (cgroup / "freezer.state").write_text("THAWED")
    wait_until(lambda: not kill([*uids, *sockets]), 20, lambda: f"pods {uids} are still there")
    for cgroup in cgroups(uids):
        for directory in (cgroup, *cgroup.parents[:2]):
            with suppress(OSError):
                directory.rmdir()
    for directory in (Path(name) for kind, name in things if kind == "directory"):
        with suppress(OSError):
            directory.rmdir()


def cgroups(uids: list[str]) -> Iterator[Path]:
    """Those of the pods in every hierarchy, children first."""
    for uid in uids:
        for pod in (*CGROUPS.glob(f"kubepods/*/pod{uid}"), *CGROUPS.glob(f"*/kubepods/*/pod{uid}")):
            yield from sorted((path for path in pod.rglob("*") if path.is_dir()), reverse=True)
            yield pod


def kill(words: list[str]) -> list[int]:
    """Whoever has one of the words in the name of its cgroup or in its command."""
    found = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if is_of(entry, words)]
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def is_of(process: Path, words: list[str]) -> bool:
    try:
        known_by = (process / "cgroup").read_text() + (process / "cmdline").read_text(errors="replace")
    except OSError:
        return False
    return any(word in known_by for word in words)


if __name__ == "__main__":
    told = sys.stdin.read().splitlines()
    take_down([(kind, name) for kind, _, name in (line.partition(" ") for line in told)])
