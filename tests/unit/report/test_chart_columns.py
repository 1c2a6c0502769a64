from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.errors import UsageError
from whodunnet.model.sample import Moment
from whodunnet.model.snapshot import Snapshot
from whodunnet.report.chart_clock import Clock, moment
from whodunnet.report.chart_columns import OWNERS_KEPT, Column, Columns, What, read_columns

from .histories import MIB, PAGE, START, Reading, reading, sockets_of


def columns(readings: Iterable[Reading], what: What = "tcp-memory", at_most: int = 40) -> list[Column]:
    return read_columns(readings, Columns(what, "container", at_most))


def steady(number: int, every: float = 10.0) -> Iterator[Reading]:
    return (reading(n * every, {"a": MIB * (n % 7 + 1)}) for n in range(number))


@pytest.mark.parametrize("number", [1, 2, 39, 40, 41, 42, 500, 1000])
def test_a_recording_of_any_length_fits_and_keeps_its_first_and_last_snapshot(number: int) -> None:
    found = columns(steady(number))
    assert min(number, 20) <= len(found) <= 41
    assert (found[0].seconds, found[-1].seconds) == (0.0, (number - 1) * 10.0)
    assert [c.since for c in found] == sorted(c.since for c in found)


def test_the_largest_snapshot_of_all_does_not_vanish() -> None:
    readings = [reading(n * 10.0, {"a": (900 if n == 613 else 1) * MIB}) for n in range(1000)]
    peak = max(columns(readings), key=lambda c: c.found)
    assert (peak.found, peak.seconds) == (900 * MIB, 6130.0)


def test_a_container_is_one_owner_whatever_pids_it_has() -> None:
    found = columns(reading(n * 10.0, {"a": MIB, "b": MIB}, first_pid=1000 + 50 * n) for n in range(30))
    assert {label for c in found for label in c.owners or {}} == {
        "payments/a: app (a00000000000)",
        "payments/b: app (b00000000000)",
    }


def test_a_process_is_one_owner_whatever_it_is_doing() -> None:
    def doing(state: str, seconds: float) -> Reading:
        node, snapshot = reading(seconds, {"a": MIB})
        workloads = snapshot.samples["workloads"]
        owner = workloads.by_pid[100]  # type: ignore[union-attr]
        process = msgspec.structs.replace(owner.process, state=state)
        changed = msgspec.structs.replace(workloads, by_pid={100: msgspec.structs.replace(owner, process=process)})
        return node, Snapshot(at=snapshot.at, samples={**snapshot.samples, "workloads": changed})

    found = read_columns([doing("running", 0), doing("stopped", 10)], Columns("tcp-memory", "process"))
    assert found[0].owners == found[1].owners == {"main (pid 100) in payments/a: app (a00000000000)": MIB}


def test_beyond_the_named_owners_nothing_is_lost() -> None:
    owners = {f"p{n}": n * PAGE for n in range(1, 101)}
    (found,) = columns([reading(0, owners)])
    assert len(found.owners or {}) == OWNERS_KEPT
    assert found.found == sum(owners.values())


def test_sockets_are_counted_and_have_no_limits() -> None:
    (found,) = columns([reading(0, {"a": 5 * MIB}, limits=(1 << 30, 2 << 30, 3 << 30))], what="sockets")
    assert (found.found, found.kernel, found.limits) == (6, 8, None)


def test_a_snapshot_without_owners_shows_only_where_there_is_no_other() -> None:
    readings = [reading(n * 10.0, None if n % 2 or 400 <= n < 600 else {"a": MIB}) for n in range(1000)]
    reader = Columns("tcp-memory", "container", 40)
    found = read_columns(readings, reader)
    assert [c.owners is None for c in found[1:-1]] == [c.since >= 4000 and c.until < 6000 for c in found[1:-1]]
    assert reader.unread == 600
    assert reader.unread_reason == "the walk over the sockets was cut off"


def test_two_boots_never_share_a_column() -> None:
    readings = [reading(n * 10.0, {"a": MIB}, boot=f"b{n // 100}", booted=n // 100 * 1000.0 + 5) for n in range(500)]
    found = columns(readings)
    assert {c.boot for c in found} == {0, 1, 2, 3, 4}
    assert all(c.since // 1000 == c.until // 1000 == c.boot for c in found)


def test_more_boots_than_can_be_drawn_are_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match="--from and --to"):
        columns(reading(n * 10.0, {"a": MIB}, boot=str(n)) for n in range(300))


def test_no_snapshot_is_kept_but_the_largest_and_the_last() -> None:
    alive: list[weakref.ref[object]] = []
    most = 0

    def watched() -> Iterator[Reading]:
        nonlocal most
        for n in range(300):
            sockets, _ = sockets_of({"a": MIB})
            tracked = Tracked(sockets)
            alive.append(weakref.ref(tracked))
            node, snapshot = reading(n * 10.0, {"a": MIB})
            yield node, Snapshot(at=snapshot.at, samples=snapshot.samples | {"tracked": tracked})  # type: ignore[dict-item]
            del snapshot, tracked
            most = max(most, sum(ref() is not None for ref in alive))

    class Tracked:
        def __init__(self, inner: object) -> None:
            self.inner = inner

    columns(watched())
    gc.collect()
    assert most <= 3


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["b1", "b2", "b3"]),
            st.floats(0, 1e300) | st.floats(0, 1e6),
            st.datetimes(timezones=st.just(START.tzinfo)),  # type: ignore[arg-type]
        ),
        min_size=1,
        max_size=60,
    )
)
def test_time_never_runs_backwards_whatever_the_clocks_say(ticks: list[tuple[str, float, object]]) -> None:
    clock = Clock()
    seen = [clock.tick(boot, Moment(wall, seconds)) for boot, seconds, wall in ticks]  # type: ignore[arg-type]
    assert seen == sorted(seen)
    spans: dict[int, tuple[float, float]] = {}
    for boot, seconds in seen:
        spans[boot] = (spans.get(boot, (seconds, 0))[0], seconds)
    offsets = clock.offsets(list(spans.values()))
    times = [seconds + offsets[boot] for boot, seconds in seen]
    assert all(later - earlier > -1e-3 for earlier, later in pairwise(times))
    assert all(moment(time).tzinfo is not None for time in times)


def test_a_step_of_the_wall_clock_moves_nothing_and_is_noted() -> None:
    clock = Clock()
    seconds = [
        clock.tick("b", Moment(START + timedelta(seconds=10 * n - (3600 if n > 2 else 0)), 10.0 * n))[1]
        for n in range(6)
    ]
    assert seconds == [0, 10, 20, 30, 40, 50]
    assert (clock.steps, clock.largest_step, clock.largest_step_seconds) == (1, -3600, 30)
    assert moment(clock.offsets([(0, 50)])[0] + 50) == START + timedelta(seconds=50 - 3600)
