"""Full accept queues: who stands under them, and causes of causes."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from whodunnet.diagnosis.causes import link
from whodunnet.model.finding import Finding, Party, PartyRole
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Pod, Process

from .linking import POD, causes, counted, finding, full_memory, leak

HERE = Endpoint("10.0.0.5", 80)


def listener(
    role: PartyRole = "culprit", endpoint: Endpoint = HERE, netns: int | None = 7, pod: Pod | None = POD
) -> Party:
    return Party(role=role, endpoint=endpoint, netns=netns, pod=pod, process=Process(pid=7, comm="web"))


def queue(*parties: Party, shape: str = "stuck", **other: Any) -> Finding:
    fields = {"would_explain": ("connect-timeout",), "severity": "warning", "evidence": (counted(3),), **other}
    return finding("queue", "accept-queue", parties=parties or (listener(),), shape=shape, **fields)


def timeout(*parties: Party, shape: str = "queue-full") -> Finding:
    return finding("timeout", "connect-timeout", parties=parties or (listener(),), shape=shape, severity="warning")


@pytest.mark.parametrize(
    ("party", "linked"),
    [
        (listener("peer"), True),
        (listener("peer", Endpoint("10.0.0.5", 81)), False),
        (listener("peer", Endpoint("10.96.0.1", 80)), True),
        (listener("peer", netns=8, pod=Pod(namespace="shop", name="web-2", uid="u2")), True),
        (listener("peer", Endpoint("10.0.0.6", 80), 8, Pod(namespace="shop", name="web-2", uid="u2")), False),
        (Party(role="peer", endpoint=HERE), True),
        (Party(role="peer", netns=7), False),
        (Party(role="peer", endpoint=Endpoint("::", 80)), False),
    ],
    ids=["the same", "port", "owner", "address", "none of them", "address alone", "no port", "any address"],
)
def test_a_full_queue_is_the_cause_of_connects_to_that_listener_only(party: Party, linked: bool) -> None:
    assert bool(causes(queue(), timeout(party))["timeout"]) is linked
    assert bool(link([queue(), timeout(party)])[0].would_explain) is linked
    assert bool(link([queue(confidence="possible"), timeout(party)])[0].would_explain) is linked


def test_two_listeners_at_every_address_are_not_one() -> None:
    every, elsewhere = Endpoint("::", 80), Pod(namespace="shop", name="web-2", uid="u2")
    assert causes(queue(listener(endpoint=every)), timeout(listener("peer", every, 8, elsewhere)))["timeout"] == ()
    assert causes(queue(confidence="possible"), timeout())["timeout"] == ()


def test_memory_that_is_used_up_is_the_cause_of_servers_that_are_slow_to_accept_and_of_none_that_is_stuck() -> None:
    memory = full_memory(0, would_explain=("accept-queue",))
    assert causes(memory, queue(shape="slow"))["queue"] == ("memory",)
    assert causes(memory, queue(shape="stuck"))["queue"] == ()
    assert (
        causes(full_memory(0, would_explain=("accept-queue",), severity="warning"), queue(shape="slow"))["queue"] == ()
    )


def test_a_consequence_stands_under_the_nearest_of_causes_that_cause_each_other() -> None:
    explains = ("accept-queue", "connect-timeout")
    stuck = leak(parties=(listener(),), shape="accept-not-called", would_explain=explains, evidence=(counted(3),))
    for some in permutations([stuck, queue(), timeout()]):
        assert causes(*some) == {"leak": (), "queue": ("leak",), "timeout": ("queue",)}
    assert causes(stuck, timeout())["timeout"] == ("leak",)
