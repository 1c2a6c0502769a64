"""Memory cgroups of a real kernel that were deleted while a file in memory is still charged to them."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from whodunnet.collectors.memory_cgroups import MemoryCgroupsCollector
from whodunnet.kernel.cgroupfs import read_hierarchies
from whodunnet.kernel.memory_cgroups import has_memory
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.memory_cgroups import MemoryCgroups

MANY = 300
DEADLINE_SECONDS = 15.0


def top() -> Path | None:
    """Where memory cgroups can be made."""
    hierarchies = read_hierarchies(Roots())
    if hierarchies.memory is not None:
        return hierarchies.memory.point
    unified = hierarchies.unified
    return unified.point if unified is not None and has_memory(unified) else None


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make cgroups"),
    pytest.mark.skipif(os.geteuid() == 0 and top() is None, reason="needs the memory controller"),
]


@pytest.fixture
def parent() -> Iterator[Path]:
    """A cgroup with the memory controller, in which others can be made."""
    place = top()
    assert place is not None
    made = place / f"whodunnet-{uuid.uuid4().hex[:8]}"
    made.mkdir()
    if (made / "cgroup.subtree_control").exists():
        (place / "cgroup.subtree_control").write_text("+memory")
        (made / "cgroup.subtree_control").write_text("+memory")
    yield made
    made.rmdir()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def collect() -> MemoryCgroups:
    return MemoryCgroupsCollector(Roots(), read_support(Roots())).collect()


def dying() -> int:
    found = collect().dying
    assert found is not None
    return found


def delete_with_a_file_charged(parent: Path, files: Path) -> None:
    """Make cgroups, have a process of each write a file, and delete them."""
    script = """
    for i in $(seq "$1"); do
        mkdir "$2/$i"
        sh -c 'echo $$ > "$0/cgroup.procs" && exec dd if=/dev/zero of="$1" bs=4k count=1 status=none' "$2/$i" "$3/$i"
        until rmdir "$2/$i" 2>/dev/null; do :; done
    done"""
    subprocess.run(["sh", "-c", script, "sh", str(MANY), parent, files], check=True, timeout=60)


def test_cgroups_in_use_are_counted_as_find_does() -> None:
    place = top()
    listed = subprocess.run(["find", str(place), "-type", "d"], check=True, capture_output=True, text=True).stdout
    found = collect()
    assert found.live is not None
    assert abs(found.live - len(listed.splitlines())) <= 2  # others may come and go meanwhile


def test_deleted_cgroups_are_dying_until_what_is_charged_to_them_is_gone(parent: Path, files: Path) -> None:
    before = dying()
    delete_with_a_file_charged(parent, files)
    kept = dying()
    assert kept - before >= 0.9 * MANY
    for path in files.iterdir():
        path.unlink()
    until = time.monotonic() + DEADLINE_SECONDS
    while dying() > kept - 0.9 * MANY:
        assert time.monotonic() < until, "deleted cgroups remain without anything charged to them"
        time.sleep(0.1)


def test_memory_stat_is_timed_where_few_are_dying() -> None:
    found = collect()
    if found.stat_spared:
        pytest.skip(f"{found.dying} memory cgroups are dying on this machine: memory.stat is spared")
    assert found.stat_seconds is not None
    assert 0 <= found.stat_seconds < 1
