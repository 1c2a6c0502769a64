"""What the finding of a leak shows: evidence, commands, parties."""

from __future__ import annotations

import shlex

import pytest

from whodunnet.model.sample import Failure
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Process, Workload, Workloads

from .nodes import (
    LEAK,
    LEAKS,
    MIN,
    PAGE,
    client,
    culprits,
    finding,
    findings,
    group,
    held,
    in_container,
    leak,
    memory_of,
    named,
    owners,
    pairs,
    parties,
    reading,
    recording,
    said,
    server,
)


@pytest.mark.parametrize("kind", [*LEAKS, "held-open"])
def test_a_finding_has_evidence_that_can_be_repeated_and_a_short_summary(kind: str) -> None:
    counts = [300, 330, 360, 390]
    found = finding(leak(kind, counts, seconds=90, age=400, each=PAGE, unsent=9, memory=memory_of(9_000)))
    assert found.evidence
    assert all(e.repeat and e.source and e.statement for e in found.evidence)
    assert len(found.summary.encode()) <= 80
    assert found.shape == kind


def test_the_command_that_repeats_a_reading_enters_the_namespace_and_quotes_the_peer() -> None:
    node = leak("response-never-read", [MIN, MIN], age=60, endpoint=Endpoint("2001:db8::5", 443))
    words = shlex.split(finding(node).evidence[0].repeat)
    assert words == ["nsenter", "-t", "7", "-n", "ss", "-tnmp", "state", "connected", "dst", "[2001:db8::5]:443"]


def test_the_command_for_a_server_names_its_port() -> None:
    node = leak("accept-not-called", [90, 90], age=60)
    assert shlex.split(finding(node).evidence[0].repeat)[-2:] == ["src", ":8080"]


def test_a_leak_with_one_far_end_has_no_more() -> None:
    assert "more" not in finding(leak("response-never-read", [MIN, MIN], age=60)).title


def test_a_leak_with_three_far_ends_names_them_and_one_with_more_names_three() -> None:
    groups = [
        group("response-never-read", 50 - n, age=60, unchanged=50 - n, endpoint=Endpoint(f"203.0.113.{n}", 443))
        for n in range(5)
    ]
    found = finding(recording([groups, groups]))
    assert [p.endpoint for p in parties(found, "peer")] == [Endpoint(f"203.0.113.{n}", 443) for n in range(3)]
    assert "and 4 more" in found.title


@pytest.mark.parametrize(("limit_of", "n"), [(1_024, 1), (None, 0)])
def test_descriptors_are_compared_with_what_the_process_may_open(limit_of: int | None, n: int) -> None:
    node = leak("response-never-read", [MIN, MIN], age=60, workloads=named(7, descriptor_limit=limit_of))
    assert [e.limit for e in finding(node).evidence if e.unit == "descriptors"] == [limit_of] * n


def test_what_waits_for_accept_is_no_share_of_the_descriptors() -> None:
    found = finding(leak("accept-not-called", [90, 180], age=60, workloads=named(7, descriptor_limit=1_024)))
    culprit = parties(found, "culprit")[0]
    assert isinstance(culprit.process, Process)
    assert (culprit.sockets, culprit.process.descriptor_limit) == (180, None)
    assert not any("descriptors" in line for line in found.explanation)
    assert [e for e in found.evidence if e.unit == "descriptors"] == []


def test_descriptors_of_several_processes_are_not_compared_with_the_limit_of_one() -> None:
    groups = [group("response-never-read", MIN, pid=pid, age=60, unchanged=MIN) for pid in (7, 8)]
    node = recording([groups, groups], workloads=owners(in_container("web", 7, 8, descriptor_limit=64)))
    assert [e for e in finding(node).evidence if e.unit == "descriptors"] == []


def test_the_memory_of_a_reader_tells_how_much_of_it_is_with_its_peers() -> None:
    groups = [group("send-queue-full", MIN, pid=1, memory=MIN * 10 * PAGE),
              group("response-never-read", MIN, pid=2, age=60, memory=MIN * PAGE, unchanged=MIN)]  # fmt: skip
    node = recording([groups] * 2, stuck=tuple(pairs(1, 2, MIN, memory=10 * PAGE)), stuck_total=2 * MIN,
                     workloads=named(1, 2))  # fmt: skip
    (memory,) = [e for e in finding(node).evidence if e.unit == "pages"]
    assert (memory.value, memory.limit) == (11 * MIN, 11 * MIN)
    assert f"{10 * MIN:,} pages of it in the send queues of its peers" in memory.statement


def test_the_evidence_of_a_growth_is_the_growth() -> None:
    found = finding(leak("response-never-read", [MIN, MIN + 33], age=60))
    assert 33 in [e.value for e in found.evidence if "grow" in e.statement.lower()]


def test_the_evidence_of_old_connections_is_their_number() -> None:
    found = finding(leak("close-forgotten", [300, 330], age=40, old=250))
    assert found.evidence[0].value == 250


def test_a_hostile_name_stays_text() -> None:
    workloads = Workloads(
        by_pid={7: Workload(process=in_container("x", 7, comm="\x1b]0;{who}\n\u202e$(rm)" * 9)[7].process)}
    )
    found = finding(leak("response-never-read", [MIN, MIN], age=60, workloads=workloads))
    assert found.title.isprintable()
    assert len(found.summary.encode()) <= 80


# --- Found by review -----------------------------------------------------------------------------------------------


def test_a_proxy_held_up_by_a_remote_client_is_not_the_culprit() -> None:
    """A remote client does not read from the proxy, so the proxy does not read from the server."""
    groups = [
        group("send-queue-full", 60, pid=1, memory=60_000_000, unchanged=60),
        group("send-queue-full", 60, pid=2, memory=60_000_000, unchanged=60),
        group("response-never-read", 60, pid=2, memory=6_000_000, unchanged=60, age=60),
    ]
    stuck = [held(2, server(9000), Endpoint("198.51.100.4", 1_000 + i), memory_bytes=1_000_000) for i in range(60)]
    stuck += pairs(1, 2, 60, first=500, memory=1_000_000)
    node = recording([groups, groups], stuck=tuple(stuck), stuck_total=len(stuck), workloads=named(1, 2))
    assert culprits(node) == []
    assert "peer-does-not-read" in [f.shape for f in findings(node)]


def test_a_service_whose_reader_is_ambiguous_is_not_called_a_remote_peer() -> None:
    service = Endpoint("10.96.0.1", 80)
    stuck = [held(1, client(i), service, role="initiated") for i in range(60)]
    stuck += [reading(2, server(a), client(i), role="accepted") for i in range(60) for a in (8_080, 8_081)]
    groups = [group("send-queue-full", 60, pid=1, role="initiated", endpoint=service)]
    node = recording([groups, groups], stuck=tuple(stuck), stuck_total=len(stuck), workloads=named(1, 2))
    assert "peer-does-not-read" not in [f.shape for f in findings(node)]


def test_no_party_ties_up_more_than_all_memory() -> None:
    groups = [group("send-queue-full", 60, pid=1, memory=600_000),
              group("response-never-read", 60, pid=2, age=60, memory=60_000, unchanged=60)]  # fmt: skip
    large = tuple(pairs(1, 2, 6, memory=20_000))  # the sample happens to hold the larger ones
    node = recording([groups] * 2, stuck=large, stuck_total=120, workloads=named(1, 2))
    shares = [p.share for p in finding(node).parties if isinstance(p.share, float)]
    assert max(shares) <= 1


def test_the_sockets_of_a_holder_are_scaled_from_the_sample_to_all() -> None:
    groups = [group("send-queue-full", 600, pid=1, memory=600_000),
              group("response-never-read", 600, pid=2, age=60, memory=60_000, unchanged=600)]  # fmt: skip
    node = recording([groups] * 2, stuck=tuple(pairs(1, 2, 60, memory=1_000)), stuck_total=1_200,
                     workloads=named(1, 2))  # fmt: skip
    (holder,) = parties(finding(node), "holder")
    assert (holder.sockets, holder.memory_bytes) == (600, 600_000)


def test_without_any_memory_the_attributed_share_is_that_of_the_sockets() -> None:
    assert said(leak("never-connected", [MIN, MIN + 20])) == [("never-connected", "proven")]


def test_where_no_owner_is_known_there_is_no_culprit() -> None:
    node = leak("response-never-read", [90, 90], age=60, pid=None)
    assert parties(finding(node), "culprit") == []


def test_a_command_never_names_a_process_that_is_not_known() -> None:
    assert "None" not in finding(leak("never-connected", [900, 900], pid=None)).evidence[0].repeat


def test_the_command_for_a_remote_reader_is_one_that_ss_understands() -> None:
    stuck = [held(1, server(), Endpoint("2001:db8::5", 1_000 + i), memory_bytes=9) for i in range(60)]
    groups = [group("send-queue-full", 60, pid=1, memory=9)]
    node = recording([groups] * 2, stuck=tuple(stuck), stuck_total=60, workloads=named(1))
    assert shlex.split(finding(node).evidence[0].repeat)[-1] == "[2001:db8::5]"


def test_the_victim_of_used_up_memory_is_the_node() -> None:
    node = leak("response-never-read", [1_000, 1_000], age=60, each=15 * PAGE, memory=memory_of(15_000))
    assert parties(finding(node), "victim")[0].node == "n1"


def test_it_is_not_said_that_none_went_away_when_some_did() -> None:
    found = finding(leak("held-open", [205, 200, 210, 220], seconds=60, age=60))
    assert "none of them went away" not in " ".join(e.statement for e in found.evidence)


def test_a_failed_look_up_of_names_at_the_end_does_not_break_the_history_of_a_leak() -> None:
    node = leak("response-never-read", [MIN, MIN + 20], age=60, each=9)
    last = node.snapshots[-1]
    failed = last.__class__(at=last.at, samples={**last.samples, "workloads": Failure(code="vanished", reason="gone")})
    node = node.__class__(node=node.node, snapshots=(*node.snapshots[:-1], failed))
    assert said(node) == [("response-never-read", "proven")]


def test_the_limits_of_the_contract_are_those_of_the_catalogue() -> None:
    assert (LEAK.limit("proven_share"), LEAK.limit("proven_attributed")) == (0.5, 0.8)
