"""kernel.cpu_quota: cpu.stat and the quota of a cgroup, v1 and v2, as kernels write them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given

from whodunnet.errors import MalformedError, UnreadableError
from whodunnet.kernel.cgroupfs import Hierarchy
from whodunnet.kernel.cpu_quota import (
    Throttling,
    above,
    has_cpu,
    parse_cpu_max,
    parse_cpu_stat,
    read_quota,
    version_of,
)

from .damage import damaged

V1 = b"nr_periods 152\nnr_throttled 61\nthrottled_time 4913042277\nnr_bursts 0\nburst_time 0\n"
V2 = (
    b"usage_usec 5100\nuser_usec 4000\nsystem_usec 1100\ncore_sched.force_idle_usec 0\nnr_periods 152\n"
    b"nr_throttled 61\nthrottled_usec 4913042\nnr_bursts 0\nburst_usec 0\n"
)
V2_ROOT = b"usage_usec 5100\nuser_usec 4000\nsystem_usec 1100\n"


@pytest.mark.parametrize("data", [V1, V2])
def test_both_versions_say_the_same_in_microseconds(data: bytes) -> None:
    assert parse_cpu_stat(data, "cpu.stat") == Throttling(152, 61, 4_913_042)


@pytest.mark.parametrize("data", [V2_ROOT, b""])
def test_the_root_has_no_quota_to_count(data: bytes) -> None:
    assert parse_cpu_stat(data, "cpu.stat") is None


@pytest.mark.parametrize(
    ("data", "item"),
    [
        (b"nr_periods x\n", "nr_periods"),
        (b"nr_periods\n", "nr_periods"),
        (b"nr_periods 1 2\n", "nr_periods"),
        (b"nr_periods 5\nnr_throttled 1\n", "lacks"),
        (b"nr_periods 5\nthrottled_usec 1\n", "lacks"),
    ],
)
def test_another_form_is_malformed_and_named(data: bytes, item: str) -> None:
    with pytest.raises(MalformedError, match=item):
        parse_cpu_stat(data, "cpu.stat")


def test_a_counter_that_stepped_back_below_zero_is_none() -> None:
    assert parse_cpu_stat(b"nr_periods 1\nnr_throttled 0\nthrottled_time -5\n", "cpu.stat") == Throttling(1, 0, 0)


@pytest.mark.parametrize(
    ("data", "quota"), [(b"max 100000\n", None), (b"20000 100000\n", (20_000, 100_000)), (b"0 5\n", (0, 5))]
)
def test_a_quota_of_v2_is_two_numbers_or_none(data: bytes, quota: tuple[int, int] | None) -> None:
    assert parse_cpu_max(data, "cpu.max") == quota


@pytest.mark.parametrize("data", [b"", b"20000", b"min 5", b"5 max", b"-1 100000", b"5 0", b"1 2 3"])
def test_a_quota_of_another_form_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_cpu_max(data, "cpu.max")


def test_a_quota_of_v1_is_two_files(tmp_path: Path) -> None:
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    for written, quota in (("-1", None), ("50000", (50_000, 100_000))):
        (tmp_path / "cpu.cfs_quota_us").write_text(f"{written}\n")
        assert read_quota(tmp_path, "v1") == quota
    with pytest.raises(UnreadableError, match="does not exist"):
        read_quota(tmp_path, "v2")


def test_which_version_a_hierarchy_is_and_whether_it_has_cpus(tmp_path: Path) -> None:
    here = Hierarchy(tmp_path, "/")
    assert version_of(here) == "v1"
    for controllers, has in (("cpuset io memory", False), ("cpuset cpu io", True)):
        (tmp_path / "cgroup.controllers").write_text(f"{controllers}\n")
        assert (version_of(here), has_cpu(here)) == ("v2", has)


def test_a_cgroup_is_below_each_part_of_its_path() -> None:
    assert above("/kubepods/pod1/c1") == ["/kubepods/pod1/c1", "/kubepods/pod1", "/kubepods", "/"]
    assert above("/") == ["/"]


@given(damaged(V1) | damaged(V2))
def test_any_bytes_are_numbers_or_malformed(data: bytes) -> None:
    with suppress(MalformedError):
        found = parse_cpu_stat(data, "cpu.stat")
        assert found is None or min(found.periods, found.throttled, found.throttled_us) >= 0
    with suppress(MalformedError):
        quota = parse_cpu_max(data, "cpu.max")
        assert quota is None or (quota[0] >= 0 and quota[1] > 0)
