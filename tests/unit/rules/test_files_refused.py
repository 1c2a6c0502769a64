"""A node without a file left: who was refused one is told, by workload, and how often within the window."""

from __future__ import annotations

import pytest

from whodunnet.model.descriptors import Descriptors, DescriptorUse, RefusedFiles
from whodunnet.model.finding import Finding
from whodunnet.model.workload import Workloads
from whodunnet.rules.node_files import PARTLY, UNWATCHED

from .endings import STARTED
from .nodes import finding, findings, in_container, named, owners, parties
from .suspects import descriptors, node, use
from .test_descriptor_limit import RULE


def refused(times: int, pid: int = 7, started: float = STARTED, comm: str | None = None) -> RefusedFiles:
    return RefusedFiles(pid=pid, comm=comm or f"app{pid}", started_seconds=started, times=times)


def full(*who: RefusedFiles, open_files: int = 100_000, watched: bool = True, left_out: int = 0) -> Descriptors:
    return descriptors(
        open_files=open_files, max_files=100_000, refused=who, refusals_watched=watched, refused_left_out=left_out
    )


def judged(*samples: Descriptors, workloads: Workloads | None = None) -> Finding:
    return finding(node("descriptors", list(samples), **({"workloads": workloads} if workloads else {})), RULE)


def victims(found: Finding) -> list[tuple[int, str]]:
    return [(p.process.pid, str(p.effect)) for p in parties(found, "victim") if p.process]


def test_who_was_refused_most_is_a_victim() -> None:
    found = judged(full(watched=False), full(refused(1_234), refused(1, pid=8)))
    assert (found.shape, victims(found)) == (
        "node-exhausted",
        [(7, "was refused 1,234 TCP sockets"), (8, "was refused 1 TCP socket")],
    )
    (total,) = (e for e in found.evidence if e.unit == "sockets")
    assert (total.value, total.statement.endswith("to 2 processes")) == (1_235, True)
    assert "args->ret == -23" in (total.repeat or "")


def test_only_what_was_refused_within_the_window_counts() -> None:
    found = judged(full(refused(50), refused(9, pid=8)), full(refused(50), refused(12, pid=8)))
    assert victims(found) == [(8, "was refused 3 TCP sockets")]


def test_who_was_counted_anew_meanwhile_is_counted_from_there() -> None:
    """The machine had room for a while, and the program was detached."""
    found = judged(full(refused(50)), full(refused(60)), full(watched=False), full(refused(8)))
    assert victims(found) == [(7, "was refused 18 TCP sockets")]


def test_another_process_with_the_same_number_is_another_one() -> None:
    found = judged(full(refused(50)), full(refused(50), refused(20, started=900.0)))
    assert victims(found) == [(7, "was refused 20 TCP sockets")]


def test_processes_of_one_container_are_one() -> None:
    found = judged(
        full(watched=False),
        full(refused(2), refused(5, pid=8), refused(6, pid=9)),
        workloads=owners(in_container("shop", 7, 8), named(9).by_pid),
    )
    assert victims(found) == [(8, "was refused 7 TCP sockets"), (9, "was refused 6 TCP sockets")]
    assert [p.pod.name if p.pod else None for p in parties(found, "victim")[1:]] == ["shop", None]


def test_no_more_than_a_few_are_named_and_the_others_are_in_the_sum() -> None:
    found = judged(full(watched=False), full(*(refused(10 + pid, pid=pid) for pid in range(1, 9)), left_out=4))
    assert [pid for pid, _ in victims(found)] == [8, 7, 6]
    (total,) = (e for e in found.evidence if e.unit == "sockets")
    assert total.value == sum(10 + pid for pid in range(1, 9)) + 4


@pytest.mark.parametrize("watched", [False, True])
def test_where_nobody_was_refused_or_watched_nothing_is_said(watched: bool) -> None:
    found = judged(full(watched=False), full(watched=watched))
    assert victims(found) == []
    assert not [e for e in found.evidence if e.unit == "sockets"]


@pytest.mark.parametrize(("times", "how"), [(9, ("possible", "info")), (10, ("likely", "warning"))])
def test_that_it_was_reached_between_readings_is_no_more_than_likely(times: int, how: tuple[str, str]) -> None:
    """Nobody is excused by it: in each reading there was room."""
    room = full(open_files=40_000)
    found = judged(full(open_files=95_000, watched=False), full(refused(times), open_files=40_000), room)
    assert (found.shape, (found.confidence, found.severity), found.would_explain) == ("node-refused", how, ())
    assert "within the last 3.0 s, as it seems for want of a file: 40,000 of 100,000 are open now" in found.title
    assert victims(found) == [(7, f"was refused {times} TCP sockets")]
    assert (found.evidence[0].unit, found.evidence[0].value) == ("sockets", times)
    assert not [remedy for remedy in found.remedies if remedy.action == "tune"]
    assert any("no memory" in line for line in found.explanation)


def test_a_node_that_is_near_its_limit_now_may_have_more() -> None:
    found = judged(full(open_files=95_000, watched=False), full(refused(10), open_files=95_000))
    assert [remedy.action for remedy in found.remedies if remedy.action == "tune"] == ["tune"]


@pytest.mark.parametrize(("share", "how"), [(0.89, ("possible", "info")), (0.9, ("likely", "warning"))])
def test_a_few_refusals_make_nothing_less_of_a_node_near_its_limit(share: float, how: tuple[str, str]) -> None:
    found = judged(full(open_files=95_000, watched=False), full(refused(3), open_files=round(share * 100_000)))
    assert (found.shape, (found.confidence, found.severity)) == ("node-refused", how)


def test_who_has_most_of_what_is_left_has_not_filled_it() -> None:
    def has(one: DescriptorUse, open_files: int, *who: RefusedFiles) -> Descriptors:
        return descriptors(one, open_files=open_files, max_files=100_000, refused=who, refusals_watched=True)

    filled = has(use(90_000, 1_000_000, pid=66), 95_000)
    found = judged(filled, has(use(1_100, 1_000_000, pid=90), 2_000, refused(40)))
    assert (found.shape, parties(found, "holder")) == ("node-refused", [])


@pytest.mark.parametrize(("left", "shape"), [(2, "node-near"), (3, "node-refused")])
def test_who_is_at_a_limit_of_its_own_was_not_refused_by_the_node(left: int, shape: str) -> None:
    """Another of its threads may have reserved the last descriptor."""
    own = use(40 - left, 40, pid=7, started_seconds=STARTED - 0.0037)  # /proc has whole ticks, BPF has not
    readings = [
        descriptors(own, open_files=92_000, max_files=100_000, refused=(refused(n),), refusals_watched=True)
        for n in (0, 12)
    ]
    assert shape in [one.shape for one in findings(node("descriptors", readings), RULE)]


def test_whoever_had_the_number_before_or_after_was_not_refused() -> None:
    found = judged(
        full(watched=False), full(refused(5, started=STARTED - 60)), workloads=owners(in_container("shop", 7))
    )
    assert victims(found) == [(7, "was refused 5 TCP sockets")]
    assert [p.pod for p in parties(found, "victim")[1:]] == [None]


def test_who_is_not_known_is_in_the_sum() -> None:
    found = judged(full(watched=False), full(left_out=6))
    (total,) = (e for e in found.evidence if e.unit == "sockets")
    assert (total.value, total.statement.endswith("to processes that are not known")) == (6, True)


@pytest.mark.parametrize(
    ("watched", "said"),
    [
        ([False], UNWATCHED),
        ([True], UNWATCHED),  # that is of before the window
        ([True, False, False], UNWATCHED),
        ([False, True, False], PARTLY),
        ([False, True, True], None),
    ],
)
def test_where_it_was_not_watched_who_was_refused_that_is_said(watched: list[bool], said: str | None) -> None:
    found = judged(*(full(watched=one) for one in watched))
    assert [line for line in found.explanation if " watched" in line] == ([said] if said else [])


def test_the_holder_stays_beside_them() -> None:
    holder = use(60_000, 1_000_000, pid=90)
    found = judged(
        full(watched=False), descriptors(holder, open_files=100_000, max_files=100_000, refused=(refused(3),))
    )
    assert [(p.role, p.process.pid) for p in found.parties if p.process] == [("victim", 7), ("holder", 90)]
