"""What a watch of the conntrack table prints, against files that a person can read."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodunnet.model.sockets import Endpoint
from whodunnet.model.workload import Container, Pod, Process, Workload
from whodunnet.report import flow_events
from whodunnet.report.flow_events import (
    SCHEMA,
    FlowLine,
    Lost,
    NotShown,
    OpenerCounts,
    WatchSummary,
    by_kind,
    render_head,
    render_json_line,
    render_line,
    render_summary,
)
from whodunnet.report.flow_subject import Subject

from .flow_changes import as_it_is, translated
from .golden import compare, printed

AT = datetime(2026, 11, 21, 8, 49, 2, 247_000, tzinfo=UTC)
FOO = Subject(
    kind="workload",
    workload=Workload(
        container=Container(id="933d6619" * 8, name="foo", runtime="containerd", cgroup="/kubepods/x"),
        pod=Pod(namespace="payments", name="foo-7d9f", uid="1"),
    ),
    netns=7,
)
DB = Workload(process=Process(pid=412, comm="postgres"), pod=Pod(namespace="shop", name="db-0"))
FAR = Subject(kind="remote", address="10.1.0.9", pods=(Pod(namespace="shop", name="web-1"),))
HOSTILE = Subject(kind="remote", address="10.1.0.9", pods=(Pod(namespace="a\x1b[31m", name="\u202ex\nnew"),))
TCP = translated(37598, 37598, entry=7, remaining_seconds=120)
UDP = as_it_is("udp", 4000, 53, zone=7, packets=3, bytes=4096)
replaced = msgspec.structs.replace
LINES = [
    FlowLine(at=AT, event=TCP, opener=FOO, answerer=DB),
    FlowLine(at=AT, event=replaced(TCP, kind="changed", state="established", replied=True), opener=FAR),
    FlowLine(at=AT, event=replaced(TCP, kind="changed", state="close-wait"), opener=FOO, idle_seconds=59.97),
    FlowLine(at=AT, event=replaced(TCP, kind="changed", state="fin-wait"), opener=FOO, idle_seconds=0.04),
    FlowLine(at=AT, event=replaced(TCP, kind="changed", state=None, offloaded=True), opener=Subject(kind="node")),
    FlowLine(at=AT, event=replaced(TCP, kind="gone", state=None), opener=Subject(kind="netns", netns=4026532246)),
    FlowLine(at=AT, event=UDP, opener=Subject(kind="ambiguous", address="fd00:1::2"), answerer_pods=FAR.pods),
    FlowLine(at=AT, event=replaced(UDP, replied=True), opener=Subject(kind="unread", address="fd00:1::2")),
    FlowLine(
        at=AT,
        event=replaced(
            UDP,
            protocol="icmpv6",
            source=Endpoint("fd00:1::2", None),
            destination=Endpoint("fd00:2::2", None),
            answered_by=Endpoint("fd00:2::2", None),
        ),
        opener=HOSTILE,
    ),
    NotShown(at=AT, events={"new": 1200, "changed": 34, "gone": 0}),
    Lost(at=AT, overruns=1, messages=1234),
    Lost(at=AT, overruns=2),
]
SUMMARY = WatchSummary(
    at=AT,
    seconds=12.34,
    events={"new": 400, "changed": 700, "gone": 134},
    filtered_out=34,
    not_shown=1000,
    overruns=2,
    lost=345,
    malformed=1,
    unasked=3,
    names_failure="the list of processes cannot be read",
    openers=tuple(
        flow_events.OpenerCount(opener=who, events={"new": 400 - n, "changed": 700, "gone": n})
        for n, who in enumerate([FOO, FAR, HOSTILE, *[Subject(kind="node", address="10.0.0.1", netns=1)] * 20])
    ),
    other_events=5,
)


def test_lines_of_text() -> None:
    compare("conntrack-watch", "\n".join([render_head(), *map(render_line, LINES)]) + "\n")


@pytest.mark.parametrize("width", [80, 100])
def test_the_summary(width: int) -> None:
    text = printed(lambda console: render_summary(SUMMARY, console, ("port=80", "state=\x1b[1m")), width)
    compare(f"conntrack-watch-summary.{width}", text)


def test_a_watch_without_losses_speaks_of_none() -> None:
    quiet = WatchSummary(at=AT, seconds=0.5, events={"new": 1, "changed": 0, "gone": 0}, lost=0)
    text = printed(lambda console: render_summary(quiet, console), 100)
    assert " ".join(text.split()) == "Watched 500 ms, 1 change: 1 new, 0 changed, 0 gone"


@pytest.mark.parametrize("line", [*LINES, SUMMARY], ids=lambda line: type(line).__name__)
def test_json_is_one_line_of_ascii_that_says_its_schema(line: FlowLine | NotShown | Lost | WatchSummary) -> None:
    text = render_json_line(line)
    assert text.isascii()
    assert text.isprintable()
    document = json.loads(text)
    assert document["schema"] == SCHEMA
    assert document["line"] in ("event", "not-shown", "lost", "summary")
    assert msgspec.json.decode(text, type=FlowLine | NotShown | Lost | WatchSummary).at == AT  # type: ignore[arg-type]


def test_unknown_is_null_in_json() -> None:
    document = json.loads(render_json_line(LINES[5]))
    assert (document["idle_seconds"], document["event"]["state"], document["event"]["bytes"]) == (None, None, None)


@given(st.text(max_size=40), st.text(max_size=40))
def test_names_of_any_kind_stay_in_one_printable_line(namespace: str, name: str) -> None:
    who = Subject(kind="workload", workload=Workload(pod=Pod(namespace=namespace, name=name)))
    for line in (FlowLine(at=AT, event=TCP, opener=who), FlowLine(at=AT, event=TCP, opener=FAR, answerer=who.workload)):
        assert render_line(line).isprintable()
        assert "\n" not in render_json_line(line)


def test_who_may_be_here_after_all_is_not_said_to_be_elsewhere() -> None:
    line = FlowLine(at=AT, event=TCP, opener=Subject(kind="remote", address="10.1.0.2", perhaps_here=True))
    assert "  not found here  " in render_line(line)
    gap = "addresses of 1 network namespace could not be read"
    summary = WatchSummary(at=AT, seconds=1, events={"new": 1}, not_read=(gap,))
    assert f"Not seen {gap}; whoever has those" in " ".join(
        printed(lambda console: render_summary(summary, console), 100).split()
    )


def test_a_protocol_is_named_in_its_narrow_column_where_it_has_a_name() -> None:
    events = [msgspec.structs.replace(TCP, protocol=protocol) for protocol in ("2", "99")]
    shown = [render_line(FlowLine(at=AT, event=event, opener=FAR)).split()[2] for event in events]
    assert shown == ["igmp", "99"]


def test_openers_are_counted_by_kind_most_first() -> None:
    counts = OpenerCounts()
    for key, who, kind in [("a", FAR, "new"), ("b", FOO, "new"), ("b", FOO, "gone")]:
        counts.add(key, who, kind)  # type: ignore[arg-type]
    assert [(row.opener, row.events) for row in counts.rows()] == [
        (FOO, {"new": 1, "changed": 0, "gone": 1}),
        (FAR, {"new": 1, "changed": 0, "gone": 0}),
    ]


def test_changes_from_before_somebody_looked_count_for_whom_was_found() -> None:
    counts = OpenerCounts()
    counts.add("unread 10.1.0.2", Subject(kind="unread"), "new", "unread 10.1.0.2")
    counts.add("netns 7", FOO, "gone", "unread 10.1.0.2")
    (row,) = counts.rows()
    assert (row.opener, row.events) == (FOO, {"new": 1, "changed": 0, "gone": 1})


def test_openers_beyond_the_bound_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_events, "OPENERS_KEPT", 2)
    counts = OpenerCounts()
    for n in (*range(5), 0):
        counts.add(str(n), FOO, "new")
    assert ([row.events["new"] for row in counts.rows()], counts.other_events) == ([2, 1], 3)
    assert by_kind(Counter()) == {"new": 0, "changed": 0, "gone": 0}
