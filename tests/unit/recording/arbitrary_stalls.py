"""Stalls with anything in them that the types allow."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.stalls import CpuDelays, DelaySpan, Duty, Holder, Mode, Stack, Stall, StallKind, Stalls, Task

from .arbitrary import maybe, number, recording, seconds, signed, text

task = st.builds(
    Task, pid=maybe, tid=maybe, comm=text, thread=text, process_started_seconds=seconds, cgroup_id=maybe,
    kernel_thread=st.booleans(), real_time_priority=st.none() | signed,
    duty=st.none() | st.sampled_from(get_args(Duty)),
)  # fmt: skip
function = st.none() | st.sampled_from(["vfs_read", "ctnetlink_dump_table [nf_conntrack_netlink]"])
stack = st.builds(Stack, functions=st.lists(function, max_size=3).map(tuple), samples=number)
holder = st.builds(
    Holder, task=task, mode=st.sampled_from(get_args(Mode)), system_call=st.none() | st.just("read"),
    softirq=st.none() | st.just("TIMER"), samples=number, seconds=seconds, stayed=st.none() | st.booleans(),
    stacks=st.lists(stack, max_size=2).map(tuple),
)  # fmt: skip
stall = st.builds(
    Stall, ended_boot_seconds=seconds, cpu=number, kind=st.sampled_from(get_args(StallKind)), wait_seconds=seconds,
    end=holder, holders=st.lists(holder, max_size=2).map(tuple), samples=number, samples_cut=st.booleans(),
    expected_samples=number, packets=number,
)  # fmt: skip
spans = st.lists(st.builds(DelaySpan, seconds, st.none() | seconds, number), max_size=2).map(tuple)
cpu = st.builds(
    CpuDelays, cpu=number, delays=spans, thread_delays=spans, longest_seconds=seconds, longest_run_seconds=seconds,
    longest_queued_seconds=seconds, samples=number, stolen_seconds=st.none() | seconds,
)  # fmt: skip
stalls = st.builds(
    Stalls, stalls=st.lists(stall, max_size=2).map(tuple), cpus=st.lists(cpu, max_size=2).map(tuple),
    watched_seconds=seconds, started_seconds=st.just(1.0), threshold_seconds=seconds, hertz=number,
    threads_watched=number, backlogs_followed=st.booleans(), lost=number, suppressed=number, left_out=number,
    sampling_reason=st.none() | text, symbols_reason=st.none() | text,
)  # fmt: skip


def with_stalls(whole: Recording, found: list[Stalls]) -> Recording:
    """The same recording with such a sample in its first snapshots."""
    snapshots = [
        Snapshot(at=s.at, samples={**s.samples, "stalls": one}) for s, one in zip(whole.snapshots, found, strict=False)
    ]
    return Recording(
        node=whole.node, snapshots=(*snapshots, *whole.snapshots[len(snapshots) :]), costs=whole.costs,
        wall_seconds=whole.wall_seconds,
    )  # fmt: skip


recording_with_stalls = st.builds(with_stalls, recording, st.lists(stalls, min_size=1, max_size=3))
