"""A real dockerd with everything of its own in one directory, in a network namespace of its own."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from .images import APP, HOST_MOUNTS, make_root_archive
from .node import wait_until
from .traces import run

NEEDED_PROGRAMS = ("dockerd", "docker", "containerd", "runc", "unshare", "ip", "busybox")
PID_FILE = Path("/run/docker.pid")
"""Where dockerd writes it if not told otherwise, and where its data root can be learned from."""


_FIXED_PLACES = (Path("/run/docker/plugins"), Path("/run/docker"))


class Dockerd:
    """Starts dockerd; `stop` removes its containers and ends it."""

    def __init__(self, here: Path) -> None:
        self.here = here
        self._made = [path for path in _FIXED_PLACES if not path.exists()]
        self._docker = ("docker", "-H", f"unix://{here}/sock")
        settings = here / "settings.json"
        settings.write_text(json.dumps({"deprecated-key-path": str(here / "key.json")}))  # else in /etc/docker
        command = ["dockerd", f"--config-file={settings}", f"--data-root={here}/data", f"--exec-root={here}/exec"]
        command += [f"--host=unix://{here}/sock", "--bridge=none", "--iptables=false", "--ip-masq=false"]
        self.log = (here / "log").open("wb")
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command],
            stdout=self.log,
            stderr=self.log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def prepare(self) -> None:
        """Wait for it and give it the image."""
        wait_until(lambda: self._answers(), f"dockerd answers, see {self.here}/log")
        run(*self._docker, "import", make_root_archive(self.here / "app.tar"), APP)

    def stop(self) -> None:
        """Remove every container, end dockerd."""
        if self._answers():
            for identifier in run(*self._docker, "ps", "-aq").split():
                run(*self._docker, "rm", "--force", identifier)
        self.process.terminate()
        self.process.wait(timeout=20)
        self.log.close()
        for path in self._made:
            with suppress(OSError):
                path.rmdir()

    def start(self, name: str, *argv: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
        """Run a container of the application image; what `docker inspect` says of it."""
        mounts = [f"--volume={path}:{path}:ro" for path in HOST_MOUNTS]
        run(*self._docker, "run", "-d", f"--name={name}", "--network=none", *mounts, *options, APP, *argv)
        return self.inspect(name)

    def restart(self, name: str) -> dict[str, Any]:
        """Stop and start a container; what `docker inspect` says of it then."""
        run(*self._docker, "restart", "--time=0", name)
        return self.inspect(name)

    def inspect(self, name: str) -> dict[str, Any]:
        """What Docker itself says of a container."""
        (found,) = json.loads(run(*self._docker, "inspect", name))
        assert isinstance(found, dict)
        return found

    def _answers(self) -> bool:
        done = subprocess.run([*self._docker, "version"], capture_output=True, check=False)
        return done.returncode == 0
