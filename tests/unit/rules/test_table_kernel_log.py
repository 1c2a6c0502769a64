"""What lines of the kernel log about a full table say, beside the counters of the table of tracked connections."""

from __future__ import annotations

import pytest

from whodunnet.model.finding import Finding
from whodunnet.rules.rule import judge

from .flows import (
    CHILD,
    CLIENT,
    FULL_LINE,
    RULE,
    SERVICE,
    SIZE,
    PodAt,
    churn,
    dropping,
    idle,
    in_role,
    is_cleared,
    logged,
    node,
    of,
    only,
    table,
    told,
)


@pytest.mark.parametrize(("at", "said"), [(-1.0, "warning"), (0.0, "critical"), (10.0, "critical"), (11.0, "warning")])
def test_a_line_counts_only_within_the_window(at: float, said: str) -> None:
    found = of(9_000)
    assert told(node(found, dropping(found, 5), log=logged(at))) == said


def test_drops_that_only_the_unread_log_would_explain_are_not_cleared() -> None:
    """A table that fills up and empties between two readings looks like this."""
    assert told(node(of(500), dropping(of(500), 9_000))) == "NotChecked"
    assert is_cleared(node(of(500), dropping(of(500), 9)))


def test_a_line_without_any_drop_is_of_another_namespace() -> None:
    """Before Linux 6.18 the text is the same for all: somebody's packets were dropped, and nobody knows whose."""
    found = only(node(of(500), of(500), log=logged(5.0)))
    assert (found.severity, found.shape, in_role(found, "culprit")) == ("warning", "other-namespace", [])


def test_a_line_is_believed_where_drops_cannot_be_counted_and_the_table_is_nearly_full() -> None:
    blind = of(9_000, statistics={})
    assert told(node(blind, blind, log=logged(5.0))) == "critical"
    nearly_empty = of(900, statistics={})
    assert told(node(nearly_empty, nearly_empty, log=logged(5.0))) == "warning"


def test_a_burst_between_two_readings_is_critical_and_accuses_nobody() -> None:
    found = only(node(table(churn(CLIENT, SERVICE, 500)), dropping(table(churn(CLIENT, SERVICE, 500)), 40),
                      log=logged(5.0)))  # fmt: skip
    assert (found.severity, found.shape, in_role(found, "culprit")) == ("critical", None, [])


def test_drops_and_a_line_are_not_the_nodes_where_another_namespace_is_full_or_races_are_lost() -> None:
    """Before Linux 6.18 the line is the same for all, and a race that is lost raises both counters."""
    there = {"counts": {CHILD: SIZE}}
    found = node(of(500, **there), dropping(of(500, **there), 40), log=logged(5.0))
    assert only(found).shape == "other-namespace"
    raced = dropping(dropping(of(9_600), 3), 3, "insert_failed")
    assert told(node(of(9_600), raced)) == "warning"


def test_drops_are_counted_over_a_reading_without_counters() -> None:
    assert told(node(of(9_800), of(9_800, statistics={}), dropping(of(9_800), 500))) == "critical"


def test_an_old_line_is_context() -> None:
    found = only(node(of(9_000), of(9_000), log=logged(-600.0)))
    assert found.severity == "warning"
    assert any("context, not severity" in e.statement for e in found.evidence)


def test_a_line_of_another_namespace_says_nothing_of_the_nodes_table() -> None:
    text = FULL_LINE.replace("full", f"full in netns {CHILD}")
    found = of(9_000)
    recording = node(found, dropping(found, 5), log=logged(5.0, text=text))
    said = [a for a in judge(RULE, recording) if isinstance(a, Finding)]
    assert [(f.shape, f.severity, f.id) for f in said] == [
        ("spread", "warning", f"{RULE}:b00t"), ("other-namespace", "critical", f"{RULE}:{CHILD}"),
    ]  # fmt: skip


@pytest.mark.parametrize("counts", [{}, {CHILD: SIZE // 2}])
def test_a_namespace_that_the_kernel_says_was_full_is_critical_whatever_was_read(counts: dict[int, int]) -> None:
    text = FULL_LINE.replace("full", f"full in netns {CHILD}")
    found = of(500, counts=counts)
    assert told(node(found, found, log=logged(5.0, text=text))) == "critical"


def test_who_kept_idle_connections_is_not_blamed_for_a_burst_that_is_gone() -> None:
    pod = PodAt(1)
    before = table(idle(pod.address, SERVICE, 6_500))
    found = only(node(before, dropping(before, 50_000), log=logged(5.0), pods=[pod]))
    assert (found.severity, in_role(found, "culprit")) == ("critical", [])


def test_before_linux_5_10_solved_races_do_not_hide_what_a_full_table_drops() -> None:
    """There insert_failed counts them too, and clash_resolve does not exist."""
    old = {"drop": 0, "early_drop": 0, "insert_failed": 0}
    full = of(9_800, statistics=old)
    assert told(node(full, dropping(dropping(full, 5_000), 6_000, "insert_failed"))) == "critical"
