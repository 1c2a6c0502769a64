"""Debian's kernel packages, fetched with apt and unpacked into a cache; nothing is installed."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {"6.1": r"linux-image-6\.1\.0-[0-9]+-amd64", "6.12": r"linux-image-6\.12\.[0-9]+\+deb12-amd64"}
"""Names of the full packages; the cloud ones have no 9p."""
ARGUMENTS = {"6.1": "preempt=none", "6.12": ""}
"""For the command line of the kernel: 6.1 as clusters run it, 6.12 as Debian built it (PREEMPT_DYNAMIC, voluntary)."""

FETCH_SECONDS = 600


class NoKernelError(Exception):
    """apt has no such package, or it cannot be fetched; the text says why."""


@dataclass(frozen=True)
class Kernel:
    """One unpacked package. release: the key in PACKAGES."""

    release: str
    root: Path

    @property
    def image(self) -> Path:
        return next(self.root.glob("boot/vmlinuz-*"))

    @property
    def version(self) -> str:
        """What `uname -r` says there."""
        return self.image.name.removeprefix("vmlinuz-")

    def option(self, name: str) -> str | None:
        """Value of an option of the kernel's configuration ("HZ": "250"), None if it is not set."""
        text = (self.root / "boot" / f"config-{self.version}").read_text()
        found = re.search(rf"^CONFIG_{name}=(.*)$", text, re.MULTILINE)
        return found[1] if found else None

    @property
    def arguments(self) -> str:
        return ARGUMENTS[self.release]

    @property
    def module_directory(self) -> Path:
        """What modprobe looks into: /lib/modules/VERSION there."""
        return self.root / "lib/modules" / self.version

    def index_modules(self) -> None:
        """As the package does when it is installed: without it modprobe finds nothing. Raises NoKernelError."""
        if not (self.module_directory / "modules.dep.bin").exists():
            call("depmod", "--basedir", str(self.root), self.version)

    def modules(self, wanted: Iterable[str]) -> dict[str, bytes]:
        """The modules wanted and all they need, in the order to load them, without those the kernel has built in."""
        directory = self.module_directory
        files = {module_name(path): path for path in directory.rglob("*.ko*")}
        builtin = {module_name(Path(line)) for line in (directory / "modules.builtin").read_text().splitlines()}
        ordered: dict[str, bytes] = {}

        def add(name: str) -> None:
            if name in builtin or name in ordered:
                return
            content = read_module(files[name])
            for needed in needs(content):
                add(needed)
            ordered[name] = content

        for name in wanted:
            add(name)
        return ordered


def module_name(path: Path) -> str:
    """File names have dashes where the kernel has underscores."""
    return path.name.partition(".ko")[0].replace("-", "_")


def read_module(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


def needs(module: bytes) -> list[str]:
    """Modules that one needs to be loaded before, from its own description (section .modinfo: "depends=a,b")."""
    found = re.search(rb"\0depends=([a-z0-9_,-]*)\0", module, re.IGNORECASE)
    return [name.replace("-", "_") for name in found[1].decode().split(",") if name] if found else []


def kernel(release: str) -> Kernel:
    """The newest package of that release in the cache, else the newest that apt offers. Raises NoKernelError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whodunnet/kernels"
    cache.mkdir(parents=True, exist_ok=True)
    cached = newest((path.name for path in cache.iterdir() if path.is_dir()), PACKAGES[release])
    if cached is None:
        cached = offered(release)
        fetch(cached, cache)
    return Kernel(release, cache / cached)


def newest(names: Iterable[str], pattern: str) -> str | None:
    """The highest version among the names that match as a whole."""
    matching = [name for name in names if re.fullmatch(pattern, name)]
    return max(matching, key=lambda name: [int(number) for number in re.findall("[0-9]+", name)], default=None)


def offered(release: str) -> str:
    """What apt would give for a release. Raises NoKernelError."""
    if shutil.which("apt-cache") is None:
        raise NoKernelError("kernel packages are fetched with apt, which is not here")
    listed = call("apt-cache", "search", "--names-only", f"^{PACKAGES[release]}$")
    found = newest((line.split(" ")[0] for line in listed.splitlines()), PACKAGES[release])
    if found is None:
        raise NoKernelError(f"apt offers no package {PACKAGES[release]} (apt-get update?)")
    return found


def fetch(package: str, cache: Path) -> None:
    """Download and unpack; a directory appears in the cache only when it is complete. Raises NoKernelError."""
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        call("apt-get", "download", package, cwd=temporary)
        archive = next(Path(temporary).glob("*.deb"))
        call("dpkg-deb", "--extract", str(archive), f"{temporary}/unpacked")
        Path(temporary, "unpacked").rename(cache / package)


def call(*command: str, cwd: str | None = None) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd, timeout=FETCH_SECONDS)
    except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = getattr(error, "stderr", None) or ""
        raise NoKernelError(f"{command[0]} {command[1]} failed: {str(said).strip() or error}") from error
    return done.stdout
