"""What is carried, and the roots it is carried to."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .foreign import Foreign
from .roots import NoRootError, bare_root, debian_root, musl_root

PROJECT = Path(__file__).parents[2]
SOURCES = ("src", "bpf", "lab", "tools", "docs/rules", "pyproject.toml", "setup.py", "requirements-dev.lock")
NEEDED_PROGRAMS = ("busybox", "chroot", "ip", "setpriv", "unshare")
BUILT = ("__pycache__", "objects", "pages", "whodunnet.egg-info")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.bundle)


@pytest.fixture(scope="session", autouse=True)
def possible() -> None:
    if os.geteuid() != 0:
        pytest.skip("other roots need chroot and mount: needs root")
    missing = [program for program in NEEDED_PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def dist() -> Path:
    """dist/, built anew if a source is newer."""
    made = PROJECT / "dist/SHA256SUMS"
    bundles = list(made.parent.glob(f"whodunnet-*-linux-{platform.machine()}"))
    if not bundles or not made.exists() or made.stat().st_mtime < newest_source():
        subprocess.run(["make", "--silent", "-C", str(PROJECT), "bundle"], check=True)
    return made.parent


def newest_source() -> float:
    """Seconds since the epoch."""
    trees = [PROJECT / name for name in SOURCES]
    files = [f for t in trees for f in (t.rglob("*") if t.is_dir() else [t]) if not set(BUILT) & set(f.parts)]
    return max(f.stat().st_mtime for f in files if f.is_file() and f.suffix != ".so")


@pytest.fixture(scope="session")
def bundle(dist: Path) -> Path:
    return next(dist.glob(f"whodunnet-*-linux-{platform.machine()}"))


@pytest.fixture
def bare(tmp_path: Path, bundle: Path) -> Iterator[Foreign]:
    """Nothing but a static busybox, /proc and /sys: no /tmp, no /dev, no C library."""
    yield from entered(bare_root, tmp_path / "bare", bundle)


@pytest.fixture
def musl(tmp_path: Path, bundle: Path) -> Iterator[Foreign]:
    yield from entered(musl_root, tmp_path / "musl", bundle)


@pytest.fixture(params=[bare_root, musl_root, debian_root], ids=["busybox", "musl", "debian-11"])
def foreign(request: pytest.FixtureRequest, tmp_path: Path, bundle: Path) -> Iterator[Foreign]:
    yield from entered(request.param, tmp_path / "root", bundle)


def entered(make: Callable[[Path], Path], path: Path, bundle: Path) -> Iterator[Foreign]:
    try:
        root = make(path)
    except NoRootError as error:
        pytest.skip(str(error))
    with Foreign(root, bundle) as foreign:
        yield foreign
