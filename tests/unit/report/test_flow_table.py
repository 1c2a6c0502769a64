from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from whodunnet.model.conntrack import Conntrack
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads
from whodunnet.report.flow_subject import FLOW_VIEWS, FlowView
from whodunnet.report.flow_table import render_flow_json, render_flow_table
from whodunnet.report.flows import FlowTable, tabulate_flows
from whodunnet.report.pod_names import PodNames
from whodunnet.report.schema import schema_of

from . import tracked
from .golden import compare, printed
from .tracked import PODS, datagrams, flow, one, reading, recording, silent, two

ESCAPES = "\x1b[2J[red]pwn\u202eed[/red]\n\u2028OK healthy\x9b31m"


def text(table: FlowTable, width: int = 100) -> str:
    return printed(lambda console: render_flow_table(table, console), width)


def words(table: FlowTable) -> str:
    return " ".join(text(table).split())


@pytest.mark.parametrize("by", FLOW_VIEWS)
def test_each_view_reads_as_its_golden_file_says(by: FlowView) -> None:
    compare(f"conntrack-by-{by}.100", text(tabulate_flows(one(), by=by)))


def test_growth_on_a_narrow_terminal_with_names_of_pods_reads_as_its_golden_file_says() -> None:
    table = tabulate_flows(two(), sort="growth", top=6, pods=PODS)
    compare("conntrack-growth.80", text(table, 80))


def hostile() -> Recording:
    """Everything that is text comes from somebody who wants to be believed."""
    pod = Pod(namespace=ESCAPES, name=ESCAPES, uid=ESCAPES)
    container = Container(id=ESCAPES, name=ESCAPES, cgroup=ESCAPES)
    who = Workload(process=Process(pid=20, comm=ESCAPES), container=container, pod=pod, unit=ESCAPES, netns=tracked.WEB)
    groups = (
        flow(9, "10.244.1.12", Endpoint(ESCAPES, 80), ESCAPES, answered_by=Endpoint(ESCAPES, 81)),
        datagrams(8, ESCAPES, Endpoint(ESCAPES, None)),
        flow(7, "10.9.9.9", Endpoint("10.9.9.8", 1), "none", protocol=ESCAPES),
        flow(6, "10.244.1.14", Endpoint("10.244.3.30", 3000), "time-wait"),
    )
    sample = tracked.table(groups=groups, count=30, statistics={"drop": 1, ESCAPES: 2}, counts={1: 30, 12: 5})
    workloads = Workloads(by_pid={50: who, 51: who}, by_netns={tracked.WEB: who})
    return recording(reading(sample, workloads=workloads))


HOSTILE_PODS = PodNames([("10.9.9.9", Pod(namespace=ESCAPES, name=ESCAPES)), (ESCAPES, Pod(name=ESCAPES))])


@pytest.mark.parametrize("width", [80, 100])
def test_hostile_names_do_no_harm(width: int) -> None:
    shown = text(tabulate_flows(hostile(), pods=HOSTILE_PODS), width)
    compare(f"conntrack-hostile.{width}", shown)
    assert not set("\x1b\x9b\u202e\u2028") & set(shown)


@pytest.mark.parametrize("by", FLOW_VIEWS)
def test_hostile_names_do_no_harm_in_any_view_and_on_a_terminal(by: FlowView) -> None:
    table = tabulate_flows(hostile(), by=by, pods=HOSTILE_PODS)
    shown = printed(lambda console: render_flow_table(table, console), 90, force_terminal=True, color_system=None)
    assert not set("\x9b\u202e\u2028") & set(shown)
    assert "\x1b[2J" not in shown
    assert render_flow_json(table).isascii()


@pytest.mark.parametrize("width", [40, 80, 100, 200])
@pytest.mark.parametrize("by", FLOW_VIEWS)
def test_no_line_is_wider_than_the_terminal_but_a_command(by: FlowView, width: int) -> None:
    lines = text(tabulate_flows(two(), by=by), width).splitlines()
    room = max(width, 13 + 24, 42 + 24)  # a column is never narrower than 24
    assert not [line for line in lines if len(line) > room and "kubectl" not in line]


def test_only_the_first_commands_are_printed_and_all_are_in_the_document() -> None:
    groups = tuple(flow(100 - n, f"10.7.0.{n}", tracked.SERVICE) for n in range(9))
    table = tabulate_flows(recording(reading(tracked.table(groups=groups, count=900))))
    assert text(table).count("kubectl") == 3
    assert sum(row.find_command is not None for row in table.rows) == 9


def test_a_command_is_whole_on_its_line() -> None:
    line = next(line for line in text(tabulate_flows(one()), 60).splitlines() if "kubectl" in line)
    assert line.strip() == "kubectl get pods -A -o wide --field-selector=status.podIP=10.244.3.77"


def test_where_nothing_is_tracked_it_is_one_sentence() -> None:
    shown = text(tabulate_flows(recording(reading(Conntrack(loaded=False)))))
    assert shown == "This kernel tracks no connections: nf_conntrack is not loaded, so no table can be full here.\n"


def test_entries_that_could_not_be_read_leave_the_head_and_the_reason() -> None:
    failure = Failure(code="missing-capability", reason="needs CAP_NET_ADMIN")
    sample = tracked.table(groups=(), method=None, dump_failure=failure, other_entries=0, malformed=0)
    shown = words(tabulate_flows(recording(reading(sample))))
    assert "Table 33,024 of 262,144 entries (12 %)" in shown
    assert "could not be read, only counted: needs CAP_NET_ADMIN" in shown
    assert "Named" not in shown


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_entries": 0}, "33,024 entries, without limit, 65,536 buckets"),
        ({"max_entries": None}, "33,024 entries; the maximum is not known"),
        ({"count": None}, "unknown how many of 262,144 entries, 65,536 buckets"),
        ({"buckets": None}, "33,024 of 262,144 entries (12 %) Trend"),
        ({"statistics": {}}, "Lost unknown: the kernel's counters were not read"),
        ({"statistics": {"drop": 0}}, "Lost nothing since the table was made"),
        ({"counts": {1: 33_024}, "netns_unread": 0}, "made Read by"),
        ({"counts": {1: 33_024, 7: 1}, "netns_unread": 0}, "1 entry in 1 other network namespace; --by netns"),
        ({"counts": {1: 33_024}, "netns_unread": 5}, "Elsewhere unknown: 5 other network namespaces could not be read"),
        ({"overruns": 1}, "begun again 1 time, for the kernel lost a part"),
        ({"interrupted": 2}, "the table changed meanwhile (2 answers): some may be missing or twice"),
        ({"count": 33_193}, "33,024 entries in 21 ms, 169 fewer than counted: they expired or ended meanwhile;"),
        ({"count": 33_023}, "33,024 entries in 21 ms, 1 more than counted: they came meanwhile;"),
        ({"method": "procfs"}, "Read by procfs, 33,024 entries in 21 ms"),
    ],
)
def test_the_head_says_what_is_known(fields: dict[str, Any], expected: str) -> None:
    assert expected in words(tabulate_flows(recording(reading(tracked.table(**fields)))))


def test_protocols_without_a_name_of_the_kernel_are_named_or_said_to_be_numbers() -> None:
    groups = (
        flow(3, "10.244.1.12", Endpoint("224.0.0.22", None), "none", protocol="2", replied=False),
        flow(2, "10.244.1.12", Endpoint("10.9.9.9", None), "none", protocol="99"),
        flow(1, "10.244.1.12", None, "none", protocol="udp", merged=True),
    )
    table = tabulate_flows(recording(reading(tracked.table(groups=groups))))
    shown = words(table)
    assert "3 igmp, 2 protocol 99, 1 udp" in shown
    assert "- 3 to 224.0.0.22 igmp, all unreplied" in shown
    assert "- 2 to 10.9.9.9 protocol 99" in shown
    assert "- 1 udp to destinations that were not kept" in shown
    assert set(table.rows[0].others) == {"2", "99", "udp"}


def test_who_did_not_reply_was_sent_to_and_has_not_answered() -> None:
    groups = (
        flow(7, "10.244.1.12", tracked.SERVICE, answered_by=tracked.BACKENDS[1]),
        silent(3, "10.244.1.12", tracked.SERVICE, answered_by=tracked.BACKENDS[2]),
        silent(2, "10.244.1.12", Endpoint("10.96.0.9", 80), answered_by=tracked.BACKENDS[2]),
    )
    shown = words(tabulate_flows(recording(reading(tracked.table(groups=groups)))))
    assert "answered by 10.244.3.9:8080 (7), sent to 10.244.3.10:8080 (3), no reply" in shown
    assert "all unreplied, 0 open, sent to 10.244.3.10:8080, no reply" in shown


@pytest.mark.parametrize(("top", "label"), [(8, "1 other"), (7, "2 others")])
def test_one_row_that_is_not_shown_is_one_other(top: int, label: str) -> None:
    groups = tuple(flow(9, f"10.7.0.{n}", tracked.SERVICE) for n in range(9))
    table = tabulate_flows(recording(reading(tracked.table(groups=groups))), top=top)
    assert table.rest is not None
    assert table.rest.label == label


def test_a_table_at_rest_is_said_to_be() -> None:
    assert "as many as 1 s before" in words(
        tabulate_flows(recording(reading(tracked.table()), reading(tracked.table())))
    )


def test_where_all_are_named_nothing_is_not() -> None:
    sample = tracked.table(groups=(flow(3, "10.244.1.12", tracked.SERVICE),), count=3, other_entries=0, malformed=0)
    assert words(tabulate_flows(recording(reading(sample)))).endswith("(100 %) Not named nothing")


@pytest.mark.parametrize("by", FLOW_VIEWS)
def test_the_document_keeps_its_schema_and_comes_back_whole(by: FlowView) -> None:
    table = tabulate_flows(two(), by=by, top=2, pods=PODS)
    document = json.loads(render_flow_json(table))
    jsonschema.validate(document, schema_of("conntrack"))
    assert document["schema"] == "whodunnet/conntrack/v1"
    assert msgspec.convert(document, FlowTable).rows[0].entries == table.rows[0].entries


@given(st.text(), st.integers(30, 130))
def test_any_name_and_width_is_printed(name: str, width: int) -> None:
    pods = PodNames([("10.244.3.77", Pod(namespace=name, name=name))])
    console = Console(file=None, width=width, quiet=True)
    render_flow_table(tabulate_flows(one(), pods=pods), console)
