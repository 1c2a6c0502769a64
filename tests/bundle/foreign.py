"""Runs the bundle in another root, as a user with certain rights would, and sees what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

PLACE = "/opt/whodunnet"
DEADLINE_SECONDS = 20.0
NO_MOUNTS = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
"""Root without CAP_SYS_ADMIN: no tmpfs of one's own, and a directory has to be found."""
APART = ("unshare", "--mount", "--propagation", "private", "sh", "-ec")
READ_ONLY = 'mount -o remount,bind,ro "$root"'
WITHOUT_BPF = "sockets were read without BPF"
Before = Callable[[], None]


@dataclass(frozen=True)
class Answer:
    """What it left: exit status, output, messages."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def used_bpf(self) -> bool:
        return not any(WITHOUT_BPF in text for text in self.document["limits"])


@dataclass
class Foreign:
    """A root with the bundle in a tmpfs at /opt, which is all that is added."""

    root: Path
    bundle: Path
    mark: str = field(default_factory=lambda: f"WHODUNNET_TEST_MARK={uuid4()}")

    def __enter__(self) -> Foreign:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.processes():
            os.kill(pid, 9)

    def start(
        self,
        *arguments: str,
        mounts: Sequence[str] = (),
        rights: Sequence[str] = (),
        user: int | None = None,
        environment: Sequence[str] = (),
        kernel: Sequence[str] = ("proc", "sysfs"),
        words: Sequence[str] = (),
        preexec: Before | None = None,
    ) -> subprocess.Popen[str]:
        """The process is the bundle itself, once the mounts are made; words stand before it, inside.

        kernel: the file systems of the kernel that the root has.
        """
        commands = [
            'mount --bind "$root" "$root"',
            'mount -t tmpfs none "$root/opt"',
            f'cp "$bundle" "$root{PLACE}"',
            *(f'mount -t {kind} none "$root/{kind[:4].removesuffix("f")}"' for kind in kernel),
            *mounts,
            'exec "$@"',
        ]
        inside = ["chroot", *([f"--userspec={user}:{user}"] if user else []), str(self.root), *words, PLACE, *arguments]
        variables = {"PATH": os.environ["PATH"], "root": str(self.root), "bundle": str(self.bundle)}
        empty = ("env", "-i", f"PATH={variables['PATH']}")
        return subprocess.Popen(
            [*APART, "; ".join(commands), "sh", *rights, *empty, self.mark, *environment, *inside],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
            preexec_fn=preexec,
        )

    def run(self, *arguments: str, **how: Any) -> Answer:
        """To its end. Never a traceback, and nothing left."""
        with self.start(*arguments, **how) as process:
            out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        self.assert_nothing_left()
        return Answer(process.returncode, out, err)

    def processes(self) -> list[int]:
        """Those that run in our name: the tool and its cleaner."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
            except OSError:
                continue  # it has ended meanwhile
        return found

    def left(self) -> list[str]:
        """Directories in the root, as far as they are no mounts of the run's own."""
        return [str(path) for path in self.root.rglob("whodunnet.??????")]

    def assert_nothing_left(self) -> None:
        wait_until(lambda: not self.processes() and not self.left(), lambda: f"{self.processes()} {self.left()}")


def place_of(process: subprocess.Popen[str]) -> str:
    """Where a started bundle has unpacked, as the kernel calls it; a tmpfs of its own is "/"."""
    program = Path(f"/proc/{process.pid}/exe")

    def name() -> str:
        assert process.poll() is None, process.communicate()
        return str(program.readlink())

    wait_until(lambda: name().endswith("/bin/whodunnet"), name)
    return name().removesuffix("bin/whodunnet")


def wait_until(true: Callable[[], object], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what()}"
        time.sleep(0.01)
