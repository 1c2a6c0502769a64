"""The descriptors collector on a machine made of files, whose directories say no number."""

from __future__ import annotations

from pathlib import Path

import pytest

from whodunnet.collectors import descriptors
from whodunnet.collectors.descriptors import MANY, DescriptorsCollector
from whodunnet.kernel.roots import Roots

LIMITS = "Limit                     Soft Limit           Hard Limit           Units\n"
STAT = "{pid} ({comm}) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 {ticks} 1 1 1"


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    proc = tmp_path / "proc"
    (proc / "sys/fs").mkdir(parents=True)
    (proc / "sys/fs/file-nr").write_text("4000\t0\t9000\n")
    return Roots.below(tmp_path)


def process(roots: Roots, pid: int, opened: int, limit: str = "100", *, sockets: bool = True) -> None:
    directory = roots.proc / str(pid)
    (directory / "fd").mkdir(parents=True)
    for n in range(opened):
        (directory / "fd" / str(n)).symlink_to("socket:[9]" if sockets else "/dev/null")
    (directory / "limits").write_text(
        f"{LIMITS}Max open files            {limit}                 {limit}       files\n"
    )
    (directory / "stat").write_text(STAT.format(pid=pid, comm=f"app{pid}", ticks=100 * pid))


def test_processes_nearest_to_their_limits_come_first(roots: Roots) -> None:
    process(roots, 7, 90)
    process(roots, 8, 99, sockets=False)
    process(roots, 9, 80, "1000")
    found = DescriptorsCollector(roots).collect()
    assert [(use.pid, use.open, use.limit) for use in found.fullest] == [(8, 99, 100), (7, 90, 100), (9, 80, 1000)]
    assert (found.fullest[0].files, found.fullest[0].sockets, found.fullest[1].sockets) == (99, 0, 90)
    assert found.fullest[0].comm == "app8"
    assert (found.processes, found.open_files, found.max_files) == (3, 4000, 9000)


def test_far_from_the_limit_nobody_looks_what_they_are(roots: Roots) -> None:
    process(roots, 9, 80, "1000")
    assert DescriptorsCollector(roots).collect().fullest[0].looked_at == 0


def test_with_a_few_descriptors_the_limit_is_not_read(roots: Roots) -> None:
    process(roots, 7, MANY - 1, str(MANY - 1))
    (roots.proc / "7/limits").unlink()
    assert DescriptorsCollector(roots).collect().fullest == ()


def test_without_a_limit_there_is_no_share(roots: Roots) -> None:
    process(roots, 7, 90, "unlimited")
    assert DescriptorsCollector(roots).collect().fullest == ()


def test_what_is_beyond_the_bound_is_counted(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "LISTED", 1)
    process(roots, 7, 90)
    process(roots, 8, 85)
    process(roots, 9, 70)
    found = DescriptorsCollector(roots).collect()
    assert ([use.pid for use in found.fullest], found.near_left_out) == ([7], 1)


def collected(roots: Roots) -> tuple[list[int], int]:
    found = DescriptorsCollector(roots).collect()
    return [use.pid for use in found.fullest], found.near_left_out


def test_those_above_their_limit_leave_room_for_one_that_is_full(roots: Roots) -> None:
    for pid in range(100, 132):
        process(roots, pid, 40, "1")
    process(roots, 7, 100)
    process(roots, 8, 40)
    assert collected(roots) == ([*range(100, 131), 7], 1)


def test_those_above_their_limit_leave_room_for_the_nearest_of_the_others(roots: Roots) -> None:
    """However far from its limit: it shows that nobody else is nearer."""
    for pid in range(100, 132):
        process(roots, pid, 40, "1")
    process(roots, 8, 40)
    process(roots, 9, 40, "200")
    assert collected(roots) == ([*range(100, 131), 8], 1)


def test_one_that_is_just_above_its_limit_has_room_behind_sandboxes(roots: Roots) -> None:
    for pid in range(100, 108):
        process(roots, pid, 40, "1")
    process(roots, 7, 110)
    process(roots, 8, 40, "1000")
    assert collected(roots) == ([*range(100, 108), 7, 8], 0)


@pytest.mark.parametrize(
    ("above", "full", "listed", "left_out"),
    [(8, 24, (8, 24), 0), (9, 23, (9, 23), 0), (9, 24, (8, 24), 1), (20, 25, (8, 24), 13), (3, 30, (3, 29), 1)],
)
def test_of_those_above_their_limit_eight_have_room_in_any_case_and_more_what_the_full_ones_leave(
    roots: Roots, above: int, full: int, listed: tuple[int, int], left_out: int
) -> None:
    for pid in range(100, 100 + above):
        process(roots, pid, 40, "1")
    for pid in range(200, 200 + full):
        process(roots, pid, 40, "40")
    process(roots, 8, 40, "1000")
    found, missing = collected(roots)
    assert (sum(pid < 200 for pid in found if pid >= 100), sum(pid >= 200 for pid in found), missing) == (
        *listed, left_out,
    )  # fmt: skip


def test_a_process_that_goes_meanwhile_is_left_out(roots: Roots) -> None:
    process(roots, 7, 90)
    (roots.proc / "7/stat").unlink()
    assert DescriptorsCollector(roots).collect().fullest == ()


def test_without_file_nr_the_machines_number_is_not_known(roots: Roots) -> None:
    (roots.proc / "sys/fs/file-nr").unlink()
    found = DescriptorsCollector(roots).collect()
    assert (found.open_files, found.max_files) == (None, None)
