from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whodunnet.model.diagnosis import Diagnosis, Limit, Thresholds
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.report.text import render_standing, render_text
from whodunnet.rules.remedies import CAPTURE

from . import examples
from .golden import compare, printed

EXAMPLES: dict[str, Callable[[], Diagnosis]] = {
    "incident-4": examples.incident_4,
    "incident-1": examples.incident_1,
    "two-faults": examples.two_faults,
    "healthy": examples.healthy,
    "incomplete": examples.incomplete,
    "hostile": examples.hostile,
}


def text_of(diagnosis: Diagnosis, width: int = 80, verbose: bool = False, **console: object) -> str:
    return printed(lambda c: render_text(diagnosis, verbose=verbose, console=c), width, **console)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("verbose", [False, True], ids=["short", "verbose"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_reads_as_its_golden_file_says(name: str, verbose: bool, width: int) -> None:
    compare(f"{name}{'-v' if verbose else ''}.{width}", text_of(EXAMPLES[name](), width, verbose))


def test_what_was_found_beside_what_could_not_be_checked_is_not_called_nothing() -> None:
    findings = examples.incident_4().findings
    text = text_of(msgspec.structs.replace(examples.incomplete(), findings=findings), 100)
    assert text.startswith("NOT JUDGED  No harm was found for sure, and 3 suspects could not be checked")
    assert findings[0].title.split()[0] in text


@pytest.mark.parametrize("width", [40, 60, 80, 100])
@pytest.mark.parametrize("name", ["incident-4", "incident-1", "two-faults", "healthy", "incomplete"])
def test_no_line_but_a_command_is_wider_than_the_console(name: str, width: int) -> None:
    diagnosis = EXAMPLES[name]()
    wide = [line.strip() for line in text_of(diagnosis, width, verbose=True).splitlines() if len(line) > width]
    assert set(wide) <= commands(diagnosis)


@pytest.mark.parametrize("width", [40, 80])
def test_every_command_of_a_finding_stands_whole_on_a_line_of_its_own(width: int) -> None:
    diagnosis = examples.incident_1()
    lines = {line.strip() for line in text_of(diagnosis, width, verbose=True).splitlines()}
    assert commands(diagnosis) <= lines


def test_piped_output_has_no_escape_codes_and_no_trailing_spaces() -> None:
    lines = text_of(examples.two_faults(), verbose=True).splitlines()
    assert not any("\x1b" in line or line != line.rstrip() for line in lines)


def test_a_terminal_gets_the_same_words_in_colour() -> None:
    diagnosis = examples.two_faults()
    coloured = text_of(diagnosis, force_terminal=True, color_system="standard")
    assert "\x1b[" in coloured
    assert without_colours(coloured) == text_of(diagnosis)


def test_no_color_leaves_no_colour_in_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    codes = colours(text_of(examples.two_faults(), force_terminal=True, color_system="standard"))
    assert codes <= {"0", "1", "2"}  # reset, bold, dim


def test_the_evidence_is_kept_before_anything_else_is_done() -> None:
    for diagnosis in (examples.incident_4(), examples.incident_1()):
        lines = text_of(diagnosis).splitlines()
        assert lines[lines.index("What to do") + 1].startswith("First        Keep the evidence")


def test_a_consequence_is_shown_once_and_below_its_cause() -> None:
    text = text_of(examples.incident_4())
    title = "The TCP memory of the node is full"
    assert text.count(title) == 1
    assert text.index("One process holds 91 %") < text.index("What follows from it") < text.index(title)


def test_two_possible_causes_are_both_shown_and_what_follows_from_them_once() -> None:
    leak, memory = examples.incident_4().findings
    other = msgspec.structs.replace(leak, id="socket-leak:2", title="Another process holds the rest", would_explain=())
    both = msgspec.structs.replace(memory, caused_by=(leak.id, other.id))
    text = " ".join(text_of(examples.diagnosis(findings=(leak, other, both)), 200).split())
    first, _, second = text.partition("Another process holds the rest Traffic")
    assert "Another possible cause: Another process holds the rest (socket-leak)." in first
    assert f"- {memory.title}: possibly; it is shown under another possible cause" in second
    assert text.count("Another possible cause") == 1
    assert first.count('Claim "drops"') + second.count('Claim "drops"') == 1


def test_a_further_independent_fault_is_announced_at_the_top() -> None:
    top = text_of(examples.two_faults(), 100).partition("What to do")[0]
    assert "WARNING The connection tracking table is nearly full" in top


def test_a_holder_is_never_shown_as_the_cause() -> None:
    text = text_of(examples.incident_1())
    assert "Caused by    nobody can be named from these readings" in text
    assert "Only holds   celery (pid 2231)" in text


@pytest.mark.parametrize(("entries", "words"), [(1, "1 tracked connection"), (86_700, "86,700 tracked connections")])
def test_a_party_is_shown_with_the_tracked_connections_it_has(entries: int, words: str) -> None:
    cause = examples.incident_4().findings[0]
    party = msgspec.structs.replace(cause.parties[0], entries=entries)
    finding = msgspec.structs.replace(cause, parties=(party,))
    assert words in text_of(examples.diagnosis(findings=(finding,)), 200).replace("\n", " ")


def test_a_healthy_node_may_have_something_worth_knowing() -> None:
    note = msgspec.structs.replace(examples.incident_1().findings[0], severity="info", title="Many idle sockets")
    text = text_of(examples.diagnosis(outcome="healthy", findings=(note,)))
    assert text.startswith("OK  No network fault found on n1.")
    assert "INFO      Many idle sockets" in text
    assert "Caused by" not in text
    assert "What to do" not in text


@pytest.mark.parametrize(
    ("unchecked", "tree", "is_said"), [(0, "/t", False), (1, "/t", True), (1, None, False), (9, None, True)]
)
def test_under_a_healthy_answer_stands_at_once_how_much_it_leaves_open(
    unchecked: int, tree: str | None, is_said: bool
) -> None:
    healthy = examples.diagnosis(
        outcome="healthy",
        cleared=tuple(Cleared(rule=f"a{i}", sensitivity="s", evidence=()) for i in range(3)),
        not_applicable=(),
        not_checked=tuple(NotChecked(rule=f"b{i}", code="unsupported", reason="r") for i in range(unchecked)),
    )
    window = msgspec.structs.replace(healthy.window, tree=msgspec.UNSET if tree is None else tree)
    second = text_of(msgspec.structs.replace(healthy, window=window)).split("\n")[1]
    assert second.strip().startswith(f"{unchecked} of {unchecked + 3} suspects could not be checked") is is_said


def test_findings_that_cause_each_other_are_still_all_shown() -> None:
    leak, memory = examples.incident_4().findings
    circle = (msgspec.structs.replace(leak, caused_by=(memory.id,)), memory)
    text = text_of(examples.diagnosis(findings=circle))
    assert leak.title[:40] in text
    assert memory.title in text


def test_two_findings_with_the_same_id_are_both_shown() -> None:
    leak, memory = examples.incident_4().findings
    twins = (leak, msgspec.structs.replace(memory, id=leak.id, caused_by=()))
    text = text_of(examples.diagnosis(findings=twins))
    assert leak.title[:40] in text
    assert memory.title in text


def changed(*names: str) -> Diagnosis:
    limits = {name: Limit(value=100, unit="sockets", default=50) for name in names}
    rules = {"socket-leak": limits | {"min_unread": Limit(value=10, unit="sockets")}}
    thresholds = Thresholds(
        source="/etc/whodunnet/config.toml", changed=tuple(f"socket-leak.{name}" for name in names), rules=rules
    )
    return msgspec.structs.replace(examples.healthy(), thresholds=thresholds)


def test_thresholds_that_a_configuration_changed_are_told() -> None:
    said = "1 threshold, by /etc/whodunnet/config.toml: socket-leak.min_sockets is 100 instead of 50 sockets"
    assert f"Changed      {said}\n" in text_of(changed("min_sockets"), 200)
    many = changed(*(f"t{n}" for n in range(5)))
    assert "socket-leak.t2 is 100 instead of 50 sockets; 2 more, -v lists them" in text_of(many, 400)
    assert "socket-leak.t4 is" in text_of(many, 400, verbose=True)
    assert "Changed" not in text_of(examples.healthy(), 200)


def test_what_was_ruled_out_is_one_line_whose_names_and_numbers_come_with_verbose() -> None:
    cleared = tuple(msgspec.structs.replace(examples.CLEARED[0], rule=f"rule-{n}") for n in range(28))
    diagnosis = msgspec.structs.replace(examples.healthy(), cleared=cleared, not_applicable=())
    short, long = text_of(diagnosis, 100), text_of(diagnosis, 100, verbose=True)
    reading = "2,112 entries < limit 262,144 entries"
    assert short.count("Ruled out    28 suspects, -v shows") == 1
    assert [n for n in range(28) if f"rule-{n}:" in short] == [0], "the fullest"
    assert (long.count("this would have shown: "), long.count(reading)) == (28, 28 + short.count(reading))


def test_the_page_size_of_the_node_decides_how_many_bytes_pages_are() -> None:
    write = functools.partial(render_text, examples.incident_4(), verbose=False, page_size_bytes=65536)
    assert "9,281,400 pages, 566 GiB" in printed(lambda c: write(console=c), 80)


def test_standing_facts_are_plain_lines() -> None:
    lines = ["TCP memory 87,916 of 86,514 pages (101 % of the maximum)", "[red]\x1b[2Jname"]
    assert printed(lambda c: render_standing(lines, c), 80).splitlines() == [
        "Now  TCP memory 87,916 of 86,514 pages (101 % of the maximum)",
        "Now  [red]�[2Jname",
    ]


@settings(max_examples=150, deadline=None)
@given(name=st.text(st.characters(), max_size=300), width=st.integers(20, 130), verbose=st.booleans())
def test_no_control_character_of_any_name_reaches_the_output(name: str, width: int, verbose: bool) -> None:
    text = text_of(examples.hostile(name), width, verbose)
    assert not [c for c in text if c != "\n" and unicodedata.category(c)[0] in "CZ" and c != " "]


@given(name=st.text(max_size=60))
def test_names_are_never_read_as_markup_or_emoji(name: str) -> None:
    assert "[red]:boom:[/red]" in text_of(examples.hostile(f"[red]:boom:[/red]{name}"), 120)


def commands(diagnosis: Diagnosis) -> set[str]:
    readings = [*(f.evidence for f in diagnosis.findings), *(c.evidence for c in diagnosis.cleared)]
    repeats = {evidence.repeat for group in readings for evidence in group}
    remedies = [CAPTURE, *(remedy for finding in diagnosis.findings for remedy in finding.remedies)]
    return repeats | {remedy.command for remedy in remedies if remedy.command}


def colours(text: str) -> set[str]:
    return {code for piece in text.split("\x1b[")[1:] for code in piece.partition("m")[0].split(";")}


def without_colours(text: str) -> str:
    first, *rest = text.split("\x1b[")
    return first + "".join(piece.partition("m")[2] for piece in rest)
