"""What a runtime leaves behind in places that are not ours, and how it is taken away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from .node import wait_until

CGROUPS = Path("/sys/fs/cgroup")


def need(*programs: str) -> None:
    """Skip with the reason where a real runtime cannot be used."""
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def run(*argv: str | Path) -> str:
    """What a program prints; AssertionError with what it complains of."""
    done = subprocess.run(
        [str(word) for word in argv], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, f"{argv[0]}: {done.stderr or done.stdout}"
    return done.stdout.strip()


@contextmanager
def nothing_left(here: Path, *cgroups: str) -> Iterator[None]:
    """Whatever happens inside: afterwards no process or mount is there that came with `here`, and none of `cgroups`.

    cgroups: names of cgroups at the top; those that were there before stay.
    """
    before = set(_tops(cgroups))
    try:
        yield
    finally:
        left = [pid for pid in _pids() if _mentions(pid, here)]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(_mentions(pid, here) for pid in left), f"processes of {here} are gone")
        for point in reversed([point for point in _mount_points() if point.startswith(f"{here}/")]):
            run("umount", "--lazy", point)
        for top in set(_tops(cgroups)) - before:
            remove_cgroup(top)


@contextmanager
def short_directory(mode: int = 0o700) -> Iterator[Path]:
    """A directory with a short path: podman allows 50 characters for some."""
    with tempfile.TemporaryDirectory(prefix="w-") as name:
        Path(name).chmod(mode)
        yield Path(name)


def unified() -> Path:
    """Where cgroup v2 is mounted; skips where it is not."""
    mounts = [CGROUPS / "unified", CGROUPS]
    mount = next((path for path in mounts if (path / "cgroup.procs").exists()), None)
    if mount is None:
        pytest.skip("no cgroup v2 hierarchy is mounted")
    return mount


def remove_cgroup(top: Path) -> None:
    """Remove a cgroup and those below it; one that is in use by somebody stays."""
    for path in sorted([top, *(p for p in top.rglob("*") if p.is_dir())], reverse=True):
        with suppress(OSError):
            path.rmdir()


def _tops(names: Iterable[str]) -> list[Path]:
    hierarchies = [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]
    paths = (top / name for top in (CGROUPS, *hierarchies) for name in names)
    return [path for path in paths if path.is_dir()]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if int(path.name) != os.getpid()]


def _mentions(pid: int, here: Path) -> bool:
    """Whether a process was started with this directory in an argument, as daemons, shims and conmon are."""
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
        return state != "Z" and os.fsencode(here) + b"/" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _mount_points() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
