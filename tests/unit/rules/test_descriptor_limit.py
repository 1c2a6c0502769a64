"""descriptor-limit: a process or the node with as many files open as it may, and those that only have many."""

from __future__ import annotations

import pytest

from whodunnet.model.descriptors import Descriptors, DescriptorUse
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint, Sockets

from .nodes import FROM_BOOT, answers, finding, findings, group, in_container, moment, owners, parties, pids
from .suspects import descriptors, logged, node, use, waiting
from .test_accept_queue import stretched

RULE = "descriptor-limit"
SERVER = Endpoint("10.0.0.9", 8000)


def shop(*opened: int, **other: object) -> Recording:
    return node("descriptors", [descriptors(use(n)) for n in opened], **other)  # type: ignore[arg-type]


def test_a_process_that_has_nothing_left_and_lets_others_wait_is_named() -> None:
    found = finding(shop(1024, 1024, sockets=waiting(5)), RULE)
    assert (found.shape, found.severity, found.confidence, found.claim) == (
        "exhausted", "warning", "proven", "answers-not",
    )  # fmt: skip
    assert pids(found, "culprit") == [7]
    assert "shop" in found.title
    assert "sockets" in found.title
    assert "5 connections wait" in str(parties(found, "culprit")[0].effect)
    assert (found.evidence[0].value, found.evidence[0].limit) == (1024, 1024)


def test_without_anybody_waiting_it_only_holds_them() -> None:
    found = finding(shop(1024, 1024, sockets=waiting(0)), RULE)
    assert (found.shape, found.confidence, found.claim) == ("exhausted", "likely", "holds")
    assert (pids(found, "culprit"), pids(found, "holder")) == ([], [7])


def test_connections_that_wait_for_somebody_else_prove_nothing() -> None:
    assert finding(shop(1024, 1024, sockets=waiting(9, pid=8)), RULE).confidence == "likely"


@pytest.mark.parametrize(("opened", "shape"), [(1022, "exhausted"), (1021, "near"), (922, "near")])
def test_a_server_needs_two_to_accept(opened: int, shape: str) -> None:
    assert finding(shop(opened, opened, sockets=waiting(1)), RULE).shape == shape


def test_connections_that_wait_for_another_process_of_the_same_container_prove_nothing() -> None:
    same = owners(in_container("shop", 7, 8))
    sample = descriptors(use(1024), use(950, pid=8))
    found = finding(node("descriptors", [sample] * 2, workloads=same, sockets=waiting(9, pid=8)), RULE)
    assert (pids(found, "holder"), found.confidence) == ([7], "likely")


def test_one_reading_is_no_more_than_possible() -> None:
    found = finding(shop(1024, sockets=waiting(5)), RULE)
    assert (found.severity, found.confidence, pids(found, "culprit")) == ("info", "possible", [])


def test_a_pool_at_half_of_its_limit_is_cleared_with_its_number() -> None:
    (answer,) = answers(shop(512, 512, 512), RULE)
    assert isinstance(answer, Cleared)
    assert "app7" in answer.evidence[0].statement
    assert (answer.evidence[0].value, answer.evidence[0].limit) == (512, 1024)
    assert "120 processes" in answer.sensitivity


def test_the_limit_of_a_node_that_was_not_read_is_not_cleared() -> None:
    near = descriptors(use(30), open_files=999, max_files=1000)
    read, unread = (
        node("descriptors", [ROOMY] * 2),
        node("descriptors", [near, descriptors(open_files=None, max_files=None)]),
    )
    (known,), (unknown,) = answers(read, RULE), answers(unread, RULE)
    assert isinstance(known, Cleared)
    assert isinstance(unknown, Cleared)
    assert "the node's limit of open files as well" in known.sensitivity
    assert "the node's limit was not read" in unknown.sensitivity


def test_many_descriptors_far_from_the_limit_are_cleared() -> None:
    (answer,) = answers(node("descriptors", [descriptors(use(400_000, 1_048_576))] * 2), RULE)
    assert isinstance(answer, Cleared)


def test_one_that_has_closed_them_again_is_cleared() -> None:
    assert isinstance(answers(shop(1024, 1024, 100), RULE)[0], Cleared)


def test_workers_of_one_container_are_one_finding() -> None:
    same = owners(in_container("shop", 7, 8, 9))
    sample = descriptors(use(1000), use(990, pid=8), use(950, pid=9), use(1020, pid=11))
    found = findings(node("descriptors", [sample] * 2, workloads=same), RULE)
    assert [pids(f, "holder") for f in found] == [[11], [7]]
    assert "2 more of its processes" in str(parties(found[1], "holder")[0].effect)


def test_a_process_whose_owner_is_unknown_is_named_by_what_was_read() -> None:
    found = finding(node("descriptors", [descriptors(use(1024, pid=33))] * 2), RULE)
    assert "app33" in found.title


def test_a_pid_that_was_given_again_is_another_process() -> None:
    first, then = use(1024, started_seconds=50.0), use(1024, started_seconds=99.0)
    found = finding(node("descriptors", [descriptors(first), descriptors(then)], sockets=waiting(5)), RULE)
    assert found.confidence == "possible"


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        ((256, 0, 0), "all sockets"), ((200, 50, 6), "mostly sockets"), ((6, 240, 10), "mostly files"),
        ((100, 90, 66), "sockets, files and others"), ((0, 0, 0), "of what kind was not seen"),
    ],
)  # fmt: skip
def test_it_is_said_what_they_are(kinds: tuple[int, int, int], text: str) -> None:
    sockets, files, other = kinds
    sample = descriptors(use(1000, sockets=sockets, files=files, other=other))
    assert text in finding(node("descriptors", [sample] * 2), RULE).title


def test_a_node_at_its_limit_of_files_is_critical() -> None:
    sample = descriptors(use(60_000, 1_000_000), open_files=100_000, max_files=100_000)
    found = finding(node("descriptors", [sample] * 2), RULE)
    assert (found.shape, found.severity, found.confidence) == ("node-exhausted", "critical", "proven")
    assert found.title == "The node reached its limit of open files and sockets: 100,000 of 100,000 are open now"
    assert [(e.value, e.comparison) for e in found.evidence] == [(100_000, ">=")]
    assert pids(found, "holder") == [7]
    assert parties(found, "culprit") == []


def test_a_node_near_it_is_a_warning_and_its_log_line_proves_it() -> None:
    sample = descriptors(open_files=91_000, max_files=100_000)
    assert finding(node("descriptors", [sample] * 2), RULE).shape == "node-near"
    inside = node("descriptors", [sample] * 2, kernel_log=logged("file-max", 1.0))
    before = node("descriptors", [sample] * 2, kernel_log=logged("file-max", -60.0))
    assert finding(inside, RULE).shape == "node-exhausted"
    assert finding(before, RULE).shape == "node-near"


def test_a_line_of_before_the_window_alone_is_nothing() -> None:
    (answer,) = answers(node("descriptors", [descriptors()] * 2, kernel_log=logged("file-max", -1.0)), RULE)
    assert isinstance(answer, Cleared)


def test_a_node_that_was_at_its_limit_meanwhile_is_not_cleared_because_it_has_room_again() -> None:
    found = finding(node("descriptors", [descriptors()] * 2, kernel_log=logged("file-max", 1.0)), RULE)
    assert (found.shape, found.severity) == ("node-exhausted", "critical")
    assert found.title == (
        "The node reached its limit of open files and sockets 2 s ago: 5,000 of 2,000,000 are open now"
    )


FULL = descriptors(use(60_000, 1_000_000), open_files=100_000, max_files=100_000)
ROOMY = descriptors(use(30), open_files=5_000, max_files=100_000)


def test_a_node_that_was_at_its_limit_in_an_earlier_reading_was_at_it() -> None:
    found = finding(node("descriptors", [ROOMY, FULL, ROOMY, ROOMY]), RULE)
    assert (found.shape, found.severity, found.confidence) == ("node-exhausted", "critical", "proven")
    assert found.title == (
        "The node reached its limit of open files and sockets 2 s ago: 5,000 of 100,000 are open now"
    )
    assert [(e.value, e.comparison, e.boot_seconds) for e in found.evidence] == [
        (100_000, ">=", FROM_BOOT + 1), (5_000, "of", FROM_BOOT + 3),
    ]  # fmt: skip
    assert found.last_seen == moment(1.0).wall
    assert pids(found, "holder") == [7]
    assert parties(found, "holder")[0].effect == "had 60,000 descriptors open then, mostly sockets"
    assert "could open" in str(parties(found, "victim")[0].effect)


def test_who_had_most_at_the_limit_is_the_holder_and_not_who_has_most_near_it() -> None:
    near = descriptors(use(60_000, 1_000_000, pid=90), open_files=95_000, max_files=100_000)
    found = finding(node("descriptors", [FULL, near]), RULE)
    assert (found.shape, pids(found, "holder")) == ("node-exhausted", [7])


def test_a_limit_that_was_raised_meanwhile_was_reached_as_it_was() -> None:
    raised = descriptors(open_files=100_000, max_files=400_000)
    found = finding(node("descriptors", [FULL, raised]), RULE)
    assert found.title.endswith("3 s ago: 100,000 of 400,000 are open now")
    assert [(e.value, e.limit, e.comparison) for e in found.evidence] == [
        (100_000, 100_000, ">="), (100_000, 400_000, "of"),
    ]  # fmt: skip


def test_of_a_reading_and_a_line_of_the_log_the_later_tells_when() -> None:
    said = [(1.0, "1 s ago"), (2.5, "0.5 s ago")]
    for second, ago in said:
        log = logged("file-max", second)
        found = finding(node("descriptors", [ROOMY, ROOMY, FULL, ROOMY], kernel_log=log), RULE)
        assert f"sockets {ago}: " in found.title
        assert [e.source for e in found.evidence] == ["/proc/sys/fs/file-nr", "/proc/sys/fs/file-nr", "kernel log"]


def test_a_limit_that_was_reached_long_before_the_end_hurts_nobody_now() -> None:
    found = finding(stretched(node("descriptors", [ROOMY, FULL, ROOMY, ROOMY]), 600.0), RULE)
    assert (found.shape, found.severity, found.confidence) == ("node-exhausted", "warning", "proven")
    assert "sockets 400 s ago: " in found.title
    assert [r.action for r in found.remedies if r.action == "tune"] == []


def test_what_the_log_says_shows_it_where_no_reading_does() -> None:
    found = finding(node("descriptors", [ROOMY] * 2, kernel_log=logged("file-max", 3.0)), RULE)
    assert [e.source for e in found.evidence] == ["kernel log", "/proc/sys/fs/file-nr"]
    assert found.title == "The node reached its limit of open files and sockets: 5,000 of 100,000 are open now"


def test_who_has_most_of_a_few_files_now_is_not_who_had_them_when_the_log_said_so() -> None:
    few = descriptors(use(4_000, 1_000_000), open_files=5_000, max_files=100_000)
    found = finding(node("descriptors", [few] * 2, kernel_log=logged("file-max", 1.0)), RULE)
    assert parties(found, "holder") == []


def test_the_log_says_so_also_where_the_numbers_could_not_be_read() -> None:
    unread = descriptors(open_files=None, max_files=None)
    found = finding(node("descriptors", [unread] * 2, kernel_log=logged("file-max", 1.0)), RULE)
    assert found.shape == "node-exhausted"
    assert found.title.endswith("2 s ago: how many are open now was not read")
    assert [e.source for e in found.evidence] == ["kernel log"]
    assert [r.action for r in found.remedies if r.action == "tune"] == []


def test_a_sandbox_that_was_given_a_limit_below_what_it_has_open_is_cleared() -> None:
    sandbox = node("descriptors", [descriptors(use(90, 0))] * 2)
    assert isinstance(answers(sandbox, RULE)[0], Cleared)
    served = node("descriptors", [descriptors(use(90, 64))] * 2, sockets=waiting(5))
    assert finding(served, RULE).confidence == "proven"


def sandboxes(n: int) -> list[DescriptorUse]:
    return [use(40, 1, pid=100 + i) for i in range(n)]


def test_who_is_above_a_limit_of_its_own_is_no_evidence_that_nobody_is_near() -> None:
    (answer,) = answers(node("descriptors", [descriptors(*sandboxes(2), use(512))] * 2), RULE)
    assert isinstance(answer, Cleared)
    assert "app7" in answer.evidence[0].statement
    assert (answer.evidence[0].value, answer.evidence[0].limit) == (512, 1024)
    assert "2 processes above a limit that was lowered afterwards" in answer.sensitivity


def test_sandboxes_alone_are_cleared_with_the_files_of_the_node() -> None:
    (answer,) = answers(node("descriptors", [descriptors(*sandboxes(2))] * 2), RULE)
    assert isinstance(answer, Cleared)
    assert [(e.value, e.limit) for e in answer.evidence] == [(5_000, 2_000_000)]


def test_of_many_above_their_limit_the_one_that_lets_others_wait_is_named() -> None:
    """Just above a limit that was lowered: of all that are above theirs it is the nearest."""
    sample = descriptors(*sandboxes(8), use(1_100), use(100, pid=1))
    found = finding(node("descriptors", [sample] * 2, sockets=waiting(5)), RULE)
    assert (found.shape, found.confidence, pids(found, "culprit")) == ("exhausted", "proven", [7])


@pytest.mark.parametrize("n", [9, 32])
def test_sandboxes_that_all_found_room_are_no_reason_to_doubt(n: int) -> None:
    (answer,) = answers(node("descriptors", [descriptors(*sandboxes(n))] * 2), RULE)
    assert isinstance(answer, Cleared)
    assert f"not of {n} processes above a limit that was lowered afterwards" in answer.sensitivity


@pytest.mark.parametrize("listed", [[*sandboxes(31), use(100)], [*sandboxes(32)], [*sandboxes(8), use(900)], []])
def test_where_one_above_its_limit_may_have_found_no_room_nobody_is_cleared(listed: list[DescriptorUse]) -> None:
    (answer,) = answers(node("descriptors", [descriptors(*listed, near_left_out=1)] * 2), RULE)
    assert isinstance(answer, NotChecked)
    assert (answer.code, "1 process" in answer.reason) == ("unreadable", True)


def test_who_was_left_out_below_one_that_is_not_near_is_told_and_hides_nothing() -> None:
    (answer,) = answers(node("descriptors", [descriptors(use(900), near_left_out=3)] * 2), RULE)
    assert isinstance(answer, Cleared)
    assert "3 processes" in answer.sensitivity


def test_who_has_some_left_is_not_said_to_have_none() -> None:
    found = finding(shop(1022, 1022, sockets=waiting(5)), RULE)
    assert (found.shape, found.confidence, pids(found, "culprit")) == ("exhausted", "likely", [])
    assert "has 2 descriptors left" in found.title


def test_a_higher_limit_leaves_the_hard_limit_alone() -> None:
    commands = [r.command for r in finding(shop(1024, 1024), RULE).remedies if r.action == "tune"]
    assert commands == ["prlimit --pid 7 --nofile=2048:"]


def forgotten(n: int, open: int = 0, *, others: int = 0, pid: int = 7) -> Sockets:
    """n, others: in CLOSE_WAIT to one endpoint and to another; open: established."""
    to = ((n, SERVER), (others, Endpoint("10.0.0.8", 80)))
    groups = [group("held-open", k, pid=pid, state="close-wait", endpoint=peer) for k, peer in to if k]
    groups += [group("held-open", open, pid=pid, endpoint=SERVER)] if open else []
    return Sockets(method="bpf", groups=tuple(groups))


def test_connections_that_the_other_end_has_closed_are_told_and_closing_them_comes_first() -> None:
    found = finding(shop(1024, 1024, sockets=forgotten(1000, 4)), RULE)
    assert "mostly sockets, 1,000 in CLOSE_WAIT" in found.title
    readings = {e.statement: (e.value, e.limit) for e in found.evidence}
    assert readings["Its TCP sockets in CLOSE_WAIT: the other end has closed, and it has not"] == (1000, 1004)
    assert readings["Of those of one endpoint, 10.0.0.9:8000"] == (1000, 1000)
    actions = [r.action for r in found.remedies]
    assert actions.count("fix-application") == 1
    assert actions.index("fix-application") < actions.index("tune")
    assert "the other end has closed" in next(r.do for r in found.remedies if r.action == "fix-application")


@pytest.mark.parametrize(("closed", "told"), [(512, False), (513, True)])
def test_a_few_closed_connections_among_others_are_not_the_reason(closed: int, told: bool) -> None:
    found = finding(shop(1024, 1024, sockets=forgotten(closed, 500)), RULE)
    assert ("CLOSE_WAIT" in found.title) is told
    assert (found.remedies[-1].action == "fix-application") is not told


def test_closed_connections_of_another_process_are_not_its_own() -> None:
    assert "CLOSE_WAIT" not in finding(shop(1024, 1024, sockets=forgotten(1000, pid=8)), RULE).title


def test_closed_connections_to_many_have_no_endpoint_in_common() -> None:
    found = finding(shop(1024, 1024, sockets=forgotten(500, others=500)), RULE)
    assert "1,000 in CLOSE_WAIT" in found.title
    assert not any("of one endpoint" in e.statement for e in found.evidence)


@pytest.mark.parametrize(("denied", "answer"), [(120, Cleared), (121, NotChecked)])
def test_where_most_processes_could_not_be_counted_nobody_is_cleared(denied: int, answer: type) -> None:
    assert isinstance(answers(node("descriptors", [descriptors(use(100), denied=denied)]), RULE)[0], answer)


def test_where_no_process_could_be_counted_it_is_not_checked() -> None:
    (answer,) = answers(node("descriptors", [Descriptors(denied=12)]), RULE)
    assert isinstance(answer, NotChecked)
    assert (answer.code, answer.missing_capability) == ("missing-capability", "CAP_SYS_PTRACE")


def test_a_collector_that_failed_is_not_checked() -> None:
    (answer,) = answers(node("descriptors", [Failure(code="unreadable", reason="no /proc")]), RULE)
    assert isinstance(answer, NotChecked)
