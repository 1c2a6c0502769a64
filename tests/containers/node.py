"""One node of its own: a network namespace with containerd, runc and a CNI bridge, all in one directory."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from .cri import RuntimeClient
from .images import PAUSE, make_images

NEEDED_PROGRAMS: Final = ("containerd", "ctr", "runc", "ip", "nsenter", "umount", "gcc", "busybox")
CNI_PLUGINS: Final = Path("/usr/lib/cni")
_FIXED_PLACES: Final = tuple(  # compiled into containerd and CNI, whatever the configuration says; children first
    Path(path) for path in ("/run/containerd/s", "/run/containerd", "/var/lib/cni/results", "/var/lib/cni")
)
_NETNS_DIRECTORY: Final = Path("/run/netns")

_CONFIGURATION = """\
version = 2
root = "{here}/root"
state = "{here}/state"
disabled_plugins = [{disabled}]
[grpc]
  address = "{here}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{here}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_plugins}"
    conf_dir = "{here}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{here}/runc-with-slices"
      Root = "{here}/runc"
"""

_RUNC_WITH_SLICES = """\
#!{python} -I
# runc, but a systemd cgroup path ("a-b.slice:cri-containerd:ID") becomes the directories that systemd would make.
import json, os, sys
from pathlib import Path
if "create" in sys.argv and "--bundle" in sys.argv:
    config = Path(sys.argv[sys.argv.index("--bundle") + 1], "config.json")
    spec = json.loads(config.read_text())
    slice_, colon, scope = spec["linux"].get("cgroupsPath", "").partition(":")
    if colon:
        words = slice_.removesuffix(".slice").split("-")
        slices = ["-".join(words[: n + 1]) + ".slice" for n in range(len(words))]
        spec["linux"]["cgroupsPath"] = "/" + "/".join(slices) + "/" + scope.replace(":", "-") + ".scope"
        config.write_text(json.dumps(spec))
os.execv("{runc}", ["runc", *sys.argv[1:]])
"""


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Poll until `condition` holds; AssertionError with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class Node:
    """Starts containerd in a network namespace of its own; `stop` takes away everything that came with it."""

    def __init__(self, here: Path) -> None:
        self.here = here
        self.netns = f"whodunnet-{os.getpid()}"
        self.pod_uids: list[str] = []
        self.existed = {path for path in (*_FIXED_PLACES, *_cgroup_parents()) if path.exists()}
        self.log = (here / "containerd.log").open("wb")
        self._write_files()
        _run("ip", "netns", "add", self.netns)
        _run("ip", "-n", self.netns, "link", "set", "lo", "up")
        self.containerd = subprocess.Popen(
            ["nsenter", f"--net={_NETNS_DIRECTORY / self.netns}", "containerd", "-c", str(here / "config.toml")],
            stdout=self.log,
            stderr=self.log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.cri = RuntimeClient(here / "containerd.sock", here / "logs")

    def prepare(self) -> None:
        """Wait for containerd and give it the images."""
        wait_until(self.cri.is_ready, f"containerd ready, see {self.here}/containerd.log")
        for archive in make_images(self.here):
            _run("ctr", "-a", str(self.here / "containerd.sock"), "-n", "k8s.io", "images", "import", str(archive))

    def stop(self) -> None:
        """Remove pods, containerd, what crashed shims left, mounts, the namespace, and cgroups."""
        try:
            for sandbox in self.cri.sandboxes():
                self.cri.remove_sandbox(sandbox)
        finally:
            self.cri.close()
            self.containerd.terminate()
            self.containerd.wait(timeout=20)
            self.log.close()
            self._kill_left_shims()
            self._remove_left_files()
            self._unmount()
            _run("ip", "netns", "del", self.netns)
            self._remove_directories()

    def _write_files(self) -> None:
        (self.here / "cni").mkdir()
        disabled = ", ".join(f'"io.containerd.snapshotter.v1.{name}"' for name in ("aufs", "btrfs", "devmapper", "zfs"))
        (self.here / "config.toml").write_text(
            _CONFIGURATION.format(here=self.here, pause=PAUSE, cni_plugins=CNI_PLUGINS, disabled=disabled)
        )
        (self.here / "cni/10-bridge.conflist").write_text(json.dumps(self._network()))
        wrapper = self.here / "runc-with-slices"
        wrapper.write_text(_RUNC_WITH_SLICES.format(python=sys.executable, runc=shutil.which("runc")))
        wrapper.chmod(0o755)

    def _network(self) -> dict[str, object]:
        addresses = {
            "type": "host-local",
            "dataDir": str(self.here / "addresses"),
            "ranges": [[{"subnet": "10.88.77.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": addresses}
        return {"cniVersion": "0.4.0", "name": self.netns, "plugins": [bridge]}

    def _kill_left_shims(self) -> None:
        """Kill what a crash left: our containerd's shims with their children, the first processes of containers."""
        shims = [process for process in Path("/proc").glob("[0-9]*") if self._is_our_shim(process)]
        children = [pid for shim in shims for path in shim.glob("task/*/children") for pid in path.read_text().split()]
        left = [*children, *(shim.name for shim in shims)]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: not any(Path("/proc", pid).exists() for pid in left), "killed processes are gone")

    def _is_our_shim(self, process: Path) -> bool:
        try:
            argv = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        name = Path(os.fsdecode(argv[0])).name
        return name.startswith("containerd-shim") and os.fsencode(self.here / "containerd.sock") in argv

    def _remove_left_files(self) -> None:
        """What a crash left outside of our directory: the shims' sockets and the notes of CNI."""
        for bundle in self.here.glob("state/io.containerd.runtime.v2.task/*/*"):
            if (bundle / "address").exists():
                Path((bundle / "address").read_text().removeprefix("unix://")).unlink(missing_ok=True)
            for result in Path("/var/lib/cni/results").glob(f"*-{bundle.name}-*"):
                result.unlink()

    def _unmount(self) -> None:
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for point in reversed([point for point in points if point.startswith(f"{self.here}/")]):
            _run("umount", "--lazy", point)

    def _remove_directories(self) -> None:
        """Give back only what we made; rmdir refuses whatever somebody else uses by now."""
        parents = [parent for parent in _cgroup_parents() if parent.exists()]
        below = [path for parent in parents for path in parent.rglob("*") if path.is_dir()]
        for path in sorted((path for path in below if any(uid in str(path) for uid in self.pod_uids)), reverse=True):
            path.rmdir()
        shared = sorted((path for path in below if path.exists()), reverse=True)
        for path in (*shared, *parents, *_FIXED_PLACES):
            if not any(path == old or path.is_relative_to(old) for old in self.existed):
                with suppress(OSError):
                    path.rmdir()


def _cgroup_parents() -> Iterator[Path]:
    """The directories in every cgroup hierarchy below which the pods of this node are."""
    hierarchies = [Path("/sys/fs/cgroup"), *(path for path in Path("/sys/fs/cgroup").iterdir() if path.is_dir())]
    return (path / name for path in hierarchies for name in ("kubepods", "kubepods.slice"))


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
