"""What is kept of one case: here, whether it was found as information only."""

from __future__ import annotations

from typing import Any

import pytest

from .test_lab_board import RIGHT, VICTIM, Fault, Quiet, diagnosis, outcome, party
from .test_lab_stolen import theft

TAKEN = theft(0.5, id="rx-stall:1", severity="warning", claim="delays", title="taken")


def quiet(*others: dict[str, Any], said: str, severity: str = "info") -> dict[str, Any]:
    """The finding that is meant, with that severity, and others beside it."""
    return {**RIGHT, "outcome": said, "findings": [{**RIGHT["findings"][0], "severity": severity}, *others]}


def asked(answer: dict[str, Any], taken: float, *, loud: bool = False) -> tuple[str, bool]:
    case = Fault() if loud else Quiet()
    case.stolen_seconds = taken
    found = outcome(case, answer)
    return found.result, found.info_only


def test_what_the_hypervisor_took_beside_it_makes_information_no_finding() -> None:
    assert asked(quiet(TAKEN, said="finding"), 0.5) == ("right", True)


def test_beside_any_other_warning_it_is_no_information_only() -> None:
    beside = {**diagnosis(party(VICTIM, "victim"))["findings"][0], "rule": "cpu-pressure", "id": "cpu-pressure"}
    assert asked(quiet(beside, said="finding"), 0.5) == ("right", False)
    assert asked(quiet(TAKEN, said="finding", severity="warning"), 0.5, loud=True) == ("right", False)


@pytest.mark.parametrize(("said", "info_only"), [("healthy", True), ("incomplete", False)])
def test_where_a_rule_could_not_be_checked_diagnose_does_not_end_with_status_0(said: str, info_only: bool) -> None:
    assert asked(quiet(said=said), 0.0) == ("right", info_only)
