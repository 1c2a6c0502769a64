"""connect-timeout where the server's queue of connections is full: whose queue it is, and who is named for it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from whodunnet.model.sockets import AcceptQueue, Endpoint
from whodunnet.model.workload import Workload, Workloads

from .connects import (
    SECONDS,
    counted,
    endpoints,
    named,
    node,
    opened,
    queue,
    said,
    silent,
)
from .endings import SERVER, SERVER_PID, accepted, listening, moments_of
from .nodes import finding, parties, process
from .tracking import OTHER_NETNS, OTHER_POD, OWNERS

RULE = "connect-timeout"
STOPPED = 77


def test_a_queue_that_is_full_at_both_of_two_readings_has_no_culprit_yet() -> None:
    found = finding(node(*silent(40), listeners=[queue(6, 5)], moments=2), RULE)
    assert (found.shape, found.confidence, named(found, "culprit")) == ("queue-full", "possible", [])
    assert named(found, "holder") == ["batch"]


def test_a_queue_that_stays_full_names_the_server() -> None:
    found = finding(node(*silent(40), listeners=[queue(6, 5)]), RULE)
    assert (found.shape, found.confidence) == ("queue-full", "proven")
    assert (named(found, "culprit"), named(found, "victim")) == (["batch"], ["web"])
    assert endpoints(found) == [SERVER]


@pytest.mark.parametrize("state", ["frozen", "stopped"])
def test_who_is_halted_has_not_caused_its_full_queue(state: str) -> None:
    server = OWNERS.by_pid[SERVER_PID]
    assert server.process
    halted = replace(server, process=replace(server.process, state=state))
    owners = replace(OWNERS, by_pid={**OWNERS.by_pid, SERVER_PID: halted})
    found = finding(node(*silent(40), listeners=[queue(6, 5)], workloads=owners), RULE)
    assert (found.shape, found.confidence) == ("queue-full", "proven")
    assert (named(found, "culprit"), named(found, "reader")) == ([], ["batch"])
    assert f"is {state}, and has caused nothing itself" in str(parties(found, "reader")[0].effect)


def workers(**full: Any) -> list[AcceptQueue]:
    """Three that share a port (SO_REUSEPORT), of which one has a full queue; SERVER_PID was met there."""
    mine = {"owner_pid": STOPPED, **full}
    return [queue(0, 5), replace(queue(0, 5), owner_pid=78), replace(queue(6, 5), **mine)]


def with_stopped() -> Workloads:
    stopped = Workload(process=process(STOPPED), netns=OTHER_NETNS)
    return replace(OWNERS, by_pid={**OWNERS.by_pid, STOPPED: stopped})


def test_of_several_that_share_a_port_the_owner_of_the_full_queue_is_named() -> None:
    found = finding(node(*silent(40), opened(80), listeners=workers(), workloads=with_stopped()), RULE)
    assert (found.shape, found.confidence) == ("queue-full", "proven")
    assert [p.process.pid for p in parties(found, "culprit") if p.process] == [STOPPED]
    assert any("ss -ltnp sport = :8000" in line for line in found.explanation)


@pytest.mark.parametrize("full", [{"owner_pid": None}, {"shared": True}, {"owner_pid": 79}])
def test_a_full_queue_of_one_of_several_without_a_known_owner_names_nobody(full: dict[str, Any]) -> None:
    found = finding(node(*silent(40), opened(80), listeners=workers(**full), workloads=with_stopped()), RULE)
    assert (found.shape, found.confidence) == ("queue-full", "likely")
    assert (named(found, "culprit"), named(found, "holder")) == ([], [])
    assert [(p.endpoint, p.process) for p in parties(found, "peer")] == [(SERVER, UNSET)]
    assert any("ss -ltnp sport = :8000" in line for line in found.explanation)


def test_of_workers_that_were_met_the_one_whose_queue_is_full_is_named() -> None:
    """Most connects are answered, by the others, which no container holds together."""
    bare = {pid: Workload(process=process(pid), netns=OTHER_NETNS) for pid in (SERVER_PID, STOPPED, 78)}
    owners = Workloads(by_pid={**OWNERS.by_pid, **bare})
    met = [accepted("closed-here", 30, owner_pid=pid, comm=f"app{pid}") for pid in (SERVER_PID, 78)]
    found = finding(node(*silent(26), opened(74), *met, listeners=workers(), workloads=owners), RULE)
    assert (found.shape, found.confidence) == ("queue-full", "proven")
    assert [p.process.pid for p in parties(found, "culprit") if p.process] == [STOPPED]


def test_who_is_not_named_is_known_by_where_it_is() -> None:
    found = finding(node(*silent(40), opened(80), listeners=workers(owner_pid=None), workloads=with_stopped()), RULE)
    assert [p.netns for p in parties(found, "peer")] == [OTHER_NETNS]


def test_two_full_queues_of_several_name_nobody() -> None:
    both = [queue(6, 5), *workers()[1:]]
    found = finding(node(*silent(40), listeners=both), RULE)
    assert (found.confidence, named(found, "culprit")) == ("likely", [])


def test_a_full_queue_at_any_address_is_not_of_who_listens_at_this_one() -> None:
    other = replace(queue(6, 5, at=Endpoint("::", SERVER.port)), owner_pid=STOPPED)
    assert said(node(*silent(40), listeners=[queue(0, 5), other]), RULE)[0][0] == "nobody-answers"


def test_a_queue_that_is_as_long_as_its_limit_is_not_full() -> None:
    assert said(node(*silent(40), listeners=[queue(5, 5)]), RULE)[0][0] == "nobody-answers"


def test_a_queue_that_was_full_for_moments_has_no_culprit() -> None:
    groups = [silent(n) for n in (0, 20, 40, 60)]
    some = moments_of(*groups, seconds=SECONDS, listeners=[queue(6, 5)])
    none = moments_of(*groups, seconds=SECONDS, listeners=[queue(0, 5)])
    shots = (*some.snapshots[:2], *none.snapshots[2:])
    found = finding(replace(some, snapshots=shots), RULE)
    assert (found.shape, found.confidence) == ("queue-full", "likely")
    assert (named(found, "culprit"), named(found, "holder")) == ([], ["batch"])


@pytest.mark.parametrize(
    ("risen", "also", "shape"),
    [
        (40, (), "queue-full"),
        (10, (), "nobody-answers"),
        (40, (listening(at=Endpoint(OTHER_POD, 9)),), "nobody-answers"),
    ],
)
def test_overflows_count_where_they_are_as_many_and_of_one_listener(risen: int, also: Any, shape: str) -> None:
    found = node(*silent(40), listeners=[queue(0, 5), *also])
    assert said(counted(found, risen), RULE)[0][0] == shape
