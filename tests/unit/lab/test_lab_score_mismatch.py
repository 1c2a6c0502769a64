"""The scorer at a mismatch: both sides, who is only beside it, and the time that was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.case import Expected, Named
from lab.score import TIME_OUT, Score, score

from .answers import CLIENT, OTHER, SERVER, Json, diagnosis, leak, party

MISMATCH = Expected(
    rule="keepalive-mismatch",
    severities=("warning",),
    tolerated=(CLIENT,),
    innocent=(SERVER, OTHER),
    bystanders=(OTHER,),
    others=(Named(CLIENT, ("culprit", "victim")), Named(SERVER, ("holder", "peer"))),
    endpoint=("10.77.0.2", 80),
)


def mismatched(*parties: Json, **changed: object) -> Json:
    return leak(*parties, **{"id": "keepalive-mismatch:1", "rule": "keepalive-mismatch", "shape": None, **changed})


ASKER = party("victim", 100, "foo-health")
CLOSER = party("peer", 201, "nginx")
NEIGHBOUR = party("peer", 110, "bar-health")


@pytest.mark.parametrize("asker", [ASKER, party("culprit", 100, "foo-health")], ids=["victim", "culprit"])
def test_a_mismatch_names_both_sides_and_may_blame_the_one_that_asks(asker: Json) -> None:
    assert score(MISMATCH, diagnosis(mismatched(asker, CLOSER))) == Score()


def test_a_mismatch_of_which_one_side_is_missing_is_half_an_answer() -> None:
    assert score(MISMATCH, diagnosis(mismatched(ASKER))).missing == ("holder or peer nginx[200/201]",)
    assert score(MISMATCH, diagnosis(mismatched(CLOSER))).missing == ("culprit or victim foo-health[100]",)


def test_the_server_that_closes_what_is_idle_is_not_to_blame() -> None:
    said = diagnosis(mismatched(ASKER, CLOSER, party("culprit", 201, "nginx")))
    assert score(MISMATCH, said).blamed == ("nginx[200/201] by keepalive-mismatch:1",)


def test_a_mismatch_at_another_endpoint_is_the_wrong_hop() -> None:
    said = mismatched(ASKER, CLOSER)
    elsewhere = {**said, "parties": [ASKER, CLOSER, {"role": "peer", "endpoint": {"address": "10.77.0.9", "port": 80}}]}
    assert score(MISMATCH, diagnosis(elsewhere)).wrong


@pytest.mark.parametrize("rule", ["keepalive-mismatch", "resets"])
def test_a_bystander_is_drawn_into_no_finding(rule: str) -> None:
    expected = replace(MISMATCH, also=("resets",))
    other = mismatched(NEIGHBOUR, rule=rule, id=f"{rule}:2")
    result = score(expected, diagnosis(mismatched(ASKER, CLOSER), other))
    assert result.blamed == (f"bar-health[110] as peer by {rule}:2",)


@pytest.mark.parametrize(
    ("neighbour", "changed"),
    [(party("victim", 110, "bar-health"), {}), (NEIGHBOUR, {"severity": "info"})],
    ids=["as a victim", "in a finding of severity info"],
)
def test_a_bystander_may_be_mentioned(neighbour: Json, changed: Json) -> None:
    other = mismatched(neighbour, id="keepalive-mismatch:2", **changed)
    assert score(MISMATCH, diagnosis(mismatched(ASKER, CLOSER), other)).right


def test_a_bystander_that_is_blamed_is_said_to_be_once() -> None:
    said = diagnosis(mismatched(ASKER, CLOSER, party("culprit", 110, "bar-health")))
    assert score(MISMATCH, said).blamed == ("bar-health[110] by keepalive-mismatch:1",)


def told(value: float | None, unit: str = "seconds", statement: str = TIME_OUT + "10.0.0.1:80 closes") -> Json:
    return {"value": value, "unit": unit, "statement": statement}


@pytest.mark.parametrize(
    ("evidence", "right"),
    [
        ([told(5.0)], True),
        ([told(4.8, "s"), told(6.3, "s")], True),
        ([told(6.3)], False),
        ([told(5.0, "connections")], False),
        ([told(None)], False),
        ([told(6.3), told(5.0, statement="Longest idle time before such a write")], False),
        ([], False),
    ],
)
def test_the_time_out_that_was_measured_has_to_be_said(evidence: list[Json], right: bool) -> None:
    expected = replace(MISMATCH, seconds=(4.8, 5.2))
    result = score(expected, diagnosis(mismatched(ASKER, CLOSER, evidence=evidence)))
    assert result.right == right
    assert right or result.wrong[0].endswith("none from 4.800 to 5.200 s")


def test_the_time_of_another_rule_does_not_count() -> None:
    other = mismatched(rule="resets", id="resets:1", severity="info", evidence=[told(5.0)])
    found = mismatched(ASKER, CLOSER, evidence=[])
    assert score(replace(MISMATCH, seconds=(4.8, 5.2)), diagnosis(found, other)).wrong
