"""The descriptors collector on a machine made of files, whose directories say no number."""

from __future__ import annotations

from pathlib import Path

import pytest

from whodunnet.collectors import descriptors
from whodunnet.collectors.descriptors import MANY, DescriptorsCollector
from whodunnet.errors import UnreadableError
from whodunnet.kernel.bpf.refusals import Refusals
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import read_support
from whodunnet.model.descriptors import RefusedFiles

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


def test_the_one_with_most_is_kept_however_far_its_own_limit_is(roots: Roots) -> None:
    for pid in range(100, 140):
        process(roots, pid, 40, "200")
    process(roots, 7, 90, "1000000")
    found = DescriptorsCollector(roots).collect()
    assert (len(found.fullest), found.fullest[-1].pid, found.fullest[-1].looked_at) == (descriptors.LISTED, 7, 0)


def test_near_the_limit_of_the_machine_it_is_looked_what_the_one_with_most_has(roots: Roots) -> None:
    process(roots, 7, 90, "1000000")
    process(roots, 8, 40, "200")
    (roots.proc / "sys/fs/file-nr").write_text("7200\t0\t9000\n")
    found = DescriptorsCollector(roots).collect()
    assert [(use.pid, use.sockets) for use in found.fullest] == [(8, 0), (7, 90)]


def test_one_that_is_full_is_kept_beside_many_above_their_limits_and_the_one_with_most(roots: Roots) -> None:
    for pid in range(100, 129):
        process(roots, pid, 40, "35")
    for pid in range(200, 210):
        process(roots, pid, 40, "200")
    process(roots, 7, 120, "1000000")
    process(roots, 8, 99)
    kept = DescriptorsCollector(roots).collect().fullest
    assert {7, 8} < {use.pid for use in kept}
    assert len(kept) == descriptors.LISTED


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


SHOP = RefusedFiles(pid=7, comm="shop", started_seconds=70.0, times=3)


class Watch:
    """Stands for the attached program."""

    attached = closed = 0
    broken = False

    def __init__(self, *_: object) -> None:
        type(self).attached += 1

    def read(self) -> Refusals:
        if self.broken:
            raise UnreadableError("gone")
        return Refusals((SHOP,), left_out=2)

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> type[Watch]:
    fresh = type("Fresh", (Watch,), {})
    monkeypatch.setattr(descriptors, "RefusalWatch", fresh)
    return fresh


def open_files(roots: Roots, number: int) -> None:
    (roots.proc / "sys/fs/file-nr").write_text(f"{number}\t0\t10000\n")


def test_nobody_is_watched_while_the_machine_is_far_from_its_limit(roots: Roots, watch: type[Watch]) -> None:
    collector = DescriptorsCollector(roots, read_support(Roots()))
    open_files(roots, 8_999)
    assert not any(collector.collect().refusals_watched for _ in range(2))
    assert watch.attached == 0


def test_who_is_refused_is_known_from_the_reading_after_the_first_that_is_near(
    roots: Roots, watch: type[Watch]
) -> None:
    collector = DescriptorsCollector(roots, read_support(Roots()))
    open_files(roots, 9_000)
    first, second, third = (collector.collect() for _ in range(3))
    assert (first.refusals_watched, first.refused, first.refused_left_out) == (False, (), 0)
    assert (second.refusals_watched, second.refused, second.refused_left_out) == (True, (SHOP,), 2)
    assert (third, watch.attached) == (second, 1)
    collector.close()
    assert watch.closed == 1


def test_the_watch_ends_with_the_need_and_what_it_saw_last_is_told(roots: Roots, watch: type[Watch]) -> None:
    collector = DescriptorsCollector(roots, read_support(Roots()))
    open_files(roots, 10_000)
    collector.collect()
    open_files(roots, 8_500)
    assert collector.collect().refused == (SHOP,)
    assert watch.closed == 0
    open_files(roots, 7_999)
    assert collector.collect().refused == (SHOP,)
    assert watch.closed == 1
    assert not collector.collect().refusals_watched


@pytest.mark.parametrize("error", [UnreadableError("not here"), OSError(23, "Too many open files in system")])
def test_without_bpf_nothing_is_said_and_it_is_not_tried_again(
    roots: Roots, watch: type[Watch], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tried = []

    def refuse(*_: object) -> None:
        tried.append(1)
        raise error

    open_files(roots, 10_000)
    unwatched = DescriptorsCollector(roots)
    assert not [sample for sample in (unwatched.collect(), unwatched.collect()) if sample.refusals_watched]
    monkeypatch.setattr(descriptors, "RefusalWatch", refuse)
    collector = DescriptorsCollector(roots, read_support(Roots()))
    found = [collector.collect() for _ in range(3)]
    assert {(sample.refusals_watched, sample.open_files) for sample in found} == {(False, 10_000)}
    assert (len(tried), watch.attached) == (1, 0)


def test_what_cannot_be_read_costs_no_more_than_itself(roots: Roots, watch: type[Watch]) -> None:
    watch.broken = True
    collector = DescriptorsCollector(roots, read_support(Roots()))
    open_files(roots, 10_000)
    found = [collector.collect() for _ in range(3)][-1]
    assert (found.refusals_watched, found.open_files) == (False, 10_000)
    assert (watch.attached, watch.closed) == (1, 1), "what was counted before a gap must not count again"


def test_what_failed_is_tried_again_when_the_machine_had_room(roots: Roots, watch: type[Watch]) -> None:
    collector = DescriptorsCollector(roots, read_support(Roots()))
    open_files(roots, 10_000)
    watch.broken = True
    for _ in range(3):
        collector.collect()
    watch.broken = False
    for number in (100, 10_000):
        open_files(roots, number)
        collector.collect()
    assert collector.collect().refused == (SHOP,)
    assert watch.attached == 2


def test_a_limit_that_cannot_be_read_neither_begins_nor_ends_it(roots: Roots, watch: type[Watch]) -> None:
    collector = DescriptorsCollector(roots, read_support(Roots()))
    (roots.proc / "sys/fs/file-nr").unlink()
    collector.collect()
    assert watch.attached == 0
    open_files(roots, 10_000)
    collector.collect()
    (roots.proc / "sys/fs/file-nr").unlink()
    unread = collector.collect()
    assert (unread.open_files, unread.refused) == (None, (SHOP,))
    assert (watch.attached, watch.closed) == (1, 0)
