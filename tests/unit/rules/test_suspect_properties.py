"""What holds of every answer about name servers, CPUs and the clock, whatever the node."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from whodunnet.model.snapshot import Recording

from .arbitrary_suspects import recording_of, suspect_recordings
from .test_redacted import assert_judged_alike
from .whole import assert_every_shape, assert_whole, findings_of

quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
RULES = ("dns", "cpu-pressure", "clock")


@quick
@given(suspect_recordings())
def test_every_answer_is_whole_and_alike_with_pseudonyms_in_place_of_names(node: Recording) -> None:
    assert_whole(RULES, node)
    assert_judged_alike(node, RULES)


@quick
@given(suspect_recordings())
def test_only_who_uses_the_cpus_up_is_ever_a_culprit(node: Recording) -> None:
    culprits = {(f.rule, f.shape) for f in findings_of(RULES, node) for p in f.parties if p.role == "culprit"}
    assert culprits <= {("cpu-pressure", "consumer")}


@quick
@given(suspect_recordings())
def test_what_is_only_possible_is_no_warning_of_a_name_server(node: Recording) -> None:
    told = [(f.confidence, f.severity) for f in findings_of(("dns",), node)]
    assert ("possible", "warning") not in told


def test_every_shape_comes_up_among_arbitrary_nodes() -> None:
    assert_every_shape(RULES, recording_of)
