"""Connections with anything in them that the types allow."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from whodunnet.model.bounds import INT64_MAX
from whodunnet.model.connections import ConnectionGroup, Connections, Ending, EndRole, Span
from whodunnet.model.snapshot import Recording, Snapshot

from .arbitrary import counts, endpoint, maybe, number, recording, seconds, text

span = st.builds(Span, seconds, st.none() | seconds, st.integers(1, INT64_MAX), seconds)
ending = st.sampled_from(get_args(Ending))
group = st.builds(
    ConnectionGroup, netns=number, role=st.sampled_from(get_args(EndRole)), ending=ending, state=text, server=endpoint,
    client=st.none() | text, owner_pid=maybe, comm=text, process_started_seconds=seconds, last_word=st.booleans(),
    unanswered=st.booleans(), asked=st.booleans(),
    connections=number, spans=st.lists(span, max_size=3).map(tuple),
)  # fmt: skip
connections = st.builds(
    Connections, method=st.sampled_from(["bpf", "counters"]), groups=st.lists(group, max_size=3).map(tuple),
    watched_seconds=seconds, started_seconds=seconds, other=st.dictionaries(ending, number, max_size=2),
    untracked=number, missed=number, late_unassigned=number, counters=st.dictionaries(number, counts, max_size=2),
    netns_unread=number, fallback_reason=st.none() | text, missing_capability=st.none() | text,
)  # fmt: skip


def with_connections(whole: Recording, found: list[Connections]) -> Recording:
    """The same recording with such a sample in its first snapshots."""
    snapshots = [
        Snapshot(at=s.at, samples={**s.samples, "connections": one})
        for s, one in zip(whole.snapshots, found, strict=False)
    ]
    return Recording(
        node=whole.node, snapshots=(*snapshots, *whole.snapshots[len(snapshots) :]), costs=whole.costs,
        wall_seconds=whole.wall_seconds,
    )  # fmt: skip


recording_with_connections = st.builds(with_connections, recording, st.lists(connections, min_size=1, max_size=3))
