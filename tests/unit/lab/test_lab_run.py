"""How a run calls whodunnet, and that a case is taken down whatever happens in between."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.case import TABLE_RULES, Case, Expected
from lab.look import NotThereError, Sight
from lab.run import ToolError, command_line, diagnose, made_real, run
from lab.who import Who

SAYS = """import json, sys
window = {"from": "2026-01-02T03:04:05Z", "to": "2026-01-02T03:04:10Z"}
cleared = [{"rule": "socket-leak"}, {"rule": "tcp-memory"}]
print(json.dumps({"asked": sys.argv[1:], "window": window, "findings": [], "cleared": cleared}))
"""


class Paper(Case):
    """A case without programs."""

    kind = "fault"
    age_seconds = 0
    ready_within_seconds = 0

    def __init__(self, there: bool = True) -> None:
        super().__init__()
        self.there = there
        self.stopped = False

    def start(self) -> None:
        pass

    def look(self) -> Sight:
        return Sight(self.there, "paper")

    def expected(self) -> Expected:
        return Expected(rule="socket-leak", culprits=(Who("foo", frozenset({1})),))

    def stop(self) -> None:
        super().stop()
        self.stopped = True


@pytest.fixture
def tool(tmp_path: Path) -> list[str]:
    script = tmp_path / "tool.py"
    script.write_text(SAYS)
    return [sys.executable, str(script)]


class PaperOfTable(Paper):
    """One that is judged by more rules."""

    rules = TABLE_RULES
    window_seconds = 7


class PaperElsewhere(PaperOfTable):
    @property
    def enter(self) -> Path:
        return Path("/proc/self/ns/net")


def test_the_tool_is_asked_as_a_user_asks_for_as_long_as_the_case_wants(tool: list[str]) -> None:
    assert diagnose(Paper(), tool)["asked"] == ["diagnose", "--for", "5s", "--format", "json"]


def test_it_is_asked_where_the_case_wants_it() -> None:
    line = command_line(PaperElsewhere(), ["whodunnet"])
    assert line[:5] == ["nsenter", "--net=/proc/self/ns/net", "whodunnet", "diagnose", "--for"]
    assert line[5] == "7s"


def test_a_tool_that_says_nothing_is_an_error_not_a_score() -> None:
    with pytest.raises(ToolError, match="exit 3, no diagnosis: broken"):
        diagnose(Paper(), [sys.executable, "-c", "import sys; sys.stderr.write('broken'); sys.exit(3)"])


def test_a_tool_that_is_not_there_or_does_not_end_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolError, match=r"no diagnosis: .*No such file"):
        diagnose(Paper(), ["/nowhere/whodunnet"])
    monkeypatch.setattr("lab.run.ANSWERS_WITHIN_SECONDS", 0.2 - Paper.window_seconds)
    with pytest.raises(ToolError, match=r"no diagnosis: .*timed out"):
        diagnose(Paper(), [sys.executable, "-c", "import time; time.sleep(60)"])


def test_a_silent_tool_scores_wrong_and_the_case_is_stopped(tool: list[str]) -> None:
    case = Paper()
    _, score = run(case, tool)
    assert score.missing == ("no finding of socket-leak", "culprit foo[1]")
    assert case.stopped


def test_a_run_is_scored_by_the_rules_of_the_case(tool: list[str]) -> None:
    _, score = run(PaperOfTable(), tool)
    assert "conntrack-table did not look" in score.missing


def test_a_fault_that_does_not_become_real_is_not_diagnosed() -> None:
    case = Paper(there=False)
    with pytest.raises(NotThereError, match="paper"), made_real(case):
        pytest.fail("must not come here")
    assert case.stopped


def test_a_case_is_stopped_when_a_signal_ends_the_run() -> None:
    case = Paper()
    with pytest.raises(SystemExit), made_real(case):
        raise SystemExit(143)
    assert case.stopped
