"""What a sample says of its own gaps, and the page that is made of such answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lab import support_answers
from lab.markdown import table
from lab.support_answers import Answer, answer_of, answers
from lab.support_inside import Machine, Under
from lab.support_page import Notes, Run, Support, cell, loaded, lockdown, not_checked, page
from lab.support_programs import programs
from lab.support_rights import RIGHTS, under
from whodunnet.collectors.snapshots import COLLECTORS
from whodunnet.model.connections import Connections
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.counters import Counters
from whodunnet.model.descriptors import Descriptors
from whodunnet.model.ports import NamespacePorts, Ports
from whodunnet.model.sample import Failure, Moment
from whodunnet.model.snapshot import AnySample, Snapshot
from whodunnet.model.sockets import Sockets
from whodunnet.model.stalls import Stalls
from whodunnet.model.workload import Process, Workload, Workloads

REFUSED = Failure(code="missing-capability", reason="no right")
AT = Moment(wall=datetime(2026, 1, 1, tzinfo=UTC), boot_seconds=1.0)


def owner(exe: str | None) -> Workload:
    return Workload(process=Process(pid=7, comm="a", exe=exe))


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (Counters(netns_read=2), Answer("full")),
        (Counters(netns_read=1, netns_unread=1), Answer("part", (support_answers.NOT_ENTERED,))),
        (REFUSED, Answer("failed", ("no right",))),
        (Conntrack(loaded=True, dump_failure=REFUSED), Answer("part", ("no right",))),
        (Descriptors(processes=3, denied=1), Answer("part", (support_answers.NOT_COUNTED,))),
        (Ports(by_netns={1: NamespacePorts(sockets=9, time_wait=0, unread="why")}), Answer("part", ("why",))),
        (Stalls(watched_seconds=1, threshold_seconds=1, symbols_reason="no names"), Answer("part", ("no names",))),
        (Sockets(method="bpf", groups=()), Answer("full")),
        (Sockets(method="bpf", groups=(), all_processes=False), Answer("part", (support_answers.NOT_IN_SIGHT,))),
        (Sockets(method="sock_diag", groups=(), fallback_reason="x"), Answer("fallback", ("x",), "sock_diag")),
        (
            Connections(method="counters", groups=(), watched_seconds=0, netns_unread=2, fallback_reason="x"),
            Answer("fallback", ("x", support_answers.NOT_ENTERED), "counters"),
        ),
        (Workloads(by_pid={7: owner(exe=None)}), Answer("part", (support_answers.WITHOUT_PROGRAM,))),
        (Workloads(by_pid={8: owner(exe="/bin/a")}), Answer("part", (support_answers.WITHOUT_NAME,))),
        (Workloads(by_pid={7: owner(exe="/bin/a")}), Answer("full")),
    ],
)
def test_an_answer_is_what_the_sample_says_of_itself(sample: AnySample, expected: Answer) -> None:
    assert answer_of(sample, server=7) == expected


def test_a_collector_that_nobody_asked_is_neither_full_nor_failed() -> None:
    found = answers(Snapshot(at=AT, samples={"counters": Counters()}), server=7)
    assert list(found) == list(COLLECTORS)
    assert found["counters"].outcome == "full"
    assert found["addresses"] == Answer("unasked", (support_answers.NOT_ASKED,))


def test_root_stays_as_it_is_and_others_lose_what_is_not_named() -> None:
    assert under("root") == []
    words = under("bpf")
    assert words[0] == "setpriv"
    for sets in ("--inh-caps", "--ambient-caps", "--bounding-set"):
        assert f"{sets}=-all,+bpf,+perfmon" in words
    assert "--bounding-set=-all" in under("none")


def test_every_object_has_its_programs_and_where_they_belong() -> None:
    found = programs()
    assert set(found) == {"connections", "files", "retransmissions", "sockets", "stalls"}
    assert found["stalls"]["sample"] == "perf_event"
    assert found["connections"]["change_state"] == "tp_btf/inet_sock_set_state"
    assert found["sockets"]["walk_table"] == "raw_tp"


def test_a_reason_has_one_number_wherever_it_stands() -> None:
    notes = Notes()
    assert cell(Answer("full"), notes) == "full"
    assert cell(Answer("failed", ("a",)), notes) == "no [1]"
    assert cell(Answer("fallback", ("b", "a"), "sock_diag"), notes) == "sock_diag [2] [1]"
    assert cell(Answer("unasked", ("c",)), notes) == "- [3]"
    assert notes.lines() == ["1. a", "2. b", "3. c"]


def test_programs_of_one_object_are_counted_together() -> None:
    found = {"a.one": Answer("full"), "a.two": Answer("failed", ("x",)), "ab.one": Answer("full")}
    assert loaded("a", found, Notes()) == "1 of 2 [1]"
    assert loaded("ab", found, Notes()) == "1 of 1"


def machine(line: str = "none [integrity] confidentiality", **gaps: str) -> Machine:
    one = Under(dict.fromkeys(COLLECTORS, Answer("full")), {"a.one": Answer("full")}, gaps)
    return Machine("6.1.0", line, "PREEMPT_DYNAMIC", dict.fromkeys(RIGHTS, one))


@pytest.mark.parametrize(("line", "mode"), [("none [integrity] x", "integrity"), ("", "not in this kernel")])
def test_lockdown_is_the_word_in_brackets(line: str, mode: str) -> None:
    assert lockdown(machine(line)) == mode


def test_machines_with_the_same_gaps_share_a_line() -> None:
    runs = {"host": machine(), "6.1 none": machine(resets="x"), "6.1 integrity": machine(resets="y")}
    support = Support({name: Run("2026-01-01", "0", "abc", one) for name, one in runs.items()})
    assert "- host: none\n- 6.1, 6.1 integrity: resets\n" in not_checked(support, "root")


def test_a_page_of_one_machine_on_which_all_works_has_no_reason() -> None:
    text = page(Support({"host": Run("2026-01-01", "0", "abc", machine())}))
    assert "| **host** | 6.1.0 | integrity | 2026-01-01 | 0 (abc) |" in text
    assert text.count("| full |") == len(COLLECTORS) * len(RIGHTS)
    assert text.endswith("## Reasons\n\n\n")


def test_a_table_has_its_rule() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
