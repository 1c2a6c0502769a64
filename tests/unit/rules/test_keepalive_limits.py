"""The idle timeout of a server: what its closes have in common, and what only looks like one."""

from __future__ import annotations

import pytest

from whodunnet.model.connection_pairs import pairs_of
from whodunnet.model.connections import ConnectionGroup
from whodunnet.model.sockets import Endpoint
from whodunnet.rules.catalogue import catalogue
from whodunnet.rules.idle_timeouts import Limit, closes_of, find_limit
from whodunnet.rules.keepalive_products import PRODUCTS, known_by, set_otherwise

from .endings import FAR_CLIENT, FAR_SERVER, Times, accepted, initiated, watched
from .nodes import named
from .tracking import OTHER_NETNS, POD_NETNS

ENTRY = catalogue()["keepalive-mismatch"]
LEAST, WIDTH = int(ENTRY.limit("min_closes")), ENTRY.limit("cluster_width")


def limits(*groups: ConnectionGroup) -> list[Limit | None]:
    """Of each server endpoint."""
    found = pairs_of(watched(*groups))
    assert found is not None
    return [find_limit(closes, ENTRY) for closes in closes_of(found.pairs, ENTRY).values()]


def limit_of(times: Times, **other: object) -> Limit | None:
    """Of a server elsewhere that closed connections after these idle times."""
    (found,) = limits(initiated("closed-by-peer", times, to=FAR_SERVER, **other))
    return found


def test_the_timeout_is_the_middle_of_a_cluster_with_the_count_of_all_closes() -> None:
    found = limit_of({5.003: 400, 5.2: 12, 0.02: 10, 2.0: 3, 17.0: 5})
    assert found is not None
    assert found.seconds == pytest.approx(5.003)
    assert (found.closes, found.of) == (412, 430)
    assert [found.least, found.most] == pytest.approx([5.003, 5.2])


@pytest.mark.parametrize(("closes", "is_one"), [(LEAST - 1, False), (LEAST, True)])
def test_closes_that_are_few_are_alike_by_chance(closes: int, is_one: bool) -> None:
    assert (limit_of({5.0: closes}) is not None) == is_one


@pytest.mark.parametrize(("seconds", "is_one"), [(0.45, False), (0.55, True)])
def test_a_close_after_an_answer_is_no_timeout(seconds: float, is_one: bool) -> None:
    """Connection: close."""
    assert (limit_of({seconds: 100}) is not None) == is_one


def test_times_that_are_spread_down_to_nothing_are_no_timeout() -> None:
    """Of a server that restarts, only those after half a second look like a pause: as many are shorter."""
    spread = {round(0.05 * n, 2): 4 for n in range(1, 15)}
    assert limit_of(spread) is None
    assert limit_of({0.0: 200, 0.6: 30}) is not None


@pytest.mark.parametrize(("others", "is_one"), [(10, True), (11, False)])
def test_a_cluster_has_most_of_the_closes_after_a_pause(others: int, is_one: bool) -> None:
    times = {5.0: 10} | {20.0 + 7 * n: 1 for n in range(others)}
    assert (limit_of(times) is not None) == is_one


def test_closes_after_any_time_have_no_timeout() -> None:
    """A restart, or a bound of age."""
    assert limit_of({0.6 + 0.9 * n: 1 for n in range(60)}) is None


def test_a_server_that_looks_once_a_second_has_a_timeout() -> None:
    found = limit_of({2.05: 5, 2.35: 5, 2.65: 5, 2.95: 5})
    assert found is not None
    assert found.closes == 20
    assert found.seconds == pytest.approx(2.35)


def test_a_long_timeout_may_be_kept_less_exactly() -> None:
    assert limit_of({74.5: 4, 75.2: 4, 77.0: 4}) is not None
    assert limit_of({5.0: 4, 7.0: 4, 9.0: 4}) is None


def test_a_short_timeout_is_kept_more_exactly() -> None:
    assert limit_of({0.6: 4, 1.0: 4, 1.7: 4}) is None


def test_the_accepting_end_tells_where_it_is_here() -> None:
    """At the client's end a write that crosses the close makes it look as if there had been no pause."""
    here, there = initiated("closed-by-peer", {5.0: 4, 0.003: 6}), accepted("closed-here", {5.0: 10})
    (found,) = limits(here, there)
    assert found is not None
    assert (found.closes, found.of) == (10, 10)


def test_closes_are_counted_once_where_several_clients_have_one_address() -> None:
    both = [initiated("opened", {0.001: 5}, owner_pid=pid, comm=f"app{pid}") for pid in (7, 9)]
    (found,) = limits(*both, accepted("closed-here", {5.0: 10}))
    assert found is not None
    assert found.of == 10


def test_all_clients_of_an_endpoint_tell_of_it() -> None:
    """Three closes each, of which one alone would be too few."""
    one, other = (accepted("closed-here", {5.0: LEAST - 1}, client=c) for c in (FAR_CLIENT, "198.51.100.21"))
    (found,) = limits(one, other)
    assert found is not None
    assert found.closes == 2 * (LEAST - 1)


def test_a_loopback_address_is_another_server_in_each_namespace() -> None:
    here = Endpoint("127.0.0.1", 8000)
    groups = [
        initiated("closed-by-peer", {seconds: 5}, to=here, client="127.0.0.1", netns=netns)
        for seconds, netns in ((2.0, POD_NETNS), (60.0, OTHER_NETNS))
    ]
    assert sorted(found.seconds for found in limits(*groups) if found) == [pytest.approx(2.0), pytest.approx(60.0)]


def test_a_farewell_is_told() -> None:
    plain, tls = limit_of({5.0: 9}), limit_of({5.0: 9}, last_word=True)
    assert plain is not None
    assert tls is not None
    assert (plain.farewell, tls.farewell) == (False, True)


def test_closes_whose_time_was_not_kept_count_among_all() -> None:
    (found,) = limits(accepted("closed-here", {5.0: 9}), accepted("closed-here", 7, client=None))
    assert found is not None
    assert (found.closes, found.of) == (9, 16)


def test_a_client_that_closes_first_says_nothing_of_the_server() -> None:
    assert limits(initiated("closed-here", {5.0: 50})) == [None]


def test_a_timeout_is_known_by_its_products_and_rather_by_the_servers_own() -> None:
    every = known_by(5.02, None)
    assert {"Uvicorn", "Apache httpd"} <= set(every)
    assert known_by(5.02, named(8, comm="uvicorn").by_pid[8]) == ("Uvicorn",)
    assert known_by(5.02, named(8, comm="node").by_pid[8]) != every
    assert known_by(5.02, named(8, comm="x", exe="/usr/sbin/apache2").by_pid[8]) == ("Apache httpd",)
    assert known_by(5.02, named(8, comm="something").by_pid[8]) == every
    assert known_by(42.0, None) == ()


def test_every_product_is_found_by_its_own_default() -> None:
    assert all(p.name in known_by(seconds + p.late, None) for p in PRODUCTS for seconds in p.seconds)
    assert known_by(2.6, named(8, comm="gunicorn").by_pid[8]) == ("gunicorn",)


@pytest.mark.parametrize(
    ("comm", "seconds", "shipped"),
    [
        ("nginx", 3.0, 75.0),
        ("nginx", 75.2, None),
        ("uvicorn", 10.0, 5.0),
        ("gunicorn", 2.9, None),
        ("gunicorn", 3.5, 2.0),
        ("python3.11", 3.0, None),
        ("node", 9.0, None),
    ],
)
def test_a_program_that_is_set_otherwise_is_told_by_its_own_name(
    comm: str, seconds: float, shipped: float | None
) -> None:
    """An interpreter may run any of them."""
    own = set_otherwise(seconds, named(8, comm=comm).by_pid[8])
    assert [p.seconds for p in own] == ([] if shipped is None else [(shipped,)])
    assert set_otherwise(seconds, None) == ()
