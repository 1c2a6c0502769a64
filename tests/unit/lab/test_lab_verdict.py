"""What `whodunnet lab run` says that a diagnosis had to say: the same as the scorer asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.case import SOCKET_RULES, Case, Expected, Named
from lab.demo import introduced, judged, wanted
from lab.listing import UNDECIDABLE
from lab.score import Score, score_of_all
from lab.who import Who

from .answers import CLIENT, CULPRIT, HEALTHY, HOLDER, LEAK, OTHER, SERVER, diagnosis, leak, party

WORKER = Who("worker", frozenset({7}))
STOPPED = Who("foo-health", frozenset({100}), state="stopped")
SPEAKS_OR_NOT = Expected(rule=None, also=("socket-leak",), innocent=(SERVER,))
TOLERATING = replace(SPEAKS_OR_NOT, tolerated=(WORKER,))
BESIDE = Expected(rule=None, beside=("dns",), innocent=(SERVER,))
READ = Expected(rule=None, also=("socket-leak",), others=(Named(STOPPED, ("reader",)),))
SHORT = Expected(rule="tcp-memory", also=("socket-leak",), culprits=(CLIENT,))
HELD = Expected(rule="socket-leak", tolerated=(CLIENT, WORKER), others=(Named(CLIENT, ("culprit", "holder")),))
NOBODY = "To be named: nobody, and no finding of warning or above"

SAID = [
    pytest.param(HEALTHY, [f"{NOBODY}."], id="healthy"),
    pytest.param(SPEAKS_OR_NOT, [f"{NOBODY}, except by socket-leak (info or warning)."], id="a rule may speak"),
    pytest.param(
        replace(SPEAKS_OR_NOT, severities=("info",)),
        [f"{NOBODY}, except by socket-leak (info)."],
        id="a rule may speak softly",
    ),
    pytest.param(
        TOLERATING,
        [
            f"{NOBODY}, except by socket-leak (info or warning).",
            "May be called culprit, and need not: worker[7].",
        ],
        id="somebody may be called culprit",
    ),
    pytest.param(BESIDE, [f"{NOBODY}, except by dns."], id="something else is true here"),
    pytest.param(
        replace(BESIDE, also=("socket-leak",), elsewhere=(("dns", WORKER),)),
        [
            f"{NOBODY}, except by socket-leak (info or warning) and by dns.",
            "May be called culprit, and need not: worker[7] by dns.",
        ],
        id="both",
    ),
    pytest.param(
        READ,
        [
            "To be named: foo-health[100] (stopped) as reader, and no finding of warning or above, except by "
            "socket-leak (info or warning)."
        ],
        id="a reader with its state",
    ),
    pytest.param(
        replace(HEALTHY, cleared=("socket-leak", "tcp-memory")),
        [f"{NOBODY}.", "To be cleared: socket-leak, tcp-memory."],
        id="cleared",
    ),
    pytest.param(
        LEAK,
        ["To be named: foo-health[100] as culprit, nginx[200/201] as holder or victim, by socket-leak."],
        id="a culprit and a holder",
    ),
    pytest.param(
        SHORT,
        [
            "To be named: foo-health[100] as culprit, by tcp-memory or socket-leak; tcp-memory has to have a finding, "
            "and socket-leak may have one."
        ],
        id="a culprit by another rule",
    ),
    pytest.param(
        Expected(rule="service-hang"),
        ["To be named: nobody; service-hang has to have a finding."],
        id="a fault of nobody",
    ),
    pytest.param(
        HELD,
        [
            "To be named: foo-health[100] as culprit or holder, by socket-leak.",
            "May be called culprit, and need not: worker[7].",
        ],
        id="who is to be named is not told twice",
    ),
]


class Paper:
    """As much of a case as is shown."""

    name, kind, story = "on-paper", "fault", "A fault on paper."

    def __init__(self, expectation: Expected, *, undecidable: bool) -> None:
        self.expectation, self.undecidable = expectation, undecidable

    def expected(self) -> Expected:
        return self.expectation


def paper(expectation: Expected, *, undecidable: bool = False) -> Case:
    return Paper(expectation, undecidable=undecidable)  # type: ignore[return-value]


@pytest.mark.parametrize(("expected", "lines"), SAID)
def test_it_says_whom_and_what_is_asked_for_and_what_is_allowed(expected: Expected, lines: list[str]) -> None:
    assert wanted(expected) == lines
    assert judged(paper(expected), Score()) == "\n".join([*lines, "The diagnosis is right."])


@pytest.mark.parametrize("severity", ["info", "warning", "critical"])
@pytest.mark.parametrize("expected", [HEALTHY, SPEAKS_OR_NOT, replace(SPEAKS_OR_NOT, severities=("info",))])
def test_the_severities_that_it_says_may_be_are_those_that_the_scorer_allows(expected: Expected, severity: str) -> None:
    finding = leak(HOLDER, severity=severity, claim="holds")
    right = score_of_all(expected, diagnosis(finding), SOCKET_RULES).right
    (line,) = wanted(expected)
    assert right == (severity in line.partition("socket-leak")[2] or (severity == "info" and not expected.also))


@pytest.mark.parametrize("severity", ["info", "warning", "critical"])
@pytest.mark.parametrize("expected", [HEALTHY, BESIDE])
def test_a_rule_that_it_says_may_find_something_beside_may_whatever_its_severity(
    expected: Expected, severity: str
) -> None:
    finding = leak(HOLDER, rule="dns", id="dns:1", severity=severity, claim="holds")
    right = score_of_all(expected, diagnosis(finding, cleared=SOCKET_RULES), SOCKET_RULES).right
    assert right == ("except by dns." in wanted(expected)[0] or severity == "info")


@pytest.mark.parametrize("expected", [SPEAKS_OR_NOT, TOLERATING])
def test_who_it_says_may_be_called_culprit_may_and_need_not(expected: Expected) -> None:
    blamed = score_of_all(expected, diagnosis(leak(party("culprit", 7, "worker"))), SOCKET_RULES)
    assert blamed.right == any(line.startswith("May be called culprit") for line in wanted(expected))
    assert score_of_all(expected, diagnosis(), SOCKET_RULES).right


def test_a_culprit_by_another_rule_is_right_as_it_says() -> None:
    short = {**leak(), "rule": "tcp-memory", "id": "tcp-memory"}
    assert score_of_all(SHORT, diagnosis(short, leak(CULPRIT)), SOCKET_RULES).right
    assert not score_of_all(SHORT, diagnosis(leak(CULPRIT)), SOCKET_RULES).right


def test_what_one_machine_cannot_decide_is_said_before_and_with_the_verdict() -> None:
    sentence = f"{UNDECIDABLE.capitalize()}."
    case = paper(TOLERATING, undecidable=True)
    assert introduced(case) == f"on-paper (fault)\n\nA fault on paper.\n\n{sentence}\n"
    lines = judged(case, Score(blamed=(f"{OTHER} by socket-leak:1",))).splitlines()
    assert lines[2:4] == [sentence, "The diagnosis is wrong:"]


def test_of_what_can_be_decided_nothing_of_the_kind_is_said() -> None:
    case = paper(LEAK)
    assert introduced(case) == "on-paper (fault)\n\nA fault on paper.\n"
    assert UNDECIDABLE.capitalize() not in judged(case, Score())
