from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from whodunnet.errors import UsageError
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Snapshot
from whodunnet.recording.reader import open_recording
from whodunnet.report.chart import Chart, make_chart
from whodunnet.report.chart_axis import span_label, time_ticks, value_ticks
from whodunnet.report.owner import BYS, By

from .histories import GIB, HOUR, LIMITS, MIB, START, Reading, night, reading

INCIDENT_4 = Path(__file__).parents[2] / "fixtures" / "nodes" / "incident-4-unclosed-bodies" / "recording.jsonl"


def chart(readings: Iterable[Reading], **rest: Any) -> Chart:
    return make_chart(readings, **({"what": "tcp-memory", "by": "container", "top": 8} | rest))


def growing(number: int = 60, every: float = 60.0) -> list[Reading]:
    return [
        reading(n * every, {"leak": n * 10 * MIB, "flat": 300 * MIB}, unseen=5 * MIB, limits=LIMITS)
        for n in range(number)
    ]


def said(found: Chart) -> str:
    return " ".join(found.notes)


def test_who_grew_is_said_with_how_much_and_how_fast() -> None:
    assert chart(growing(61)).headline == (
        "Holds most of the growth: payments/leak: app (leak00000000), by 590 MiB to 600 MiB in 59 min "
        "(+600 MiB an hour)"
    )


def test_the_recorded_incident_shows_the_published_owner_and_its_limits() -> None:
    with open_recording(INCIDENT_4) as stored:
        found = chart(stored.snapshots())
    assert found.series[0].last == 14_732_496_896
    assert [limit.last // 4096 for limit in found.limits] == [4_588_506, 6_118_009, 9_177_012]
    assert found.headline.startswith("Holds most of the growth: edge/foo-6c5d8b9f7-q4z8t")
    assert "12.5 MiB more than was found with owners" in said(found)


def test_nobody_is_named_where_nobody_grew_or_growth_cannot_be_seen() -> None:
    assert chart([reading(n, {"a": MIB}) for n in range(3)]).headline == "No owner shown grew"
    assert chart([reading(0, {"a": MIB})]).headline == "Growth needs two readings since the last boot"


def test_growth_counts_from_the_owners_first_reading_since_the_last_boot() -> None:
    found = chart(night(every=60))
    late = next(s for s in found.series if "reports" in s.label)
    leak = next(s for s in found.series if "checkout" in s.label)
    assert late.first == 0
    assert late.per_hour == pytest.approx(0.9 * GIB, rel=0.02)
    assert leak.peak > leak.last
    assert leak.per_hour == pytest.approx(1.4 * GIB, rel=0.02)


def test_owners_are_ranked_by_peak_and_the_others_are_one_area() -> None:
    readings = [
        reading(0, {"early": 900 * MIB, "late": MIB, "small": 7 * MIB, "tiny": 2 * MIB}),
        reading(10, {"early": MIB, "late": 800 * MIB, "small": 7 * MIB, "tiny": 2 * MIB}),
    ]
    found = chart(readings, top=2)
    assert [s.label.split(":")[0] for s in found.series] == ["payments/early", "payments/late"]
    assert found.others is not None
    assert found.others.values == (9 * MIB, 9 * MIB)


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("what", ["tcp-memory", "sockets"])
def test_in_every_view_the_areas_are_all_that_was_found(by: By, what: str) -> None:
    readings = list(night(every=300))
    found = chart(readings, by=by, what=what, top=3)
    sums = [sum(values) for values in zip(*(s.values for s in found.stack), strict=True)]  # type: ignore[arg-type]
    assert len(sums) == len(readings)
    for (_, snapshot), total in zip(readings, sums, strict=True):
        sockets: Any = snapshot.samples["sockets"]
        assert total == (sockets.tcp_sockets if what == "sockets" else sockets.tcp_memory_bytes)


def test_what_nobody_was_found_for_is_the_distance_to_the_kernels_line() -> None:
    found = chart(growing())
    assert found.kernel is not None
    assert {k - sum(vs) for k, *vs in zip(found.kernel.values, *(s.values for s in found.stack), strict=True)} == {  # type: ignore[operator, arg-type]
        5 * MIB
    }


def test_a_reboot_and_a_gap_interrupt_the_areas() -> None:
    found = chart(night(every=60))
    gap, reboot = found.breaks
    assert (gap.kind, reboot.kind) == ("gap", "reboot")
    assert (gap.start, gap.end) == (START.timestamp() + 1.4 * HOUR, START.timestamp() + 1.7 * HOUR)
    assert len(found.runs) == len(found.kernel_runs) == 3
    assert "rebooted once" in said(found)
    assert "1 gap" in said(found)


def test_snapshots_that_get_further_apart_with_age_are_no_gap() -> None:
    seconds = [*range(0, 4800, 80), *range(4800, 7200, 40), *range(7200, 8400, 20), *range(8400, 9000, 10)]
    assert chart(reading(s, {"a": MIB}) for s in seconds).breaks == ()


def test_three_times_the_usual_distance_is_no_gap_and_more_is() -> None:
    assert chart(reading(s, {"a": MIB}) for s in (0, 10, 20, 50, 60, 70)).breaks == ()
    assert len(chart(reading(s, {"a": MIB}) for s in (0, 10, 20, 51, 60, 70)).breaks) == 1


def test_a_gap_is_seen_in_a_recording_that_needs_thinning() -> None:
    found = chart(reading(n * 10, {"a": MIB}) for n in range(8000) if not 3000 < n < 3500)
    assert [b.kind for b in found.breaks] == ["gap"]


def test_where_owners_were_not_read_the_areas_stop_and_the_kernels_line_does_not() -> None:
    found = chart(reading(n * 10, None if n in (3, 4) else {"a": MIB}, unseen=MIB) for n in range(9))
    assert found.runs == ((0, 3), (5, 9))
    assert found.kernel_runs == ((0, 9),)
    assert "not read in 2 of 9 snapshots: the walk over the sockets was cut off." in said(found)


def test_without_the_kernels_total_the_areas_remain() -> None:
    readings = [
        (n, Snapshot(at=s.at, samples={k: v for k, v in s.samples.items() if k != "tcp_memory"})) for n, s in growing(5)
    ]
    found = chart(readings)
    assert found.kernel is None
    assert found.limits == ()
    assert "own total was not read" in said(found)
    assert "limits (tcp_mem) could not be read" in said(found)


def test_limits_far_above_do_not_flatten_the_chart() -> None:
    found = chart([reading(n, {"a": 100 * MIB}, limits=(300 * MIB, 4 * GIB, 8 * GIB)) for n in range(3)])
    assert [limit.name for limit in found.limits] == ["low"]
    assert found.top == 300 * MIB
    assert "tcp_mem: pressure is at 4.0 GiB and max is at 8.0 GiB, above this chart." in found.notes


def test_a_limit_that_was_raised_is_said() -> None:
    found = chart(reading(n * 60, {"a": GIB}, limits=(GIB, 2 * GIB, (2 if n < 5 else 3) * GIB)) for n in range(10))
    assert "tcp_mem max was changed from 2.0 GiB to 3.0 GiB before 2026-03-01 21:05:00 UTC." in found.notes


def test_a_stepping_wall_clock_is_said_and_time_goes_on() -> None:
    found = chart(reading(n * 10, {"a": MIB}, wall_step=-7200 if n > 4 else 0) for n in range(10))
    assert [later - earlier for earlier, later in zip(found.times, found.times[1:], strict=False)] == [10] * 9
    assert found.times[-1] == START.timestamp() + 90 - 7200
    assert "set once back by 2 h" in said(found)


def test_a_clock_that_begins_in_1970_after_a_reboot_follows_what_was_before() -> None:
    def readings() -> Iterable[Reading]:
        yield from growing(10)
        for n in range(10):
            node, snapshot = reading(0, {"a": MIB}, boot="boot-2")
            wall = START.replace(year=1970) + timedelta(seconds=60 * n)
            yield node, Snapshot(at=Moment(wall, 60.0 * n), samples=snapshot.samples)

    found = chart(readings())
    assert list(found.times) == sorted(found.times)
    assert [b.kind for b in found.breaks] == ["reboot"]


def test_nothing_to_draw_is_an_error_that_says_why() -> None:
    with pytest.raises(UsageError, match="no snapshot in this time"):
        chart([])
    node, snapshot = reading(0, None)
    del snapshot.samples["tcp_memory"]
    with pytest.raises(UsageError, match="nothing to draw in this time: the walk over the sockets was cut off"):
        chart([(node, snapshot)])


def test_a_hostname_is_cleaned() -> None:
    node, snapshot = reading(0, {"a": MIB})
    found = chart([(msgspec.structs.replace(node, hostname="a\x1b[31m\u202e"), snapshot)])
    assert found.title == "TCP memory by container on a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("top", "labels"),
    [
        (8 * GIB, ["0", "2 GiB", "4 GiB", "6 GiB", "8 GiB"]),
        (1200 * MIB, ["0", "256 MiB", "512 MiB", "768 MiB", "1 GiB"]),
        (2200 * MIB, ["0", "512 MiB", "1 GiB", "1.5 GiB", "2 GiB"]),
        (1, ["0", "1 B"]),
    ],
)
def test_memory_has_round_binary_ticks(top: int, labels: list[str]) -> None:
    assert [label for _, label in value_ticks(top, 5, "tcp-memory")] == labels


def test_sockets_have_round_decimal_ticks() -> None:
    assert [label for _, label in value_ticks(6900, 5, "sockets")] == ["0", "2,000", "4,000", "6,000"]


@pytest.mark.parametrize("top", [1, 7, 1023, 1024, 10**6, 2**40, 2**62])
def test_there_are_as_many_value_ticks_as_fit(top: int) -> None:
    assert 2 <= len(value_ticks(top, 6, "tcp-memory")) <= 6 or top == 1


@pytest.mark.parametrize("seconds", [1, 60, 3600, 6 * 3600, 86400, 40 * 86400, 10**10])
def test_there_are_as_many_time_ticks_as_fit(seconds: int) -> None:
    ticks = time_ticks(START.timestamp(), START.timestamp() + seconds, 10)
    assert 1 <= len(ticks) <= 11
    assert all(START.timestamp() <= at <= START.timestamp() + seconds for at, _ in ticks)


def test_midnight_is_labelled_with_the_new_date() -> None:
    labels = [label for _, label in time_ticks(START.timestamp(), START.timestamp() + 6 * 3600, 6)]
    assert labels == ["21:00", "22:00", "23:00", "03-02", "01:00", "02:00", "03:00"]
    assert span_label(START.timestamp(), START.timestamp()) == "2026-03-01 21:00:00 UTC"
