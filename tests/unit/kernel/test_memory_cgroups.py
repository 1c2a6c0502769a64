"""Memory cgroups in made trees: counts, where the dying ones are, and what is the root."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.damage import COUNT, damaged
from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel import memory_cgroups
from whodunnet.kernel.cgroupfs import Hierarchy
from whodunnet.kernel.memory_cgroups import (
    count_directories,
    dying_below,
    is_root,
    parse_cgroup_stat,
    read_cgroup_stat,
    time_memory_stat,
)

STAT = b"nr_descendants 20\nnr_subsys_memory 21\nnr_dying_descendants 0\nnr_dying_subsys_memory 7\n"
DYING = "nr_dying_descendants"


def cgroups(top: Path, dying: dict[str, int]) -> Hierarchy:
    for name, n in dying.items():
        (top / name).mkdir(parents=True, exist_ok=True)
        (top / name / "cgroup.stat").write_text(f"nr_descendants 3\n{DYING} {n}\n")
    return Hierarchy(top, "/")


def test_cgroups_are_counted_with_the_root(tmp_path: Path) -> None:
    for name in ("a/b/c", "a/d", "e"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "memory.stat").write_text("")
    assert count_directories(tmp_path) == 6
    assert count_directories(tmp_path, 6) == 6
    assert count_directories(tmp_path, 5) is None


def test_a_hierarchy_that_is_not_there_is_no_hierarchy_with_one_cgroup(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist here"):
        count_directories(tmp_path / "memory")


def test_the_line_goes_down_to_where_most_are(tmp_path: Path) -> None:
    found = dying_below(
        cgroups(
            tmp_path,
            {"": 90, "system.slice": 10, "kubepods": 80, "kubepods/besteffort": 5, "kubepods/burstable": 75},
        ),
        DYING,
    )
    assert found == [("/kubepods", 80), ("/kubepods/burstable", 75)]


def test_paths_are_those_of_the_machine_where_a_part_is_mounted(tmp_path: Path) -> None:
    cgroups(tmp_path, {"a": 4})
    assert dying_below(Hierarchy(tmp_path, "/kubepods/pod1"), DYING) == [("/kubepods/pod1/a", 4)]


def test_no_more_cgroups_are_looked_at_than_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_cgroups, "CHILDREN_MAX", 3)
    asked: list[Path] = []
    monkeypatch.setattr(memory_cgroups, "read_cgroup_stat", lambda path: asked.append(path) or {DYING: 1})
    dying_below(cgroups(tmp_path, {f"{n}/{m}": 1 for n in range(2) for m in range(5)}), DYING)
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("files", "root"),
    [
        (["cgroup.controllers"], True), (["cgroup.controllers", "cgroup.type"], False),
        (["tasks", "release_agent"], True), (["tasks", "cgroup.sane_behavior"], True), (["tasks"], False),
    ],
)  # fmt: skip
def test_the_root_is_known_by_its_files(tmp_path: Path, files: list[str], root: bool) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert is_root(Hierarchy(tmp_path, "/")) is root


def test_a_read_is_timed(tmp_path: Path) -> None:
    (tmp_path / "memory.stat").write_text("anon 5\n" * 9999)
    assert 0 < time_memory_stat(tmp_path) < 10
    with pytest.raises(UnreadableError):
        time_memory_stat(tmp_path / "gone")


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,20}", fullmatch=True), COUNT, max_size=5))
def test_numbers_are_read_back_by_name(numbers: dict[str, int]) -> None:
    data = "".join(f"{name} {n}\n" for name, n in numbers.items()).encode()
    assert parse_cgroup_stat(data, "f") == numbers


@given(damaged(STAT))
def test_damaged_bytes_are_malformed_and_nothing_else(data: bytes) -> None:
    with suppress(MalformedError):
        assert all(n >= 0 for n in parse_cgroup_stat(data, "f").values())


def test_a_kernel_without_the_file_is_told_from_no_dying_cgroups(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist here"):
        read_cgroup_stat(tmp_path)
