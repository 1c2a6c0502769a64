"""What holds of every answer about connects and resets, whatever ends how: over arbitrary groups."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whodunnet.model.connections import ConnectionGroup, Ending
from whodunnet.model.finding import Answer, Cleared, Finding, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import AcceptQueue, Endpoint
from whodunnet.rules.connection_sight import TOO_FEW
from whodunnet.rules.rule import judge

from .arbitrary import TEXTS, Dice
from .connects import node as watch
from .connects import opened, refused, translated
from .endings import at_share, ended, moments_of
from .test_redacted import assert_judged_alike
from .tracking import NODE_ADDRESS, OTHER_NETNS, OTHER_POD, POD, POD_NETNS, REMOTE

RULES = ("connect-refused", "connect-timeout", "connect-slow", "resets")
ADDRESSES = (
    POD,
    OTHER_POD,
    NODE_ADDRESS,
    REMOTE,
    "127.0.0.1",
    "::1",
    "2001:db8::5",
    *(f"203.0.113.{n}" for n in range(6)),
)
OTHER: dict[str, Any] = {"netns": OTHER_NETNS, "client": OTHER_POD, "owner_pid": 8, "comm": "app8"}
STATES = ("established", "close-wait", "last-ack", "syn-sent")
quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def nodes() -> st.SearchStrategy[Recording]:
    return st.integers(0, 2**48).map(lambda seed: node_of(Dice(seed)))


def node_of(d: Dice) -> Recording:
    made = [group(d) for _ in range(d.randint(1, 12))]
    steps, seconds = d.randint(1, 5), d.one((0.0, 5.0, 10.0, 3_600.0))
    moments = [[at_share(g, (i + 1) / steps) for g in made if d.random() < 0.9] for i in range(steps)]
    queues = tuple(
        AcceptQueue(owner_pid=d.one((7, 8, None)), netns=d.one((POD_NETNS, OTHER_NETNS)), waiting=d.one((0, 5, 6)),
                    limit=5, local=Endpoint(d.one((*ADDRESSES, "0.0.0.0", "::")), d.one((80, 8000))))
        for _ in range(d.randint(0, 3))
    )  # fmt: skip
    asked, to = (Endpoint(d.one(ADDRESSES), 80) for _ in range(2))
    samples = {"conntrack": translated(asked, to)} if d.random() < 0.4 else {}
    lost = {d.one(get_args(Ending)): 9} if d.random() < 0.3 else {}
    return moments_of(*moments, seconds=seconds, listeners=queues, samples=samples, lost=lost)


def group(d: Dice) -> ConnectionGroup:
    ending = d.one(get_args(Ending))
    times = {d.one((0.0, 0.3, 0.7, 1.0, 1.2, 2.0, 3.0, 60.0)): d.one((1, 20, 60, 900)) for _ in range(d.randint(1, 3))}
    return ended(
        d.one(("initiated", "accepted")), ending, times if d.random() < 0.9 else 40,
        Endpoint(d.one(ADDRESSES), d.one((80, 8000))), state=d.one(STATES), netns=d.one((POD_NETNS, OTHER_NETNS)),
        client=d.perhaps(lambda: d.one(ADDRESSES)), owner_pid=d.one((7, 8, 99, None)), comm=d.one(TEXTS),
    )  # fmt: skip


def steps(node: Recording) -> int:
    """Calls that it takes to judge."""
    calls, before = 0, sys.getprofile()

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        every(node)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("made", [refused, opened])
@pytest.mark.parametrize("each", [2, 10])
def test_twice_as_many_endpoints_take_twice_as_long(made: Callable[..., ConnectionGroup], each: int) -> None:
    """Of one address; a finding for each, or none."""

    def scan(n: int) -> Recording:
        ports = [Endpoint("198.51.100.7", port) for port in range(1, n + 1)]
        return watch(*(group for p in ports for group in (made(each, to=p, **OTHER), refused(each, to=p))), seconds=1.0)

    assert steps(scan(400)) < 2.5 * steps(scan(200))


def every(node: Recording) -> list[Answer]:
    return [answer for rule in RULES for answer in judge(rule, node)]


def is_open(found: Sequence[Finding], beside: Sequence[Answer]) -> bool:
    """Whether it was found, and readings are too few to say that it lasts."""
    unsure = any(f.confidence == "possible" for f in found)
    return unsure and [a.code for a in beside if isinstance(a, NotChecked)] == [TOO_FEW] and len(beside) == 1


@quick
@given(nodes())
def test_every_answer_can_be_repeated_and_fits_its_forms(node: Recording) -> None:
    for rule in RULES:
        given_answers = judge(rule, node)
        assert given_answers
        found = [a for a in given_answers if isinstance(a, Finding)]
        beside = [a for a in given_answers if not isinstance(a, Finding)]
        assert not beside or is_open(found, beside) or (not found and len(beside) == 1)
        for answer in given_answers:
            if isinstance(answer, Finding | Cleared):
                assert answer.evidence
                assert all(e.statement and e.repeat and e.value is not None for e in answer.evidence)
    found = [a for a in every(node) if isinstance(a, Finding)]
    assert len({f.id for f in found}) == len(found)
    for f in found:
        assert len(f.summary.encode()) <= 80
        assert f.title.isprintable()
        assert f.remedies[0].action == "capture"
        assert all(shlex.split(r.command) for r in f.remedies if r.command is not None)
        assert len(node.snapshots) > 2 or f.confidence == "possible"


@quick
@given(nodes())
def test_no_more_fails_than_was_made(node: Recording) -> None:
    for f in every(node):
        if isinstance(f, Finding):
            number = f.evidence[0]
            assert isinstance(number.value, int)
            assert isinstance(number.limit, int)
            assert 0 < number.value <= number.limit


@quick
@given(nodes())
def test_a_redacted_node_is_judged_alike(node: Recording) -> None:
    assert_judged_alike(node, RULES)
