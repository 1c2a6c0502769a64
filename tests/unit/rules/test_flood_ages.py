"""Entries that are older than whoever has the address now."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from whodunnet.model.snapshot import Recording
from whodunnet.model.workload import Workloads

from .flows import FAR, PodAt, churn, culprits, idle, only, opened, twice
from .nodes import BEGIN


def started(pod: PodAt, seconds: float) -> PodAt:
    """The pod, whose container was started so long before the first moment."""
    container = pod.workload.container
    assert container is not None
    pod.workload = replace(pod.workload, container=replace(container, started=BEGIN - timedelta(seconds=seconds)))
    return pod


def test_entries_older_than_the_pod_are_not_its_own() -> None:
    pod = started(PodAt(1), 100)
    found = twice(idle(pod.address, FAR, 9_500, age=7_200), pods=[pod], sockets=())
    assert culprits(found) == []
    assert "before it was started" in " ".join(only(found).explanation)


@pytest.mark.parametrize(("own", "named"), [(4_000, []), (9_000, ["web-1"])])
def test_most_of_them_have_to_be_older(own: int, named: list[str]) -> None:
    pod = started(PodAt(1), 400)
    entries = idle(pod.address, FAR, own, age=60), idle(pod.address, FAR, 9_500 - own, age=7_200)
    assert culprits(twice(*entries, pods=[pod])) == named


def test_short_connections_from_before_it_was_started_are_not_its_own() -> None:
    pod = started(PodAt(1), 5)
    assert culprits(twice(churn(pod.address, FAR, 9_500), pods=[pod])) == []


def test_a_container_that_restarts_does_not_escape_while_its_pod_stays() -> None:
    """The oldest process of a pod is the one that holds its namespace."""
    pod = started(PodAt(1), 100)
    found = twice(idle(pod.address, FAR, 9_500, age=7_200), pods=[pod], sockets=())
    assert culprits(found) == []
    since = {pod.netns: BEGIN - timedelta(seconds=8_000)}
    assert culprits(with_starts(found, since)) == ["web-1"]


def with_starts(recording: Recording, since: dict[int, datetime]) -> Recording:
    """The same, where it is known since when namespaces are lived in."""
    snapshots = []
    for s in recording.snapshots:
        workloads = s.samples["workloads"]
        assert isinstance(workloads, Workloads)
        snapshots.append(replace(s, samples={**s.samples, "workloads": replace(workloads, since_by_netns=since)}))
    return replace(recording, snapshots=tuple(snapshots))


def test_a_pod_that_is_older_than_its_entries_is_named() -> None:
    pod = started(PodAt(1), 8_000)
    assert culprits(twice(idle(pod.address, FAR, 9_500, age=3_600), pods=[pod])) == ["web-1"]


@pytest.mark.parametrize(("sockets", "confidence"), [(0, "likely"), (4_749, "likely"), (4_750, "proven")])
def test_idle_entries_without_sockets_are_no_proof(sockets: int, confidence: str) -> None:
    pod = PodAt(1)
    groups = [opened(7, FAR, sockets, netns=pod.netns)] if sockets else []
    found = only(twice(idle(pod.address, FAR, 9_500, age=3_600), pods=[pod], sockets=groups))
    assert (found.confidence, found.claim) == (confidence, "floods")
