"""What the rule dns says of a recording."""

from __future__ import annotations

from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import catalogue

from .nodes import answers, findings

RULE = "dns"
ENTRY = catalogue()[RULE]
MIN, WAIT, RECENT = (ENTRY.limit(name) for name in ("min_questions", "wait", "recent"))
FEW = int(MIN)
QUIET = {"OutDatagrams": 6, "InDatagrams": 0}


def said(found: Recording) -> list[tuple[str | None, str, str]]:
    return [(f.shape, f.severity, f.confidence) for f in findings(found, RULE)]


def cleared(found: Recording) -> Cleared:
    (answer,) = answers(found, RULE)
    assert isinstance(answer, Cleared)
    return answer


def not_checked(found: Recording) -> NotChecked:
    (answer,) = answers(found, RULE)
    assert isinstance(answer, NotChecked)
    return answer
