"""What looks like a full table and is none, and what does not look like one and is."""

from __future__ import annotations

from msgspec.structs import replace

from whodunnet.model.finding import Finding
from whodunnet.rules.rule import judge

from .flows import CHILD, CLIENT, HOST, RULE, SERVICE, busy, dropping, logged, node, only, table, told


def test_a_lost_race_beside_a_line_of_another_namespace_is_no_full_table() -> None:
    calm = table(busy(CLIENT, SERVICE, 760))
    raced = dropping(dropping(calm, 1), 1, "insert_failed")
    found = only(node(calm, raced, log=logged(5.0)))
    assert (found.shape, found.severity) == ("other-namespace", "warning")


def test_a_line_may_be_of_the_namespace_that_is_full() -> None:
    before = table(busy(CLIENT, SERVICE, 7_000), counts={HOST: 7_000, CHILD: 10_000})
    found = [a for a in judge(RULE, node(before, dropping(before, 9), log=logged(5.0))) if isinstance(a, Finding)]
    assert [f.shape for f in found] == ["other-namespace"]


def test_lost_races_in_a_table_nearly_full_are_not_for_lack_of_room() -> None:
    full = table(busy(CLIENT, SERVICE, 9_700))
    assert told(node(full, dropping(dropping(full, 40), 40, "insert_failed"))) == "warning"
    assert told(node(full, dropping(dropping(full, 41), 40, "insert_failed"))) == "critical"


def test_drops_are_counted_over_a_reading_without_statistics() -> None:
    full = table(busy(CLIENT, SERVICE, 9_700))
    found = only(node(full, replace(full, statistics={}), dropping(full, 90_000)))
    assert found.severity == "critical"
    assert any(e.value == 90_000 for e in found.evidence)
