from __future__ import annotations

import json
from collections.abc import Callable

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.snapshot import Node
from whodunnet.report.comparison import Comparison, Taken, compare
from whodunnet.report.comparison_text import render_comparison, render_comparison_json
from whodunnet.report.owner import BYS, By
from whodunnet.report.schema import schema_of

from .golden import compare as compare_golden
from .golden import printed
from .pairs import NODE, a_day, a_failure, by_pid, container, of_groups, pod, process, taken, two_nodes
from .populations import group

Pair = Callable[[], tuple[Taken, Taken]]
PAIRS: dict[str, Pair] = {"day": a_day, "nodes": two_nodes, "failure": a_failure}


def text_of(comparison: Comparison, width: int = 100) -> str:
    return printed(lambda console: render_comparison(comparison, console), width)


def lines_of(comparison: Comparison) -> list[str]:
    return [" ".join(line.split()) for line in text_of(comparison, 120).splitlines()]


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", PAIRS)
def test_a_comparison_reads_as_its_golden_file_says(name: str, width: int) -> None:
    compare_golden(f"comparison-{name}.{width}", text_of(compare(*PAIRS[name](), top=5), width))


def test_the_line_for_whoever_reads_only_one_names_who_grew_most() -> None:
    assert "Most payments/foo-7d9f: foo (933d66190a2b): grew by 13.6 GiB, 4,764 sockets in 24 h" in lines_of(
        compare(*a_day())
    )


def test_where_nobody_grew_it_names_who_shrank_most() -> None:
    before, after = a_day()
    back = (after[0], msgspec.structs.replace(before[1], at=after[1].at))
    only = msgspec.structs.replace(after[1], at=before[1].at)
    lines = lines_of(compare((before[0], only), back, top=1))
    assert "Most payments/foo-7d9f: foo (933d66190a2b): shrank by 13.6 GiB, 4,764 sockets in 24 h" in lines


def test_more_sockets_with_less_memory_is_told_with_both_signs() -> None:
    sides = [
        taken(at, workloads=by_pid(process(1)), sockets=of_groups(group(many, pages, owner_pid=1)))
        for at, many, pages in ((0.0, 1, 50), (60.0, 9, 10))
    ]
    assert "Most app (pid 1): shrank by -160 KiB, +8 sockets in 60 s" in lines_of(compare(sides[0], sides[1]))


def test_an_owner_without_tcp_sockets_is_told_without_numbers() -> None:
    unix = group(4, owner_pid=1, protocol="unix", state="none", role="unconnected")
    before = taken(workloads=by_pid(process(1)), sockets=of_groups(unix))
    after = taken(60.0, workloads=by_pid(), sockets=of_groups())
    lines = lines_of(compare(before, after))
    assert "Most app (pid 1): gone in 60 s" in lines
    assert "gone; -4 unix" in lines


def test_nothing_that_changed_is_said_in_a_line() -> None:
    one, _ = a_day()
    later = one[0], msgspec.structs.replace(one[1], at=a_day()[1][1].at)
    lines = lines_of(compare(one, later))
    assert "Changed nothing: every owner holds what it held" in lines
    assert "Unchanged 12 hold what they held" in lines


def test_a_restart_is_told_beside_the_change() -> None:
    sides = [
        taken(at, workloads=by_pid(process(1, container=container(c), pod=pod())),
              sockets=of_groups(group(many, owner_pid=1)))
        for at, c, many in ((0.0, "a", 9), (60.0, "b", 1))
    ]  # fmt: skip
    assert "shrank; restarted; -8 established" in " ".join(lines_of(compare(sides[0], sides[1])))


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("name", PAIRS)
def test_the_json_form_validates_against_its_schema_and_decodes_to_the_same(name: str, by: By) -> None:
    comparison = compare(*PAIRS[name](), by=by, top=2)
    text = render_comparison_json(comparison)
    jsonschema.validate(json.loads(text), schema_of("comparison"))
    assert text.isascii()
    decoded = msgspec.json.decode(text, type=Comparison)
    assert (decoded.owners, decoded.settings) == (comparison.owners, comparison.settings)


def test_an_owner_that_was_not_there_is_null_and_what_is_not_compared_too() -> None:
    document = json.loads(render_comparison_json(compare(*a_day())))
    assert [row["before"] is None for row in document["owners"]["rows"]] == [False, False, True]
    assert json.loads(render_comparison_json(compare(*a_failure())))["owners"] is None


@given(name=st.text(st.characters(), max_size=300))
def test_no_control_character_of_a_name_reaches_the_terminal(name: str) -> None:
    there = process(1, name, container=container("a", name, name), pod=pod(name or None))
    workloads, sockets = by_pid(there), of_groups(group(1, 1, owner_pid=1), not_seen=(name,))
    node = Node(hostname=name, kernel=name, boot_id="other")
    for by in BYS:
        before, after = taken(), taken(60.0, node=node, workloads=workloads, sockets=sockets)
        for pair in ((before, after), (taken(workloads=workloads, sockets=of_groups()), after)):
            text = text_of(compare(*pair, by=by), 60)
            assert all(c.isprintable() or c == "\n" for c in text)
    assert NODE.hostname in text_of(compare(taken(), taken(60.0)))
