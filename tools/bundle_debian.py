"""Which Debian packages the bundled files came from, and under which licences."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FORMAT = "${Package}\t${Version}\t${Architecture}\n"


@dataclass(frozen=True, order=True)
class Package:
    """distribution: "debian-12"."""

    name: str
    version: str
    architecture: str
    distribution: str

    @property
    def copyright(self) -> Path:
        return Path("/usr/share/doc", self.name, "copyright")


def packages_of(files: Iterable[Path]) -> list[Package]:
    """The installed packages that own the files; a file that none owns is left out, and so is all where dpkg is not."""
    if shutil.which("dpkg-query") is None:
        return []
    ways = sorted({str(way) for path in files for way in names_of(path)})
    listed = query("--search", *ways)
    names = sorted({name for line in re.findall(r"^(.+): /", listed, re.MULTILINE) for name in line.split(", ")})
    release = platform.freedesktop_os_release()
    distribution = f"{release['ID']}-{release.get('VERSION_ID', 'unknown')}"
    rows = query("--show", f"--showformat={FORMAT}", *names).splitlines() if names else []
    return sorted({Package(name, *rest, distribution) for name, *rest in (row.split("\t") for row in rows)})


def names_of(path: Path) -> set[Path]:
    """A package may list a file below /lib that a merged /usr shows below /usr/lib, or the other way round."""
    real = path.resolve()
    merged = {Path("/", way.relative_to("/usr")) for way in (path, real) if way.is_relative_to("/usr")}
    return {path, real} | merged | {Path("/usr", way.relative_to("/")) for way in (path, real)}


def query(*arguments: str) -> str:
    """Standard output of dpkg-query(1), which fails already when one of many is unknown."""
    return subprocess.run(["dpkg-query", *arguments], check=False, capture_output=True, text=True).stdout


def add_licences(packages: Iterable[Package], target: Path) -> None:
    target.mkdir()
    for package in packages:
        shutil.copyfile(package.copyright, target / package.name)
