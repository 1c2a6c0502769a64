"""The score board: what becomes a cell, how cells are counted, and that the page is written from them alone."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lab import board as boards
from lab import series
from lab.board import JSON, PAGE, Board, read, to_run
from lab.board_text import cell, explanations, misses, page, summary, total
from lab.case import Case, Expected, Named
from lab.catalogue import find, names
from lab.kernel_packages import Kernel
from lab.look import Sight
from lab.outcome import Machine, Outcome, merged, no_answer, not_scored, scored
from lab.stage import ROOT
from lab.who import Who

HOST = Machine(name="host", kernel="6.18.1", cpus=2)
OTHER = Machine(name="6.1", kernel="6.1.0-9-amd64", cpus=2)
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LEAK, VICTIM = Who("leak", frozenset({7})), Who("shop", frozenset({8}))


class Fault(Case):
    """One leaks, another suffers."""

    kind = "fault"
    age_seconds = 3

    def start(self) -> None: ...

    def look(self) -> Sight:
        return Sight(True, "")

    def expected(self) -> Expected:
        return Expected(rule="socket-leak", shapes=("unread",), culprits=(LEAK,), others=(Named(VICTIM, ("victim",)),))


class Quiet(Fault):
    def expected(self) -> Expected:
        return replace(super().expected(), severities=("info",))


class Healthy(Fault):
    kind = "look-alike"

    def expected(self) -> Expected:
        return Expected(rule=None, innocent=(LEAK,))


def party(who: Who, role: str) -> dict[str, Any]:
    (pid,) = who.pids
    return {"role": role, "process": {"pid": pid, "comm": who.comm}}


def diagnosis(*parties: dict[str, Any], shape: str = "unread") -> dict[str, Any]:
    found = {
        "id": "socket-leak", "rule": "socket-leak", "severity": "warning", "claim": "leaks", "title": "It leaks",
        "shape": shape, "evidence": [], "parties": list(parties),
    }  # fmt: skip
    said = [found] if parties else []
    cleared = [{"rule": rule} for rule in ("socket-leak", "tcp-memory")]
    cost = {"cpu_seconds": 0.5, "peak_rss_bytes": 2**20}
    return {"outcome": "findings" if said else "healthy", "findings": said, "cleared": cleared, "cost": cost}


def outcome(case: Case, said: dict[str, Any], **other: Any) -> Outcome:
    return scored(case, case.expected(), said, 6.0, **{"machine": HOST, "commit": "abc", "at": AT, **other})


RIGHT = diagnosis(party(LEAK, "culprit"), party(VICTIM, "victim"))


def test_a_right_diagnosis_names_everyone_in_time() -> None:
    found = outcome(Fault(), RIGHT)
    assert (found.result, found.named, found.to_name) == ("right", 2, 2)
    assert (found.rule_right, found.shape_right, found.called, found.called_wrongly) == (True, True, 1, 0)
    assert (found.seconds_to_name, found.diagnose_seconds) == (9.0, 6.0)
    assert (found.cpu_seconds, found.peak_rss_bytes) == (0.5, 2**20)


def test_a_victim_who_is_called_culprit_is_neither_named_nor_spared() -> None:
    found = outcome(Fault(), diagnosis(party(VICTIM, "culprit")))
    assert (found.result, found.named, found.called, found.called_wrongly) == ("wrong", 0, 1, 1)
    assert any("shop" in complaint for complaint in found.blamed)


def test_another_shape_is_wrong() -> None:
    found = outcome(Fault(), diagnosis(party(LEAK, "culprit"), party(VICTIM, "victim"), shape="orphans"))
    assert (found.result, found.rule_right, found.shape_right) == ("wrong", True, False)


def test_a_finding_on_a_healthy_node_is_a_false_one() -> None:
    quiet, loud = outcome(Healthy(), diagnosis()), outcome(Healthy(), diagnosis(party(LEAK, "culprit")))
    assert (quiet.result, quiet.rule_right, quiet.seconds_to_name) == ("right", True, None)
    assert (loud.result, loud.rule_right, len(loud.extra), loud.called_wrongly) == ("wrong", False, 1, 1)


def test_figures_are_counted_over_what_was_scored() -> None:
    cells = [
        outcome(Fault(), RIGHT),
        outcome(Fault(), diagnosis(party(VICTIM, "culprit"))),
        outcome(Healthy(), diagnosis()),
        not_scored(Fault(), "no nginx", machine=HOST, commit="abc", at=AT),
    ]
    figures = total(cells)
    assert figures["faults right"] == "1 of 2 (50 %)"
    assert figures["healthy and look-alike right"] == "1 of 1 (100 %)"
    assert (figures["recall"], figures["precision"]) == ("2 of 4 (50 %)", "1 of 2 (50 %)")
    assert (figures["not scored"], figures["innocents blamed"]) == ("1", "1")
    assert figures["median seconds from fault to name"] == "9.0"


def test_the_newest_run_counts_and_of_those_of_one_commit_the_worst() -> None:
    wrong, right = outcome(Fault(), diagnosis()), outcome(Fault(), RIGHT)
    for first, second in ((wrong, right), (right, wrong)):
        (both,) = merged([first], [second])
        assert (both.result, both.missing, both.runs, both.right_runs) == ("wrong", wrong.missing, 2, 1)
        assert "right in 1 of 2 runs" in cell(both)
    (newer,) = merged([both], [msgspec.structs.replace(right, commit="def")])
    assert (newer.runs, newer.right_runs) == (1, 1)
    assert len(merged([wrong], [msgspec.structs.replace(right, machine=OTHER)])) == 2


def test_what_could_not_be_scored_takes_no_score_away_and_is_told() -> None:
    wrong, odd = outcome(Fault(), diagnosis()), not_scored(Fault(), "?", machine=HOST, commit="def", at=AT)
    (kept,) = merged([wrong], [odd])
    assert kept == msgspec.structs.replace(wrong, not_made_since="def")
    assert "not made real since" in cell(kept)
    assert merged([odd], [wrong]) == [wrong]


def test_what_was_wrong_with_an_earlier_commit_is_not_forgotten() -> None:
    wrong, right = outcome(Fault(), diagnosis()), outcome(Fault(), RIGHT)
    before = merged([], [wrong, wrong, right])
    (mended,) = merged(before, [msgspec.structs.replace(right, commit="def")])
    (later,) = merged([mended], [msgspec.structs.replace(right, commit="fed")])
    assert [(o.result, o.wrong_before) for o in (mended, later)] == [("right", 2), ("right", 2)]
    assert total([later])["right, and wrong with an earlier commit"] == "1"


def test_a_finding_on_a_healthy_node_is_one_too_many_whatever_rule_it_is_of() -> None:
    noise = {**RIGHT["findings"][0], "id": "nic-drops", "rule": "nic-drops", "parties": []}
    said = {**diagnosis(), "findings": [noise]}
    assert outcome(Healthy(), said).extra == ("warning nic-drops: It leaks",)
    assert not outcome(Healthy(), {**said, "findings": [{**noise, "severity": "info"}]}).extra
    assert not outcome(Fault(), {**RIGHT, "findings": [*RIGHT["findings"], noise]}).extra


def test_a_fault_that_is_told_as_information_is_wrong_unless_the_case_says_so() -> None:
    quiet = {**RIGHT, "findings": [{**RIGHT["findings"][0], "severity": "info"}]}
    assert outcome(Fault(), quiet).wrong == ("severity of socket-leak is ['info'], not warning or critical",)


def test_a_culprit_of_what_is_only_held_is_wrong() -> None:
    holds = {**RIGHT, "findings": [{**RIGHT["findings"][0], "claim": "holds"}]}
    assert outcome(Fault(), holds).wrong == ("socket-leak has a culprit, and says only that it holds something",)


def test_where_the_checkout_is_does_not_get_out() -> None:
    odd = not_scored(Fault(), f'File "{ROOT}/lab/run.py"', machine=HOST, commit="abc", at=AT)
    assert odd.why == 'File "lab/run.py"'


def test_no_answer_is_a_miss() -> None:
    silent = no_answer(Fault(), "exit 139, no JSON", machine=HOST, commit="abc", at=AT)
    assert (silent.result, silent.named, silent.to_name) == ("wrong", 0, 0)
    assert total([silent])["recall"] == "0 of 1 (0 %)"


def test_whom_another_rule_blames_is_blamed_and_what_else_it_finds_is_beside() -> None:
    other = {**RIGHT["findings"][0], "id": "resets", "rule": "resets", "parties": [party(VICTIM, "victim")]}
    both = outcome(Fault(), {**RIGHT, "findings": [*RIGHT["findings"], other]})
    assert (both.result, both.beside) == ("right", ("resets",))
    blames = {**other, "parties": [party(VICTIM, "culprit")]}
    wrong = outcome(Fault(), {**RIGHT, "findings": [*RIGHT["findings"], blames]})
    assert (wrong.result, wrong.called, wrong.called_wrongly, len(wrong.blamed)) == ("wrong", 2, 1, 1)
    assert total([both, wrong])["findings beside, of other rules, on all"] == "resets 2, of 2"
    assert total([both, msgspec.structs.replace(both, beside=None)])["rules asked"].startswith("all in 1, ")


def test_an_answer_that_lacks_something_is_a_miss_of_all_who_were_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = {key: value for key, value in RIGHT.items() if key != "cost"}
    monkeypatch.setattr(series, "diagnose", lambda *_: lacking)
    missed = series.asked(Fault(), ["whodunnet"], HOST, "abc")
    assert (missed.result, missed.named, missed.to_name, missed.rule_right) == ("wrong", 0, 2, False)
    assert "lacks something: KeyError('cost')" in missed.missing[0]


def test_what_one_machine_cannot_decide_is_no_fault_that_was_found() -> None:
    silent = msgspec.structs.replace(outcome(Healthy(), diagnosis()), case="in-flight", kind="fault")
    sums = total([silent, outcome(Fault(), RIGHT)])
    assert sums["faults right"] == "1 of 1 (100 %)"
    assert sums["faults that one machine cannot decide, right"] == "1 of 1 (100 %)"


def test_a_name_that_is_only_information_is_counted_apart() -> None:
    quiet = {**RIGHT, "outcome": "healthy", "findings": [{**RIGHT["findings"][0], "severity": "info"}]}
    found = outcome(Quiet(), quiet)
    assert (found.result, found.info_only, outcome(Fault(), RIGHT).info_only) == ("right", True, False)
    assert (total([found])["of these as info only"], cell(found)) == ("1", "right, 9.0 s, info")


def test_a_fault_that_names_nobody_counts_for_one_of_the_recall() -> None:
    class Nobody(Fault):
        def expected(self) -> Expected:
            return Expected(rule="socket-leak")

    missed = outcome(Nobody(), diagnosis())
    assert total([missed])["recall"] == "0 of 1 (0 %)"
    assert total([missed, outcome(Nobody(), RIGHT)])["cases scored"] == f"2 of {len(names())}"


def test_a_case_that_may_be_silent_has_no_right_rule() -> None:
    class Undecidable(Fault):
        def expected(self) -> Expected:
            return Expected(rule=None, also=("socket-leak",))

    assert outcome(Undecidable(), diagnosis()).rule_right is None


def test_what_is_kept_is_read_again_and_only_what_is_asked_for_is_run(tmp_path: Path) -> None:
    board = Board(tmp_path / "board.json")
    board.keep(outcome(Fault(), RIGHT))
    board.keep(msgspec.structs.replace(outcome(Healthy(), diagnosis(party(LEAK, "culprit"))), case="healthy"))
    board.keep(msgspec.structs.replace(not_scored(Fault(), "?", machine=HOST, commit="a", at=AT), case="odd"))
    again = Board(tmp_path / "board.json")
    assert again.outcomes == board.outcomes
    asked = [Fault().name, "healthy", "odd", "new"]
    assert to_run("host", asked, again, "missing") == ["odd", "new"]
    again.outcomes = [msgspec.structs.replace(o, beside=None) for o in again.outcomes]  # only its own rules were asked
    assert to_run("host", asked, again, "missing") == [Fault().name, "odd", "new"]
    assert to_run("host", asked, again, "wrong") == ["healthy"]
    assert to_run("6.1", asked, again, "all") == asked


@pytest.mark.parametrize("asking", [False, True])
def test_at_which_case_a_machine_ended_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, asking: bool
) -> None:
    some = names()[:3]
    boots = []

    def boot(_kernel: Kernel, wanted: list[str], _command: list[str]) -> tuple[str, str]:
        boots.append(wanted)
        lines = [msgspec.json.encode(msgspec.structs.replace(outcome(Fault(), RIGHT), case=w)).decode() for w in wanted]
        last = f"asking {some[1]} 3" if asking else ""
        return ("\n".join([*lines[:1], last]), "it panicked") if len(boots) == 1 else ("\n".join(lines), "")

    monkeypatch.setattr(boards, "boot", boot)
    monkeypatch.setattr(Kernel, "version", "6.1.0-9-amd64")
    kept: list[Outcome] = []
    boards.on_kernel(Kernel("6.1", Path("/nowhere")), some, [], kept.append)
    assert boots == [some, some[2:]]
    assert [o.result for o in kept] == ["right", "wrong" if asking else "not-scored", "right"]
    assert (kept[1].case, kept[1].missing, kept[1].why, kept[1].to_name) == (
        (some[1], ("no answer: it panicked",), "", 3) if asking else (some[1], (), "it panicked", 0)
    )


STALE = "Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\nCode: 57 12 eb <0b> 40"


def test_a_case_at_which_the_emulator_failed_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = names()[:2]
    boots = []

    def boot(_kernel: Kernel, wanted: list[str], _command: list[str]) -> tuple[str, str]:
        boots.append(list(wanted))
        line = msgspec.json.encode(msgspec.structs.replace(outcome(Fault(), RIGHT), case=second)).decode()
        return f"{line}\n" * (wanted[0] == second) + f"asking {first} 1\n", STALE

    monkeypatch.setattr(boards, "boot", boot)
    monkeypatch.setattr(Kernel, "version", "6.12.9-amd64")
    kept: list[Outcome] = []
    boards.on_kernel(Kernel("6.12", Path("/nowhere")), [first, second], [], kept.append)
    assert boots == [[first, second], [second, first]]
    assert [(o.case, o.result) for o in kept] == [(first, "not-scored"), (second, "right"), (first, "not-scored")]
    assert kept[0].why.startswith("the emulator failed: ")


SERIES = """
import sys, time
lines, end = sys.argv[1].split("|"), sys.argv[2]
print("\\n".join(lines), flush=True)
time.sleep(60 if end == "hangs" else 0)
sys.exit(int(end == "dies"))
"""


@pytest.mark.parametrize("end", ["dies", "hangs"])
@pytest.mark.parametrize(("asking", "became"), [(True, "wrong"), (False, "not-scored")])
def test_a_series_on_the_host_that_does_not_go_on_is_ended_and_the_next_one_begins(
    monkeypatch: pytest.MonkeyPatch, end: str, asking: bool, became: str
) -> None:
    first, second, third = names()[:3]

    def command(_name: str, left: list[str], _command: list[str]) -> list[str]:
        done = [msgspec.json.encode(msgspec.structs.replace(outcome(Fault(), RIGHT), case=w)).decode() for w in left]
        lines = [done[0], f"asking {second} 2" if asking else ""] if left[0] == first else done
        return [sys.executable, "-c", SERIES, "|".join(lines), end if left[0] == first else "well"]

    monkeypatch.setattr(boards, "BED", ())
    monkeypatch.setattr(boards, "SECONDS_EACH", 1.0)
    monkeypatch.setattr(boards, "series_command", command)
    kept: list[Outcome] = []
    boards.on_host([first, second, third], [], kept.append)
    assert [(o.case, o.result) for o in kept] == [(first, "right"), (second, became), (third, "right")]
    assert kept[1].to_name == (2 if asking else 0)


def test_text_of_a_node_stays_in_its_cell() -> None:
    odd = not_scored(Fault(), "a | b\nc", machine=HOST, commit="abc", at=AT)
    assert "| a \\| b c |" in "".join(misses([odd]))


def test_the_board_in_the_tree_is_what_its_cells_give() -> None:
    assert PAGE.read_text() == page(read(JSON))


def test_the_readme_says_what_the_board_says() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert summary(read(JSON)) in readme


def test_every_cell_is_of_a_case_that_is_there() -> None:
    assert {o.case for o in read(JSON)} <= {*names()}
    assert all(find(o.case).kind == o.kind for o in read(JSON))


def test_what_is_wrong_is_explained_and_only_that() -> None:
    wrong = {(o.case, o.machine.name) for o in read(JSON) if o.result != "right"}
    assert wrong == {(case, name) for case, why in explanations().items() for name in why}
