from __future__ import annotations

from datetime import timedelta

import pytest

from whodunnet.model.snapshot import Recording
from whodunnet.model.workload import Workload, Workloads
from whodunnet.rules.leak_pace import Pace, duration, pace_of
from whodunnet.rules.tally import candidates
from whodunnet.rules.window import window_of

from .nodes import BEGIN, LEAK, PAGE, finding, group, in_container, leak, memory_of, named, owners, process, recording

END = BEGIN + timedelta(seconds=60)


def pace(node: Recording) -> Pace | None:
    (candidate,) = candidates(node)
    window = window_of(node)
    assert window is not None
    return pace_of(candidate, LEAK, window, candidate.last.memory_bytes)


def certain(node: Recording) -> Pace:
    found = pace(node)
    assert found is not None
    return found


def started(seconds: float, **other: object) -> Workloads:
    """One process that was started that long before the end of a minute's window."""
    return named(7, started=END - timedelta(seconds=seconds), **other)


@pytest.mark.parametrize(("seconds", "known"), [(59.9, False), (60, True)])
def test_a_pace_is_told_from_a_minute_of_watching_on(seconds: float, known: bool) -> None:
    assert (pace(leak("held-open", [100, 110, 130], seconds=seconds)) is not None) is known


@pytest.mark.parametrize("counts", [[100, 100], [100, 90]])
def test_what_does_not_grow_has_no_pace(counts: list[int]) -> None:
    assert pace(leak("held-open", counts, seconds=90)) is None


def test_a_pace_is_the_growth_over_the_whole_window() -> None:
    found = certain(leak("response-never-read", [100, 105, 120], seconds=80, each=4_000))
    assert (found.sockets_per_second, found.bytes_per_second) == (0.25, 1_000)
    assert found.age_seconds == 480


def test_the_time_until_memory_is_used_up_is_what_is_left_over_the_pace() -> None:
    """14,990 of 15,000 pages are used; a page a second comes."""
    node = leak("response-never-read", [100, 160], seconds=60, each=PAGE, memory=memory_of(14_990))
    assert certain(node).until_memory_seconds == 10


def test_without_limits_nobody_knows_when_memory_is_used_up() -> None:
    for memory in (None, memory_of(14_990, max_pages=None)):
        node = leak("response-never-read", [100, 160], seconds=60, each=PAGE, memory=memory)
        assert certain(node).until_memory_seconds is None


def test_sockets_without_memory_never_use_it_up() -> None:
    assert certain(leak("never-connected", [100, 160], seconds=60, memory=memory_of(9))).until_memory_seconds is None


def test_the_time_until_descriptors_run_out_is_what_is_left_over_the_pace() -> None:
    node = leak("never-connected", [100, 160], seconds=60, workloads=started(90, descriptor_limit=1_000))
    assert certain(node).until_descriptors_seconds == 840


def test_the_descriptors_of_several_processes_are_not_counted_against_one_limit() -> None:
    moments = [[group("never-connected", n, pid=pid) for pid in (7, 8)] for n in (50, 80)]
    node = recording(moments, seconds=60, workloads=owners(in_container("web", 7, 8, descriptor_limit=100)))
    assert certain(node).until_descriptors_seconds is None


@pytest.mark.parametrize(
    ("age", "fits"), [(106, False), (107, True), (160, True), (240, True), (241, False), (100_000, False)]
)
def test_an_age_fits_if_neither_is_more_than_half_as_long_again(age: float, fits: bool) -> None:
    """160 sockets at one a second: 160 s."""
    assert certain(leak("never-connected", [100, 160], seconds=60, workloads=started(age))).since_start is fits


def test_the_age_of_a_container_counts_before_that_of_a_process() -> None:
    table = in_container("web", 7)
    container = table[7].container
    assert container is not None
    young = Workload(process=process(7, started=END - timedelta(seconds=5)), container=container)
    node = leak("never-connected", [100, 160], seconds=60, workloads=Workloads(by_pid={7: young}))
    assert certain(node).owner_age_seconds == 3_660


def test_without_a_start_no_age_is_compared() -> None:
    for workloads in (named(7, started=None), Workloads()):
        node = leak("never-connected", [100, 160], seconds=60, workloads=workloads)
        assert certain(node).since_start is None


def test_a_pace_is_told_in_words() -> None:
    node = leak(
        "response-never-read", [100, 130, 160], seconds=60, each=PAGE, age=30, memory=memory_of(9_000),
        workloads=started(160, descriptor_limit=1_000),
    )  # fmt: skip
    words = " ".join(finding(node).explanation)
    assert "It grows by 60 sockets a minute." in words
    assert "TCP memory reaches its maximum in 100 min" in words or "reaches its maximum in 1 h 40 min" in words
    assert "runs out of descriptors in 14 min" in words
    assert "age of 3 min, which fits the age of the workload (3 min)" in words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5_369, "89 min"), (5_400, "1 h 30 min"), (36_000, "10 h 0 min"),
        (172_000, "47 h 47 min"), (172_800, "2 d 0 h"), (180_000, "2 d 2 h"),
    ],
)  # fmt: skip
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# --- Found by review -----------------------------------------------------------------------------------------------


def test_growth_by_chance_has_no_pace() -> None:
    assert pace(leak("response-never-read", [702, 703], seconds=66)) is None


def test_a_limit_that_is_already_passed_is_not_foretold() -> None:
    node = leak("response-never-read", [1_000, 1_060], seconds=60, each=20 * PAGE, age=60, memory=memory_of(21_200))
    assert "in 0 s" not in " ".join(finding(node).explanation)
