"""The stall recorder beside real stalls, each by a real cause: who held the CPU, and where. Needs root."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.conntrack import flows, insert, room_for
from bench.softirqs import packets
from lab.host import changed
from netns.namespace import Namespace, wait_until
from netns.stall_causes import (
    HOG_PRIORITY,
    HOG_SECONDS,
    RECEIVER,
    SELECTIVE_DUMP,
    SENDER,
    filter_slowly,
    furnish_threaded_link,
    hog,
    receive_many,
    run_on,
    starve,
)
from whodunnet.errors import UnreadableError
from whodunnet.kernel import namespaces
from whodunnet.kernel.bpf.socket_walk import ticks_per_second
from whodunnet.kernel.bpf.stall_records import Names, Record, summed
from whodunnet.kernel.bpf.stalls import Settings, StallRecorder
from whodunnet.kernel.procfs.kallsyms import read_symbols
from whodunnet.kernel.roots import Roots
from whodunnet.kernel.support import Support
from whodunnet.model.stalls import Holder, Stall, StallKind

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces and to load BPF programs"),
    pytest.mark.skipif(
        not {RECEIVER, SENDER} <= os.sched_getaffinity(0), reason="needs two CPUs, one to receive and one to send"
    ),
]
POLLED_AT_ONCE, POLLED_IN_A_RUN = Path("/proc/sys/net/core/dev_weight"), Path("/proc/sys/net/core/netdev_budget")
IN_A_RUN, BACKLOG = 4, 900
"""Packets: a fast CPU takes two hundred up in 10 ms, and no more than 1,000 wait (net.core.netdev_max_backlog)."""
THRESHOLD_SECONDS = Settings().threshold_seconds
ENTRIES = 200_000
TIMES = 3
"""In one of them nobody else may keep the CPU for longer, nor the host keep our virtual one from running."""
FULL_SECONDS = 60
"""Until a mebibyte of stalls is there: a CPU with other work is sent few packets."""
SEEN_SHARE = 0.5
"""Of the samples that a stall can have: fewer are those of a virtual CPU that was itself not run."""


@pytest.fixture
def recorder(support: Support) -> Iterator[StallRecorder]:
    with closing(StallRecorder(support, Roots(), Settings())) as made:
        yield made


@pytest.fixture(scope="module")
def names() -> Names:
    return read_symbols(Roots()).name


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


@pytest.fixture(scope="module")
def full() -> Iterator[Path]:
    """A namespace with many entries in its conntrack table."""
    name = f"whodunnet-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        with room_for(ENTRIES):
            mount = Path("/run/netns", name)
            namespaces.inside(mount, None, lambda: insert(flows(ENTRIES)))
            yield mount
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def stalls_of(
    recorder: StallRecorder, act: Callable[[], object], kind: StallKind, names: Names = lambda _: None
) -> list[Stall]:
    """The stalls of that kind on the receiving CPU while something is done."""
    recorder.read()
    act()
    found: list[Record] = []

    def came() -> bool:
        found.extend(one for one in recorder.read() if one.kind == kind and one.cpu == RECEIVER)
        return bool(found)

    wait_until(came, f"a stall of the kind {kind}")
    return [summed(one, names, recorder.hertz, 0.0) for one in found]


def seen_well(stalls: list[Stall]) -> list[Stall]:
    return [one for one in stalls if one.samples > SEEN_SHARE * one.expected_samples]


def functions(holder: Holder) -> set[str | None]:
    return {function for stack in holder.stacks for function in stack.functions}


def dump(namespace: Path) -> int:
    """A selective dump on the receiving CPU; the number of the process, which is gone."""
    child = namespaces.inside(namespace, None, lambda: run_on(RECEIVER, *SELECTIVE_DUMP))
    assert child.wait() == 0
    return child.pid


def test_a_selective_dump_of_conntrack_is_caught_in_the_act(recorder: StallRecorder, full: Path, names: Names) -> None:
    """It keeps softirqs off while it walks the whole table, and is gone before we ask for its name."""
    pids: list[int] = []
    with packets(RECEIVER, SENDER):
        stalls = stalls_of(recorder, lambda: pids.extend(dump(full) for _ in range(TIMES)), "late", names)
    caught = [one for one in stalls if one.end.task.pid in pids]
    assert caught
    for stall in seen_well(caught):
        (holder,) = (one for one in stall.holders if one.softirq is None)
        assert (holder.task, holder.task.comm) == (stall.end.task, "conntrack")
        assert (holder.mode, holder.system_call, holder.stayed) == ("kernel", "sendto", True)
        assert "ctnetlink_dump_table" in functions(holder)
        assert holder.seconds > SEEN_SHARE * stall.wait_seconds
        assert stall.wait_seconds >= THRESHOLD_SECONDS
    assert seen_well(caught)
    assert "ctnetlink_dump_table" in functions(caught[0].end)


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
def test_a_long_softirq_is_named_by_its_functions(recorder: StallRecorder, namespace: Namespace, names: Names) -> None:
    namespace(filter_slowly)
    stalls = stalls_of(recorder, lambda: namespace(receive_many), "long", names)
    assert seen_well(stalls)
    assert all(one.end.softirq == "NET_RX" and one.wait_seconds >= THRESHOLD_SECONDS for one in stalls)
    for stall in seen_well(stalls):
        # Another one may have run before it, if for less than a tick (begun_ns in bpf/stalls.h).
        before = [holder for holder in stall.holders if holder.softirq != "NET_RX"]
        assert None not in {holder.softirq for holder in before}
        assert sum(holder.seconds for holder in before) <= 1 / ticks_per_second()
        assert any("nft_do_chain" in functions(holder) for holder in stall.holders)


def receive_often() -> None:
    for _ in range(TIMES):
        receive_many(BACKLOG)


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
def test_a_packet_waits_for_those_before_it_although_no_run_is_long(
    recorder: StallRecorder, namespace: Namespace, names: Names
) -> None:
    namespace(filter_slowly)
    with changed(POLLED_AT_ONCE, str(IN_A_RUN)), changed(POLLED_IN_A_RUN, str(IN_A_RUN)):
        stalls = stalls_of(recorder, lambda: namespace(receive_often), "queued", names)
    (cpu,) = (one for one in recorder.read_delays() if one.cpu == RECEIVER)
    assert cpu.longest_queued_seconds >= max(one.wait_seconds for one in stalls) >= THRESHOLD_SECONDS
    assert all(IN_A_RUN < one.packets <= BACKLOG for one in stalls)
    assert seen_well(stalls)
    for stall in seen_well(stalls):  # between two runs ksoftirqd waits for its turn, and others have theirs
        assert any("nft_do_chain" in functions(one) for one in stall.holders if one.softirq == "NET_RX")


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
def test_a_long_softirq_is_found_without_samples(support: Support, namespace: Namespace, names: Names) -> None:
    """Then its end is watched, and named by where that was."""
    namespace(filter_slowly)
    with closing(StallRecorder(support, Roots(), Settings(hertz=0))) as recorder:
        stalls = stalls_of(recorder, lambda: namespace(receive_many), "long", names)
        assert max(cpu.longest_run_seconds for cpu in recorder.read_delays()) >= THRESHOLD_SECONDS
    assert {(one.end.softirq, one.holders) for one in stalls} == {("NET_RX", ())}
    assert all("handle_softirqs" in functions(one.end) or "__do_softirq" in functions(one.end) for one in stalls)


@pytest.mark.skipif(shutil.which("ethtool") is None, reason="ethtool is not installed")
def test_a_napi_thread_starves_behind_a_real_time_task(
    recorder: StallRecorder, namespace: Namespace, names: Names
) -> None:
    thread = namespace(furnish_threaded_link)
    recorder.refresh()
    assert recorder.threads_watched == 1
    hogs: list[int] = []

    stalls = stalls_of(recorder, lambda: hogs.extend(starve(namespace) for _ in range(TIMES)), "thread", names)
    assert {stall.end.task.tid for stall in stalls} == {thread}
    # A machine with other work lets the thread wait for that as well, and longer.
    behind = [stall for stall in stalls if stall.holders and stall.holders[0].task.pid in hogs]
    longest = max(behind, key=lambda stall: stall.wait_seconds)
    assert longest.wait_seconds > HOG_SECONDS / 2
    assert (longest.holders[0].task.real_time_priority, longest.holders[0].mode) == (HOG_PRIORITY, "user")


def test_a_hog_in_user_mode_keeps_no_packet_waiting(recorder: StallRecorder) -> None:
    recorder.read()
    with packets(RECEIVER, SENDER), hog(1.0) as child:
        child.wait()
    blamed = [summed(one, lambda _: None, recorder.hertz, 0.0) for one in recorder.read()]
    assert [one for one in seen_well(blamed) if one.holders and one.holders[0].task.pid == child.pid] == []
    (cpu,) = (one for one in recorder.read_delays() if one.cpu == RECEIVER)
    assert sum(span.count for span in cpu.delays) > 1000
    middle = cpu.quantile(0.5)
    assert middle is not None
    assert middle < 0.001


def test_more_stalls_than_the_limit_are_counted(support: Support) -> None:
    """Every softirq is one where the threshold is nothing."""
    with closing(StallRecorder(support, Roots(), Settings(1e-9, records_per_second=1))) as recorder:
        with packets(RECEIVER, SENDER):
            wait_until(lambda: recorder.suppressed > 0, "stalls beyond the limit")
        assert 0 < len(recorder.read()) < 1000
        assert recorder.lost == 0


def test_stalls_without_room_are_counted_and_the_next_ones_come(support: Support) -> None:
    unlimited = StallRecorder(support, Roots(), Settings(1e-9, records_per_second=1_000_000))
    with closing(unlimited) as recorder, packets(RECEIVER, SENDER):
        wait_until(lambda: recorder.lost > 0, "stalls that find no room", FULL_SECONDS)
        full = recorder.read()
        assert full
        wait_until(recorder.read, "stalls that find room again")


def test_without_samples_the_end_still_names_who_held_the_cpu(support: Support, full: Path, names: Names) -> None:
    with closing(StallRecorder(support, Roots(), Settings(hertz=2_000_000_000))) as recorder:
        assert recorder.hertz == 0
        assert recorder.sampling_reason == "CPU 0 cannot be sampled (perf_event_open): Invalid argument"
        pids: list[int] = []
        with packets(RECEIVER, SENDER):
            stalls = stalls_of(recorder, lambda: pids.append(dump(full)), "late", names)
    (caught,) = (one for one in stalls if one.end.task.pid in pids)
    assert (caught.end.task.comm, caught.end.system_call, caught.holders) == ("conntrack", "sendto", ())


def test_nothing_stays_when_the_recorder_is_closed(support: Support) -> None:
    before = descriptors()
    recorder = StallRecorder(support, Roots(), Settings())
    assert descriptors() > before
    recorder.close()
    recorder.close()
    assert descriptors() == before


def test_a_closed_recorder_says_so(support: Support) -> None:
    """Its memory is gone: to look there would end the process."""
    recorder = StallRecorder(support, Roots(), Settings())
    recorder.close()
    asked: tuple[Callable[[], object], ...] = (
        recorder.read, recorder.read_delays, recorder.refresh, recorder.fileno,
        lambda: recorder.lost, lambda: recorder.suppressed,
    )  # fmt: skip
    for ask in asked:
        with pytest.raises(UnreadableError, match="the stall recorder was closed"):
            ask()


def descriptors() -> set[str]:
    return {str(entry.name) for entry in Path("/proc/self/fd").iterdir() if entry.exists()}


def test_a_stall_wakes_who_waits_for_it(recorder: StallRecorder, full: Path) -> None:
    with packets(RECEIVER, SENDER):
        dump(full)
        assert select.select([recorder], [], [], 1.0)[0] == [recorder]


def test_silence_is_of_the_task_that_kept_the_cpu_meanwhile(support: Support) -> None:
    """Each sample is one here where it comes after another of the same task, which was not taken off the CPU."""
    settings = Settings(1e-4, records_per_second=1_000, silent_periods=0)
    with closing(StallRecorder(support, Roots(), settings)) as recorder:
        with hog(0.3, HOG_PRIORITY) as child:
            child.wait()
        silent = [one for one in recorder.read() if one.kind == "silent" and one.cpu == RECEIVER]
    assert silent
    of_hog = [one for one in silent if one.end.task.pid == child.pid and one.end.mode == "user"]
    assert len(of_hog) > 10
    assert all(one.until_ns - one.since_ns >= 1e5 and one.end.softirq is None for one in of_hog)
