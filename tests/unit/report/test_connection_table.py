from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from whodunnet.model.connections import Connections
from whodunnet.model.conntrack import Conntrack
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording
from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Container, Pod, Process, Workload, Workloads
from whodunnet.report.connection_rows import CONNECTION_VIEWS, ConnectionView
from whodunnet.report.connection_table import render_connection_json, render_connection_table
from whodunnet.report.connections import ConnectionTable, tabulate_connections
from whodunnet.report.pod_names import PodNames
from whodunnet.report.schema import schema_of

from . import tracked
from .connected import accepted, connecting, end, opened, recording
from .golden import compare, printed
from .tracked import PODS

ESCAPES = "\x1b[2J[red]pwn\u202eed[/red]\n\u2028OK healthy\x9b31m"


def text(table: ConnectionTable, width: int = 100) -> str:
    return printed(lambda console: render_connection_table(table, console), width)


def words(table: ConnectionTable) -> str:
    return " ".join(text(table).split())


@pytest.mark.parametrize("by", CONNECTION_VIEWS)
def test_each_view_reads_as_its_golden_file_says(by: ConnectionView) -> None:
    compare(f"connections-by-{by}.100", text(tabulate_connections(recording(), by=by)))


def test_what_failed_on_a_narrow_terminal_with_names_of_pods_reads_as_its_golden_file_says() -> None:
    table = tabulate_connections(recording(), by="pair", sort="failed", failed=True, top=3, pods=PODS)
    compare("connections-failed.80", text(table, 80))


def test_without_bpf_it_reads_as_its_golden_file_says() -> None:
    compare("connections-counters.100", text(tabulate_connections(counted())))


def counted(**rest: Any) -> Recording:
    """What there is where BPF is not allowed."""
    found = recording((), method="counters", fallback_reason="needs CAP_BPF", missing_capability="CAP_BPF",
                      counters={1: {"ActiveOpens": 250, "AttemptFails": 9}, 12: {"ActiveOpens": 7}},
                      netns_unread=2, **rest)  # fmt: skip
    first, last = found.snapshots
    before = msgspec.structs.replace(
        found.last(Connections),
        counters={1: {"ActiveOpens": 100, "AttemptFails": 4, "OutRsts": 1}},
    )
    earlier = msgspec.structs.replace(first, samples={**first.samples, "connections": before})
    return msgspec.structs.replace(found, snapshots=(earlier, last))


def hostile() -> Recording:
    """Everything that is text comes from somebody who wants to be believed."""
    pod = Pod(namespace=ESCAPES, name=ESCAPES, uid=ESCAPES)
    container = Container(id=ESCAPES, name=ESCAPES, cgroup=ESCAPES)
    who = Workload(process=Process(pid=20, comm=ESCAPES), container=container, pod=pod, unit=ESCAPES, netns=tracked.WEB)
    bare = Workload(process=Process(pid=41, comm=ESCAPES), unit=ESCAPES, netns=tracked.HOST)
    groups = (
        opened(comm=ESCAPES),
        end(9, "reset-received", state=ESCAPES, comm=ESCAPES),
        end(8, "timed-out", comm=ESCAPES, owner_pid=77, server=Endpoint(ESCAPES, 80), client=ESCAPES),
        connecting(7, "refused", owner_pid=41, comm=ESCAPES, netns=tracked.HOST),
        accepted(6, "late-data", None, state=ESCAPES, client="10.9.9.9", comm=ESCAPES, owner_pid=78),
        accepted(5, "closed-here", client=ESCAPES, owner_pid=41, comm=ESCAPES),
    )
    workloads = Workloads(by_pid={20: who, 30: who, 41: bare}, by_netns={tracked.WEB: who})
    failure = Failure(code="unsupported", reason=ESCAPES)
    return recording(groups, workloads=workloads, sockets=failure)


HOSTILE_PODS = PodNames([("10.9.9.9", Pod(namespace=ESCAPES, name=ESCAPES)), (ESCAPES, Pod(name=ESCAPES))])


@pytest.mark.parametrize("by", CONNECTION_VIEWS)
def test_hostile_names_do_no_harm_in_any_view_and_on_a_terminal(by: ConnectionView) -> None:
    table = tabulate_connections(hostile(), by=by, pods=HOSTILE_PODS)
    shown = printed(lambda console: render_connection_table(table, console), 90, force_terminal=True, color_system=None)
    assert "pwn" in shown
    assert not set("\x9b\u202e\u2028") & set(shown)
    assert "\x1b[2J" not in shown
    assert render_connection_json(table).isascii()


@pytest.mark.parametrize("width", [40, 80, 100, 200])
@pytest.mark.parametrize("by", CONNECTION_VIEWS)
def test_no_line_is_wider_than_the_terminal_but_a_command(by: ConnectionView, width: int) -> None:
    lines = text(tabulate_connections(recording(), by=by), width).splitlines()
    room = max(width, 42 + 24)  # a column is never narrower than 24
    assert not [line for line in lines if len(line) > room and "kubectl" not in line]


def test_only_the_first_commands_are_printed_and_all_are_in_the_document() -> None:
    groups = tuple(connecting(1, "refused", server=Endpoint(f"10.7.0.{n}", 80)) for n in range(9))
    table = tabulate_connections(recording(groups))
    assert text(table).count("kubectl") == 3
    assert sum(row.find_command is not None for row in table.rows) == 9


def test_where_nothing_failed_it_says_so_and_lists_nothing() -> None:
    table = tabulate_connections(recording((opened(), end(462, "closed-here"))), failed=True)
    assert table.rows == ()
    assert "Failed nothing" in words(table)
    assert "Left out 1 endpoint of which nothing failed" in words(table)


def test_a_window_in_which_nothing_happened_is_a_table_without_rows() -> None:
    found = recording((), conntrack=Conntrack(loaded=False), addresses=Failure(code="unreadable", reason="none"))
    shown = words(tabulate_connections(found))
    assert shown == "Window 10 s, by BPF Connections 0 opened, 0 ended Failed nothing"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"other": {"opened": 3, "refused": 4}}, "7 beginnings and ends in no row, for the collector's tables"),
        ({"untracked": 2}, "owner or connect time of 2 connections"),
        ({"missed": 1}, "1 change of state, which came while"),
        ({"late_unassigned": 6}, "whether servers or clients sent 6 resets to late data"),
        ({"sockets": Failure(code="unsupported", reason="no diag")}, "sockets, so nobody knows who listens"),
        (
            {"conntrack": Failure(code="missing-capability", reason="no", missing_capability="CAP_NET_ADMIN")},
            "where NAT of this node leads to: no (needs CAP_NET_ADMIN)",
        ),
        (
            {"conntrack": tracked.table(dump_failure=Failure(code="unreadable", reason="busy"))},
            "where NAT of this node leads to: busy",
        ),
    ],
)
def test_what_was_not_seen_is_said(fields: dict[str, Any], expected: str) -> None:
    found = recording((end(1, "closed-here"),), **fields)
    assert f"Not seen {expected}" in words(tabulate_connections(found))


def test_where_everything_was_seen_nothing_is_said_to_be_missing() -> None:
    assert tabulate_connections(recording((end(1, "closed-here"),))).not_seen == ()


def test_where_addresses_were_not_read_none_is_said_to_be_elsewhere() -> None:
    found = recording((connecting(1, "refused", server=Endpoint("10.7.0.1", 80)),), conntrack=Conntrack(loaded=False))
    without = [msgspec.structs.replace(s, samples={k: v for k, v in s.samples.items() if k != "addresses"})
               for s in found.snapshots]  # fmt: skip
    shown = words(tabulate_connections(msgspec.structs.replace(found, snapshots=tuple(without))))
    assert "10.7.0.1:80 connects: 1 refused" in shown
    assert "Not seen which addresses are of this node: the addresses collector was not run" in shown


def test_without_bpf_there_are_counters_of_what_both_readings_had_and_no_answer() -> None:
    table = tabulate_connections(counted())
    assert not table.answers
    assert table.blind is not None
    assert (table.blind.growth, table.blind.netns) == ({"ActiveOpens": 150, "AttemptFails": 5}, 1)
    assert "2 more could not be read" in words(table)


@pytest.mark.parametrize("by", CONNECTION_VIEWS)
def test_the_document_keeps_its_schema_and_comes_back_whole(by: ConnectionView) -> None:
    for found in (recording(), counted(), hostile()):
        table = tabulate_connections(found, by=by, top=2, pods=PODS)
        document = json.loads(render_connection_json(table))
        jsonschema.validate(document, schema_of("connections"))
        assert document["schema"] == "whodunnet/connections/v1"
        assert len(msgspec.convert(document, ConnectionTable).rows) == len(table.rows)


@given(st.text(), st.integers(30, 130))
def test_any_name_and_width_is_printed(name: str, width: int) -> None:
    pods = PodNames([("10.244.3.77", Pod(namespace=name, name=name))])
    console = Console(file=None, width=width, quiet=True)
    render_connection_table(tabulate_connections(recording(), pods=pods), console)
