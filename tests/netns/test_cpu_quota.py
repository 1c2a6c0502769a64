"""A real quota of CPU time over real servers: who waits for it is found, who does not is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from netns.cpu_quota_actors import (
    CLIENTS,
    REQUEST,
    asking,
    burner,
    connecting,
    kernel_counts,
    place,
    quota,
    server,
    used_ms,
)
from whodunnet.collectors.snapshots import SnapshotTaker
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import node, read_support
from whodunnet.model.cpu_quota import CpuQuotas, LimitedCgroup
from whodunnet.model.finding import Answer, Cleared, Finding
from whodunnet.model.snapshot import Recording
from whodunnet.rules.catalogue import needed_collectors
from whodunnet.rules.rule import judge

RULE = "cpu-throttled"
READINGS, APART_SECONDS = 4, 0.7
TIGHT = 0.2
TICK_MS = 1000 // os.sysconf("SC_CLK_TCK")

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make cgroups"),
    pytest.mark.skipif(os.geteuid() == 0 and place() is None, reason="needs the CPU controller"),
]


def watch() -> Recording:
    support = read_support(Roots())
    with SnapshotTaker(Roots(), support, needed_collectors([RULE])) as taker:
        snapshots = [taker.take()]
        for _ in range(READINGS - 1):
            time.sleep(APART_SECONDS)
            snapshots.append(taker.take())
    return Recording(node=node(support), snapshots=tuple(snapshots))


def answers() -> list[Answer]:
    return list(judge(RULE, watch()))


def limited(recording: Recording, cgroup: Path) -> list[LimitedCgroup]:
    """What each reading has of a cgroup."""
    series = [sample for _, sample in recording.series(CpuQuotas)]
    return [c for sample in series for c in sample.cgroups if c.path == f"/{cgroup.name}"]


def test_a_server_whose_quota_is_used_up_while_requests_wait_is_found() -> None:
    with quota(TIGHT) as cgroup, server(cgroup, burn=0.02) as (pid, port), asking(port):
        time.sleep(1)
        (found,) = answers()
    assert isinstance(found, Finding)
    assert (found.shape, found.severity, found.claim, found.confidence) == ("data-waits", "warning", "delays", "proven")
    assert [(p.role, p.process.pid) for p in found.parties if p.process] == [("victim", pid)]
    assert "a quota of 0.2 CPUs" in found.title
    waited = next(e for e in found.evidence if e.unit == "bytes")
    assert isinstance(waited.value, int)
    assert len(REQUEST) <= waited.value <= CLIENTS * len(REQUEST)


def test_the_numbers_are_those_of_the_kernel() -> None:
    with quota(TIGHT) as cgroup, server(cgroup, burn=-0.02) as (pid, _):
        before = kernel_counts(cgroup)
        read = limited(watch(), cgroup)
        after = kernel_counts(cgroup)
    assert len(read) == READINGS
    assert {(c.quota_us, c.period_us, c.pids) for c in read} == {(20_000, 100_000, (pid,))}
    for name, values in (("nr_periods", [c.periods for c in read]), ("nr_throttled", [c.throttled for c in read])):
        assert before[name] <= values[0] < values[-1] <= after[name]
    us = [after["throttled_usec"]] if "throttled_usec" in after else [after["throttled_time"] // 1000]
    assert 0 < read[-1].throttled_us <= us[0]


def test_another_program_that_uses_the_quota_up_is_told_of_with_what_it_used() -> None:
    with quota(TIGHT) as cgroup, server(cgroup, burn=0.002) as (pid, port), burner(cgroup, pid) as beside, asking(port):
        before = used_ms(beside)
        recording = watch()
        after = used_ms(beside)
    (found,) = judge(RULE, recording)
    assert isinstance(found, Finding)
    assert [(p.role, p.process.pid) for p in found.parties if p.process] == [("victim", pid), ("holder", beside)]
    used = [user.cpu_ms for c in limited(recording, cgroup) for user in c.users if user.pid == beside]
    assert len(used) >= READINGS - 1
    assert before - TICK_MS <= used[0] < used[-1] <= after + TICK_MS


def test_a_server_whose_accept_queue_is_full_meanwhile_is_found() -> None:
    with quota(TIGHT) as cgroup, server(cgroup, burn=0.5, backlog=2) as (_, port), connecting(port, 40):
        (found,) = answers()
    assert isinstance(found, Finding)
    assert (found.shape, found.reason) == ("accept-queue-full", "CpuQuotaFillsAcceptQueue")
    full = next(e for e in found.evidence if e.comparison == ">")
    assert (full.value, full.limit) == (3, 2)


def test_who_uses_up_a_quota_and_lets_nobody_wait_is_cleared_with_the_number() -> None:
    with quota(TIGHT) as cgroup, server(cgroup, burn=-0.02):
        (answer,) = answers()
    assert isinstance(answer, Cleared)
    throttled = next(e for e in answer.evidence if e.unit == "periods")
    assert f"/{cgroup.name}" in throttled.statement
    assert isinstance(throttled.value, int)
    assert throttled.value >= READINGS


def test_a_slow_server_with_a_quota_that_is_wide_enough_is_cleared() -> None:
    with quota(1.9) as cgroup, server(cgroup, burn=0.02) as (_, port), asking(port):
        (answer,) = answers()
    assert isinstance(answer, Cleared)


def test_a_slow_server_without_a_quota_is_cleared() -> None:
    with quota(None) as cgroup, server(cgroup, burn=0.02) as (_, port), asking(port):
        (answer,) = answers()
    assert isinstance(answer, Cleared)
    assert [e.value for e in answer.evidence] == [0]
