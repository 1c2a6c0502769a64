"""What holds of every answer about descriptors, neighbours and network devices, whatever the node."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import catalogue

from .arbitrary_limits import limit_recordings, recording_of
from .test_redacted import assert_judged_alike
from .whole import assert_every_shape, assert_whole, findings_of

quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
RULES = ("descriptor-limit", "neighbour-table", "nic-drops")


@quick
@given(limit_recordings())
def test_every_answer_is_whole_and_alike_with_pseudonyms_in_place_of_names(node: Recording) -> None:
    assert_whole(RULES, node)
    assert_judged_alike(node, RULES)


@quick
@given(limit_recordings())
def test_who_is_behind_a_device_is_never_its_culprit_and_what_is_only_possible_no_warning(node: Recording) -> None:
    assert {p.role for f in findings_of(("nic-drops",), node) for p in f.parties} <= {"victim"}
    assert all(f.severity == "info" for f in findings_of(RULES, node) if f.confidence == "possible")


@quick
@given(limit_recordings())
def test_a_diagnosis_of_any_such_node_has_an_outcome(node: Recording) -> None:
    assert diagnose(node, list(catalogue())).outcome


def test_every_shape_comes_up_among_arbitrary_nodes() -> None:
    assert_every_shape(RULES, recording_of)
