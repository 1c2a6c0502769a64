"""What holds of every answer about full queues and buffers, whatever the node."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from whodunnet.model.snapshot import Recording

from .arbitrary_queues import queue_recordings, recording_of
from .test_redacted import assert_judged_alike
from .whole import assert_every_shape, assert_whole, findings_of

quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
RULES = ("syn-queue", "accept-queue", "udp-buffers")


@quick
@given(queue_recordings())
def test_every_answer_is_whole_and_alike_with_pseudonyms_in_place_of_names(node: Recording) -> None:
    assert_whole(RULES, node)
    assert_judged_alike(node, RULES)


@quick
@given(queue_recordings())
def test_who_sends_a_flood_is_never_named(node: Recording) -> None:
    assert {p.role for f in findings_of(("syn-queue",), node) for p in f.parties} <= {"victim"}


def test_every_shape_comes_up_among_arbitrary_nodes() -> None:
    assert_every_shape(RULES, recording_of)
