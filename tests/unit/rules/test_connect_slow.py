"""connect-slow: connects that a repeated SYN opened; a slow path is none."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from whodunnet.model.connections import ConnectionGroup

from .connects import (
    SECONDS,
    cleared,
    counted,
    endpoints,
    limit,
    named,
    node,
    opened,
    queue,
    repeated,
    said,
    silent,
    slow,
    timeline,
)
from .endings import FAR_SERVER, SERVER, initiated
from .nodes import finding, findings, parties

RULE = "connect-slow"
ENOUGH = max(int(limit(RULE, "min_rate") * SECONDS), int(limit(RULE, "min_failed")))


def lossy(n: int, quick: int = 80, *, seconds: float = 1.001) -> list[ConnectionGroup]:
    """So many after a second, the others at once."""
    both = initiated("opened", {0.001: quick, seconds: n}, state="established")
    return [both, repeated(n)]


def test_connects_in_steps_of_a_second_are_lost_syns() -> None:
    found = finding(node(*lossy(20)), RULE)
    assert (found.shape, found.severity, found.confidence) == ("lost-syns", "warning", "proven")
    assert (found.claim, found.reason) == ("delays", "ConnectLostSyns")
    assert (named(found, "victim"), parties(found, "culprit")) == (["web"], [])
    assert endpoints(found) == [SERVER]
    assert "20 of 100 connects (20 %)" in found.title
    told = {e.statement: e.value for e in found.evidence}
    assert told["Of those, connects that took about 1 s"] == 20
    assert told["SYNs that were sent again"] == 20


@pytest.mark.parametrize("seconds", [1.001, 1.06, 2.01, 3.02, 7.05])
def test_every_step_of_the_kernel_counts(seconds: float) -> None:
    assert said(node(*lossy(20, seconds=seconds)), RULE)[0][0] == "lost-syns"


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.6, 0.9])
def test_a_far_server_is_not_slow(seconds: float) -> None:
    assert findings(node(opened(90, seconds=seconds)), RULE) == []


def test_a_path_whose_time_varies_is_not_lossy() -> None:
    times = {0.3: 20, 0.6: 20, 0.8: 20, 1.1: 15, 1.4: 10}
    assert findings(node(initiated("opened", times, state="established"), repeated(20)), RULE) == []


def test_without_repeats_it_was_another_delay() -> None:
    ratio = limit(RULE, "repeated_share")
    both = initiated("opened", {0.001: 80, 1.1: 40}, state="established")
    told = [len(findings(node(both, repeated(n)), RULE)) for n in (int(40 * ratio) - 2, int(40 * ratio))]
    assert told == [0, 1]


@pytest.mark.parametrize(("n", "told"), [(ENOUGH - 1, 0), (ENOUGH, 1)])
def test_below_the_rate_it_is_chance(n: int, told: int) -> None:
    assert len(findings(node(*lossy(n)), RULE)) == told


def test_below_the_share_it_is_chance() -> None:
    assert findings(node(*lossy(20, 600)), RULE) == []
    assert cleared(node(*lossy(20, 600)), RULE).evidence[1].value == 20


def test_what_ended_within_the_window_is_over() -> None:
    assert findings(node(*lossy(20), end=0.6), RULE) == []


def burst(begin: float) -> list[tuple[float, ConnectionGroup]]:
    """60 connects at once, opened by their first, second and third repeat."""
    left = {1.0: 60, 3.0: 40, 7.0: 20}
    events = [(begin + after, repeated(n, seconds=after)) for after, n in left.items()]
    return events + [(begin + after, opened(20, seconds=after)) for after in left]


def test_a_burst_that_needs_several_repeats_does_not_last() -> None:
    assert findings(timeline(*burst(0.2)), RULE) == []
    assert said(timeline(*burst(-0.2), *burst(3.0), *burst(6.5)), RULE)[0][0] == "lost-syns"


def test_two_readings_do_not_tell_whether_it_lasts() -> None:
    assert said(node(*lossy(20), moments=2), RULE) == [("lost-syns", "info", "possible")]


def test_where_most_get_no_answer_it_is_for_connect_timeout() -> None:
    assert findings(node(*slow(20), *silent(60)), RULE) == []


def test_a_queue_that_is_full_for_moments_holds_its_server() -> None:
    found = finding(counted(node(*lossy(20), listeners=[queue(0, 5)]), 20), RULE)
    assert (found.shape, found.confidence) == ("queue-full", "likely")
    assert (named(found, "holder"), named(found, "culprit"), named(found, "victim")) == (["batch"], [], ["web"])


def test_of_several_that_share_a_port_none_holds_a_queue_that_nobody_knows_the_owner_of() -> None:
    shared = [queue(0, 5), replace(queue(6, 5), owner_pid=None)]
    found = finding(node(*lossy(20), listeners=shared), RULE)
    assert (found.shape, found.confidence) == ("queue-full", "likely")
    assert (named(found, "holder"), endpoints(found)) == ([], [SERVER])


def test_every_connect_may_be_slow() -> None:
    assert "40 of 40 connects (100 %)" in finding(node(*slow(40, to=FAR_SERVER)), RULE).title
