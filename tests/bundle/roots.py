"""Root file systems of other machines: busybox alone, musl, Debian 11."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

DEBIAN = "bullseye"
FETCH_SECONDS = 600
MUSL_PROGRAM = """
#include <stdio.h>
#include <unistd.h>
int main(int count, char **arguments)
{
    puts("musl");
    fflush(stdout);
    return count > 1 ? execv(arguments[1], arguments + 1) : 1;
}
"""


class NoRootError(Exception):
    """It cannot be made here; the text says why."""


def bare_root(path: Path) -> Path:
    """busybox in /bin, and where the bundle and the kernel's file systems are put; nothing else."""
    for name in ("bin", "opt", "proc", "sys"):
        (path / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "busybox", path / "bin/busybox")
    (path / "bin/sh").symlink_to("busybox")
    return path


def musl_root(path: Path) -> Path:
    """The bare root with musl as its C library, and a program linked to it. Raises NoRootError."""
    if shutil.which("musl-gcc") is None:
        raise NoRootError("musl-gcc is not installed")
    bare_root(path)
    loader = Path(f"/lib/ld-musl-{platform.machine()}.so.1")
    (path / "lib").mkdir()
    shutil.copy(loader, path / "lib" / loader.name)
    source = path / "then.c"
    source.write_text(MUSL_PROGRAM)
    subprocess.run(["musl-gcc", str(source), "-o", str(path / "bin/then")], check=True)
    source.unlink()
    return path


def debian_root(path: Path) -> Path:
    """Debian 11 by debootstrap, from a cache; itself never written to. Raises NoRootError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whodunnet/roots"
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / DEBIAN).exists():
        fetch_debian(cache)
    shutil.copytree(cache / DEBIAN, path, symlinks=True, ignore=shutil.ignore_patterns("doc", "locale", "apt", "dev"))
    return path


def fetch_debian(cache: Path) -> None:
    if shutil.which("debootstrap") is None:
        raise NoRootError("debootstrap is not installed")
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        made = Path(temporary, "root")
        command = ["debootstrap", "--variant=minbase", DEBIAN, str(made)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=FETCH_SECONDS)
        if done.returncode:
            raise NoRootError(f"debootstrap of {DEBIAN}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
        made.rename(cache / DEBIAN)
