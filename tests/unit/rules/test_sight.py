"""What was out of sight, could not be compared, or belongs to several: never an all-clear, never an accusation."""

from __future__ import annotations

import msgspec
import pytest

from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.workload import Workload
from whodunnet.rules.remedies import restart

from .nodes import answers, finding, group, leak, listener, memory_of, named, parties, process, recording

MARKS = 65_536


def test_a_leak_of_more_sockets_than_can_be_compared_is_found() -> None:
    many = [group("response-never-read", 200_000, age=60, unchanged=n, unmarked=200_000 - MARKS) for n in (None, MARKS)]
    assert finding(recording([[g] for g in many])).shape == "response-never-read"


def test_sockets_that_could_be_compared_and_moved_are_no_leak() -> None:
    many = [group("response-never-read", 200_000, age=60, unchanged=n, unmarked=200_000 - MARKS) for n in (None, 9_000)]
    assert [type(a) for a in answers(recording([[g] for g in many]))] == [Cleared]


def test_a_queue_that_init_handed_on_is_not_its_doing() -> None:
    handed_on = msgspec.structs.replace(listener(1), shared=True)
    node = leak("accept-not-called", [90, 90], age=60, accept_queues=(handed_on,), workloads=named(1))
    assert parties(finding(node), "culprit") == []


def test_with_listeners_left_out_nobody_knows_whose_queue_it_is() -> None:
    groups = [group("accept-not-called", 90, age=60, unchanged=90)]
    node = recording([groups] * 2, accept_queues=(listener(7),), listeners_cut=True)
    assert parties(finding(node), "culprit") == []


@pytest.mark.parametrize(("shared", "confidence"), [(45, "proven"), (46, "likely")])
def test_sockets_that_others_have_open_too_prove_less(shared: int, confidence: str) -> None:
    groups = [group("response-never-read", 90, age=60, unchanged=90, shared=shared, memory=90 * 4096)]
    assert finding(recording([groups] * 2)).confidence == confidence


def test_what_init_shares_with_others_is_possible_at_most() -> None:
    groups = [group("response-never-read", 90, pid=1, age=60, unchanged=90, shared=90)]
    assert finding(recording([groups] * 2, workloads=named(1))).confidence == "possible"


@pytest.mark.parametrize("owner", [process(1), process(7, state="gone"), process(7, state="zombie")])
def test_nobody_is_told_to_kill_init_or_a_process_that_is_gone(owner: object) -> None:
    assert restart(Workload(process=owner), "frees it", "again") is None  # type: ignore[arg-type]


def test_a_process_that_was_not_looked_up_is_not_killed() -> None:
    unknown = msgspec.structs.replace(process(7), started=None)
    assert restart(Workload(process=unknown), "frees it", "again") is None


def test_sockets_that_fitted_in_no_group_were_not_judged() -> None:
    node = recording([[]] * 2, other_sockets=50_000, memory=memory_of(10, alloc_sockets=50_000))
    assert [type(a) for a in answers(node)] == [NotChecked]


def test_without_bpf_and_without_the_kernels_number_nothing_is_cleared() -> None:
    node = recording([[group("serving", 9)]] * 2, method="sock_diag", fallback_reason="an old kernel")
    (answer,) = answers(node)
    assert isinstance(answer, NotChecked)
    assert "was not read" in answer.reason
