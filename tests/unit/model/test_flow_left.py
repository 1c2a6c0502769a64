"""model.flow_left: how many entries without a socket the connects of one owner account for; see test_flow_makers."""

from __future__ import annotations

from typing import Any

import pytest

from whodunnet.model.conntrack import FlowGroup
from whodunnet.model.snapshot import Recording

from .test_flow_makers import MOVING, SHARED, made, opener, split, watched
from .test_flow_owners import ENDPOINTS, NODE, OTHER, A, B, flow, held, reading


def by_owner(recording: Recording, *groups: FlowGroup, **how: Any) -> dict[str, int]:
    """Entries of the first group."""
    return {owner.key: n for owner, n in split(recording, *groups, **how)}


@pytest.mark.parametrize(("connects", "own"), [(249, 0), (250, 2_000), (499, 3_992), (500, 4_000), (900, 4_000)])
def test_as_many_are_its_own_as_its_pace_leaves_and_the_rest_stays_shared(connects: int, own: int) -> None:
    """Of 6,000 entries that stay for two minutes 500 go within ten seconds. Who left fewer than half is not the one."""
    groups = flow(entries=4_000, state="time-wait"), flow(entries=2_000, state="fin-wait", answered_by=ENDPOINTS[0])
    assert by_owner(watched(made(12, connects)), *groups) == parts(own, 4_000)


def parts(own: int, of: int) -> dict[str, int]:
    return {key: n for key, n in ((B, own), (SHARED, of - own)) if n}


def test_the_pace_is_that_of_the_time_in_which_connects_were_watched() -> None:
    group = flow(entries=6_000, state="time-wait")
    assert by_owner(watched(made(12, 250), watched_seconds=5.0), group) == {B: 6_000}


AGED = (50, 50, 150, 250, 1_500)
"""Of the window of ten seconds, and from before it, when another left some too."""


def test_of_older_entries_as_many_are_its_own_as_its_pace_left_then() -> None:
    group = flow(entries=2_000, state="time-wait", ages=AGED)
    assert by_owner(watched(made(12, 500)), group) == parts(500 + 20 * 50, 2_000)


@pytest.mark.parametrize(("before", "own"), [(2_000, 3_000), (3_000, 3_000), (5_000, 3_000), (5_001, 0), (11_000, 0)])
def test_what_another_left_who_stopped_before_the_window_is_not_its_own(before: int, own: int) -> None:
    group = flow(entries=1_000 + before, state="time-wait", ages=(100, 100, 300, 500, before))
    assert by_owner(watched(made(12, 1_000)), group) == parts(own, 1_000 + before)


def test_of_ages_in_the_window_no_more_are_its_own_than_it_opened() -> None:
    group = flow(entries=1_000, state="time-wait", ages=(1_000,))
    assert by_owner(watched(made(12, 600)), group) == parts(600, 1_000)
    assert by_owner(watched(made(12, 1_000)), group) == parts(1_000, 1_000)


def test_what_is_of_the_window_is_its_own_however_uneven_it_came() -> None:
    """In ten minutes 12,000, all of them in the last one: entries stay for two."""
    recording = watched(made(12, 12_000), watched_seconds=600.0)
    group = flow(entries=12_000, state="time-wait", ages=(200, 200, 600, 1_000, 4_000, 6_000))
    assert by_owner(recording, group) == {B: 12_000}


def test_groups_of_one_destination_share_what_was_opened() -> None:
    groups = [flow(entries=400, state="time-wait", ages=(400,), answered_by=e) for e in (ENDPOINTS[0], ENDPOINTS[1])]
    assert by_owner(watched(made(12, 400)), *groups) == {B: 200, SHARED: 200}


def test_what_was_opened_within_the_window_is_given_once() -> None:
    """490 in 4.9 seconds: of entries no older than five as many, and ten of the tenth of a second before."""
    group = flow(entries=790, state="time-wait", ages=(250, 250, 290))
    assert by_owner(watched(made(12, 490), watched_seconds=4.9), group) == parts(500, 790)


def test_of_an_age_that_the_window_ends_in_no_more_are_its_own_than_its_pace_leaves() -> None:
    group = flow(entries=600, state="time-wait", ages=(100, 100, 400))
    assert by_owner(watched(made(12, 490), watched_seconds=4.9), group) == parts(500, 600)


def test_a_group_with_more_ages_than_entries_gives_no_more_than_it_has() -> None:
    group = flow(entries=10, state="time-wait", ages=(600,))
    assert by_owner(watched(made(12, 600)), group) == parts(10, 10)


def test_entries_of_unknown_age_are_given_by_pace() -> None:
    group = flow(entries=6_100, state="time-wait", ages=(100,))
    assert by_owner(watched(made(12, 250)), group) == {B: 100 + 3_000, SHARED: 3_000}


@pytest.mark.parametrize(("tries", "own"), [(199, 0), (200, 3_000), (450, 6_000), (900, 6_000)])
def test_in_a_full_table_connects_are_tried_again(tries: int, own: int) -> None:
    group = flow(entries=6_000, state="time-wait")
    groups = (made(12, 50), made(12, tries, ending="syn-retransmitted"))
    assert by_owner(watched(*groups, dropped=900), group) == parts(own, 6_000)


def test_in_a_full_table_hardly_any_entry_is_of_the_window() -> None:
    """It was filled fast; now there is room for a few only."""
    group = flow(entries=6_000, state="time-wait", ages=(10, 10, 20, 10, 5_950))
    groups = (made(12, 50), made(12, 450, ending="syn-retransmitted"))
    assert by_owner(watched(*groups, dropped=900), group) == {B: 6_000}
    assert by_owner(watched(*groups), group) == {SHARED: 6_000}


def test_what_was_sent_again_counts_as_often_as_packets_were_dropped() -> None:
    """The server of twelve connections does not answer at once; the entries are of somebody else."""
    group = flow(entries=6_000, state="time-wait")
    groups = (made(12, 12), made(12, 600, ending="syn-retransmitted"))
    assert by_owner(watched(*groups), group) == {SHARED: 6_000}
    assert by_owner(watched(*groups, dropped=13), group) == {SHARED: 6_000}
    assert by_owner(watched(*groups, dropped=300), group) == parts(3_744, 6_000)


def test_drops_of_another_table_do_not_count() -> None:
    group = flow(entries=6_000, state="time-wait")
    groups = (made(12, 12), made(12, 600, ending="syn-retransmitted"))
    assert by_owner(watched(*groups, dropped=900, tables=(OTHER, NODE)), group) == {SHARED: 6_000}


def test_another_that_tries_again_may_have_left_entries_too() -> None:
    assert opener(watched(made(12, 500), made(11, 27, ending="syn-retransmitted"))) == SHARED


LOST = {"insert_failed": 9, "chaintoolong": 0, "clashres": 0}
"""As many packets lost a race for their entry as were dropped."""


@pytest.mark.parametrize(
    ("columns", "who"),
    [
        (LOST, SHARED),
        (LOST | {"chaintoolong": 9}, A),
        ({"insert_failed": 9}, A),
        (LOST | {"insert_failed": 8}, SHARED),
        (LOST | {"insert_failed": 4}, A),
    ],
)
def test_packets_that_lost_a_race_do_not_tell_of_a_full_table(columns: dict[str, int], who: str) -> None:
    """Where it is not known how many they are, as on old kernels, none of them is taken for one."""
    assert opener(watched(made(11, 1), dropped=9, columns=columns), sockets=MOVING) == who


@pytest.mark.parametrize(("drops", "who"), [(0, SHARED), (1, SHARED), (246, SHARED), (247, A), (9_000, A)])
def test_a_few_drops_do_not_give_everything_to_the_only_one_seen(drops: int, who: str) -> None:
    """6,000 entries stay for two minutes: with 250 connects in ten seconds there would be half as many."""
    group = flow(entries=6_000, state="time-wait")
    assert opener(watched(made(11, 3), dropped=drops), group, sockets=MOVING) == who


@pytest.mark.parametrize(
    ("opened", "again", "drops", "who"),
    [(0, 10, 10, A), (4, 6, 10, SHARED), (9, 1, 1, SHARED), (0, 10, 9, SHARED), (20, 0, 10, SHARED)],
)
def test_where_there_is_no_room_the_only_one_seen_that_goes_on_trying_left_them(
    opened: int, again: int, drops: int, who: str
) -> None:
    """Each try waits for its time-out: far fewer than the entries there are."""
    tries = (made(11, n, ending=ending) for n, ending in ((opened, "opened"), (again, "syn-retransmitted")) if n)
    group = flow(entries=6_000, state="time-wait")
    assert opener(watched(*tries, dropped=drops), group, sockets=MOVING) == who


def test_a_counter_that_falls_tells_of_no_drops() -> None:
    tried = made(11, 3, ending="syn-retransmitted")
    assert by_owner(watched(tried, dropped=-60), sockets=MOVING) == {SHARED: 100}
    own = made(12, 500), made(12, 900, ending="syn-retransmitted")
    assert by_owner(watched(*own, dropped=-60), flow(entries=6_000, state="time-wait")) == {B: 6_000}


KEPT = flow(entries=600, state="time-wait", ages=(100, 100, 200, 200))
"""All of the window."""


def test_who_keeps_what_it_opens_has_left_no_entry_behind() -> None:
    """Another closed as many old ones."""
    moved = reading(held(11, 600), held(12, 0)), reading(held(11, 0), held(12, 600))
    assert by_owner(watched(made(12, 600)), KEPT, sockets=moved) == {SHARED: 600}


@pytest.mark.parametrize(
    ("now", "own"), [(200, 600), (209, 600), (210, 590), (300, 500), (500, 300), (501, 0), (2_000, 0)]
)
def test_of_those_it_opened_only_as_many_are_over_as_it_has_no_sockets_of(now: int, own: int) -> None:
    """It had a pool of 200 before."""
    seen = reading(held(11, 10), held(12, 200)), reading(held(11, 10), held(12, now))
    assert by_owner(watched(made(12, 600)), KEPT, sockets=seen) == parts(own, 600)


def test_sockets_that_nobody_has_answered_yet_are_none_that_it_keeps() -> None:
    seen = reading(held(11, 10)), reading(held(11, 10), held(12, 300, state="syn-sent"))
    assert by_owner(watched(made(12, 600)), KEPT, sockets=seen) == {B: 600}


def test_of_sockets_seen_once_nobody_knows_since_when_they_are_open() -> None:
    assert by_owner(watched(made(12, 600)), KEPT, sockets=(reading(held(11, 10), held(12, 400)),)) == {SHARED: 600}


def test_the_only_one_seen_has_left_no_entry_of_those_it_keeps() -> None:
    kept = reading(held(11, 1)), reading(held(11, 601))
    assert by_owner(watched(made(11, 600)), KEPT, sockets=kept) == {SHARED: 600}


@pytest.mark.parametrize("seconds", [0.0, 5e-324, 1e-320, 1e-9])
def test_connects_that_were_hardly_watched_tell_nothing(seconds: float) -> None:
    for stay in (1, 120):
        how = {"timeouts": {"tcp_timeout_time_wait": stay}}
        assert by_owner(watched(made(12, 600), watched_seconds=seconds), KEPT, **how) == {SHARED: 600}


def test_connects_from_an_address_that_is_not_known_account_for_nothing() -> None:
    assert by_owner(watched(made(11, 8, client=None)), sockets=MOVING) == {SHARED: 100}


def test_entries_that_stay_for_longer_need_fewer_connects() -> None:
    group = flow(entries=6_000, state="time-wait")
    for seconds, own in ((240, 6_000), (120, 3_000), (60, None)):
        found = by_owner(watched(made(12, 250)), group, timeouts={"tcp_timeout_time_wait": seconds})
        assert found.get(B) == own


@pytest.mark.parametrize(("connects", "own"), [(0, 0), (4, 0), (5, 60), (8, 96)])
def test_the_only_one_seen_has_left_no_more_than_its_connects_account_for(connects: int, own: int) -> None:
    found = by_owner(watched(*([made(11, connects)] if connects else [])), sockets=MOVING)
    assert found == ({A: own} if own else {}) | {SHARED: 100 - own}


def test_in_a_full_table_the_only_one_seen_may_have_nothing_left_to_open() -> None:
    tried = made(11, 3, ending="syn-retransmitted")
    assert by_owner(watched(tried, dropped=9), sockets=MOVING) == {A: 100}
    assert by_owner(watched(tried), sockets=MOVING) == {SHARED: 100}


def test_refused_connects_of_the_only_one_seen_leave_entries_too() -> None:
    refused = made(11, 8, ending="refused")
    assert by_owner(watched(made(11, 1), refused), sockets=MOVING) == {A: 100}
