"""Who is named for a stall, and who is not."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from whodunnet.diagnosis.engine import diagnose
from whodunnet.model.finding import Cleared, NotChecked
from whodunnet.model.sample import Failure
from whodunnet.model.snapshot import Recording, Snapshot
from whodunnet.model.stalls import CpuDelays, Holder, Task
from whodunnet.model.workload import Workloads
from whodunnet.rules.rx_stall import missed
from whodunnet.rules.stall_evidence import LONG_BY, READS_MEMORY_STAT
from whodunnet.rules.stall_findings import WAITED, WHY_LONG
from whodunnet.rules.stall_shapes import Shape

from .nodes import answers, in_container, moment, named, parties, process
from .receiving import softnet, work
from .stalled import (
    ALLOWS,
    DUMPS,
    ENTRY,
    IDLE,
    INTERRUPTS,
    KSOFTIRQD,
    LONG,
    MONITOR,
    NAPI,
    OTHER,
    READS,
    REAL_TIME,
    WORKER,
    blamed,
    ended,
    found,
    held,
    in_cgroup,
    said,
    sample,
    stall,
    stolen,
    watched,
)

CLEAR = "rx-stall"


def cleared(recording: Recording) -> Cleared:
    (answer,) = answers(recording, CLEAR)
    assert isinstance(answer, Cleared), answer
    return answer


# --- Who is named -------------------------------------------------------------------------------------------------


def test_a_task_that_stays_in_a_system_call_until_ksoftirqd_comes_is_the_culprit() -> None:
    (finding,) = found(stall(held(MONITOR, 37)), workloads=Workloads(by_pid=in_container("cadvisor", 7)))
    assert (finding.shape, finding.confidence, finding.severity) == ("syscall-hog", "proven", "critical")
    (culprit,) = parties(finding, "culprit")
    assert culprit.pod.name == "cadvisor"  # type: ignore[union-attr]
    assert culprit.share == 1.0
    assert "default/cadvisor (app7) held CPU 1 in read() for up to 150 ms, in mem_cgroup_iter" in finding.title
    assert [(p.role, p.node) for p in finding.parties[1:]] == [("victim", "n1")]


def test_functions_that_answer_a_read_of_memory_stat_are_counted_for_the_cause() -> None:
    (reads,) = found(stall(held(MONITOR, 37)))
    (dumps,) = found(stall(held(MONITOR, 37, functions=DUMPS)))
    assert [(e.value, e.limit) for e in reads.evidence if e.statement == READS_MEMORY_STAT] == [(37, 37)]
    assert READS_MEMORY_STAT not in [e.statement for e in dumps.evidence]
    flush = ("cgroup_rstat_flush_locked", "mem_cgroup_flush_stats", *READS[1:])
    (flushes,) = found(stall(held(MONITOR, 37, functions=flush)))
    assert [WHY_LONG["walk"] in f.explanation for f in (reads, flushes, dumps)] == [True, False, False]
    assert [WHY_LONG["flush"] in f.explanation for f in (reads, flushes, dumps)] == [False, True, False]
    told = [[e.value for e in f.evidence if e.statement == LONG_BY[way]] for f in (reads, flushes) for way in LONG_BY]
    assert told == [[37], [], [], [37]]


def test_a_read_of_memory_stat_that_neither_walks_nor_adds_up_has_no_reason() -> None:
    """From 5.4 to 5.10 the sums are kept ready."""
    (reads,) = found(stall(held(MONITOR, 37, functions=READS[1:])))
    assert READS_MEMORY_STAT in [e.statement for e in reads.evidence]
    assert not set(LONG_BY.values()) & {e.statement for e in reads.evidence}
    assert not set(WHY_LONG.values()) & set(reads.explanation)


def test_softirqs_that_begin_where_the_same_task_allows_them_were_switched_off_by_it() -> None:
    dump = stall(held(MONITOR, 7, functions=DUMPS), wait=0.03, end=ended(MONITOR, ALLOWS))
    assert said(dump, dump) == [("softirqs-disabled", "proven", "warning")]
    assert blamed(dump, dump) == ["app7"]


def test_a_real_time_task_over_a_thread_that_takes_packets_is_the_culprit_in_user_mode_too() -> None:
    spins = held(REAL_TIME, 37, mode="user", system_call=None, functions=None)
    assert said(stall(spins)) == [("starved-thread", "proven", "critical")]
    waits = stall(spins, kind="thread", end=ended(NAPI))
    assert said(waits) == [("starved-thread", "likely", "critical")]
    (finding,) = found(waits)
    assert parties(finding, "culprit")[0].effect == "seen 37 times in user mode"
    assert "napi/eth0-1" in finding.title
    assert "chrt --other --pid 0 8" in [r.command for r in finding.remedies]


def test_a_real_time_task_starves_only_threads() -> None:
    dump = stall(held(REAL_TIME, 37, functions=DUMPS), end=ended(REAL_TIME, ALLOWS))
    assert said(dump) == [("softirqs-disabled", "proven", "critical")]


def test_a_thread_of_the_kernel_keeps_its_real_time_priority() -> None:
    (finding,) = found(stall(held(replace(WORKER, comm="migration/1", real_time_priority=99), 37)))
    assert finding.shape == "starved-thread"
    assert not [r.command for r in finding.remedies if r.command and r.command.startswith("chrt")]


def test_the_kernel_adding_up_by_itself_is_no_read_of_memory_stat() -> None:
    flushes = ("cgroup_rstat_flush_locked", "mem_cgroup_flush_stats", "flush_memcg_stats_dwork", "process_one_work")
    (finding,) = found(stall(held(WORKER, 37, functions=flushes)))
    told = [e.statement for e in finding.evidence]
    assert (LONG_BY["flush"] in told, READS_MEMORY_STAT in told) == (True, False)
    assert not [r for r in finding.remedies if "memory.stat" in r.do]


def test_a_thread_of_the_kernel_can_hold_a_cpu_and_is_called_one() -> None:
    (finding,) = found(stall(held(WORKER, 37)))
    assert finding.title.startswith("The kernel thread kworker/1:2 held CPU 1 in the kernel")
    assert not [r for r in finding.remedies if r.action == "restart-workload"]


# --- Who is not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [MONITOR, REAL_TIME, WORKER])
def test_whoever_a_softirq_interrupted_is_never_named(task: Task) -> None:
    timers = stall(held(task, 37, softirq="TIMER", functions=("mod_timer_list", "run_timer_softirq")))
    (finding,) = found(timers)
    assert finding.shape == "softirq-hog"
    assert "TIMER" in finding.title
    assert "mod_timer_list" in finding.title
    assert [p.role for p in finding.parties] == ["victim"]


@pytest.mark.parametrize("task", [KSOFTIRQD, NAPI, IDLE])
def test_a_thread_that_takes_packets_and_the_idle_task_are_never_culprits(task: Task) -> None:
    for kind in ("late", "long", "thread", "silent"):
        assert blamed(*[stall(held(task, 37), kind=kind, end=ended(task, ALLOWS))] * 9, virtual=False) == []


def test_who_was_current_when_an_interrupt_brought_the_softirq_has_nothing_to_do_with_it() -> None:
    one = held(OTHER, 1)
    assert blamed(*[stall(one, wait=0.011, end=ended(MONITOR, INTERRUPTS), expected_samples=2)] * 9) == []


def test_a_tick_that_came_late_shows_no_softirqs_switched_off() -> None:
    """It brought the softirq as soon as it came: the task had not switched them off."""
    for task in (MONITOR, REAL_TIME):
        late = stall(held(task, 5, functions=DUMPS), wait=0.019, end=ended(task, INTERRUPTS))
        nameless = replace(late, end=ended(task))
        assert [f.shape for f in (*found(late, late), *found(nameless, nameless))] == ["many-holders"] * 2
        assert blamed(*[late] * 9, *[nameless] * 9) == []


def test_softirqs_that_run_on_a_stack_of_their_own_were_let_run_by_the_task_all_the_same() -> None:
    """As in 5.10: no interrupt, though assembler calls them there."""
    own = ("__do_softirq", "asm_call_irq_on_stack", "do_softirq_own_stack", "do_softirq", *ALLOWS[2:])
    dump = stall(held(MONITOR, 7, functions=DUMPS), wait=0.03, end=ended(MONITOR, own))
    assert said(dump) == [("softirqs-disabled", "proven", "warning")]


SPINS = ("native_queued_spin_lock_slowpath", "_raw_spin_lock", "__nf_conntrack_confirm", *DUMPS)


@pytest.mark.parametrize("task", [MONITOR, REAL_TIME])
def test_whoever_spins_for_a_lock_is_held_up_itself(task: Task) -> None:
    for one in (
        stall(held(task, 37, functions=SPINS)),
        stall(held(task, 37, functions=SPINS), end=ended(task, ALLOWS)),
        stall(held(task, 37, functions=SPINS), kind="thread", end=ended(NAPI)),
    ):
        (finding,) = found(one)
        assert (finding.shape, finding.confidence, finding.severity) == ("many-holders", "likely", "warning")
        assert [p.role for p in finding.parties] == ["victim"]
        assert "app7" not in finding.title
        assert WAITED in finding.explanation
        assert not [line for line in finding.explanation if line.startswith("Several tasks")]
    briefly = stall(held(task, 30, functions=DUMPS), held(task, 7, functions=SPINS, system_call="write"))
    assert blamed(briefly) == ["app7"]


def test_whoever_waits_with_interrupts_off_for_a_flush_is_not_to_blame() -> None:
    """Adding one to a number takes the lock of a flush that runs on another CPU; the flush is told beside it."""
    waits = gap("__mod_memcg_lruvec_state")
    flush = replace(gap("memory_stat_format", functions=ENABLES), cpu=0)
    both = found(*[waits] * 5, *[flush] * 5, virtual=False)
    assert [[p.role for p in f.parties] for f in both] == [["culprit", "victim"], ["victim"]]
    assert (both[1].confidence, WAITED in both[1].explanation) == ("possible", True)
    told = "Times that another CPU was held meanwhile, in memory_stat_format: the lock may be theirs"
    assert [(e.value, e.limit) for e in both[1].evidence if e.statement == told] == [(5, 5)]
    later = replace(flush, ended_boot_seconds=flush.ended_boot_seconds + 1)
    assert told not in [e.statement for f in found(*[waits] * 5, *[later] * 5) for e in f.evidence]


def test_few_samples_in_the_wait_for_a_lock_blame_nobody() -> None:
    few = stall(held(MONITOR, 4, functions=SPINS))
    assert said(*[few] * 5, virtual=False) == [("irqs-disabled", "possible", "info")]
    assert blamed(*[few] * 5, virtual=False) == []


def test_an_interrupt_within_the_end_of_a_section_brought_the_softirq_all_the_same() -> None:
    end = ended(MONITOR, (*INTERRUPTS[:3], "__local_bh_enable_ip", *DUMPS))
    assert said(*[stall(wait=0.05, end=end)] * 2, hertz=0) == [("many-holders", "possible", "info")]


def test_a_softirq_that_had_interrupts_off_names_nobody_below_it() -> None:
    off = replace(gap(), end=replace(gap().end, softirq="TIMER"))
    assert said(*[off] * 5, virtual=False) == [("irqs-disabled", "possible", "info")]


def test_of_many_tasks_with_few_samples_each_nobody_is_named() -> None:
    many = [held(replace(OTHER, pid=100 + n, tid=100 + n), 2) for n in range(18)]
    (finding,) = found(stall(*many))
    assert (finding.shape, finding.confidence, finding.severity) == ("many-holders", "likely", "warning")
    assert [p.role for p in finding.parties] == ["victim"]


def test_a_single_sample_names_nobody() -> None:
    short = stall(held(MONITOR, 1), wait=0.011, expected_samples=2)
    assert said(short, short) == [("many-holders", "possible", "info")]


def test_tasks_that_have_their_turn_in_user_mode_are_not_to_blame() -> None:
    turn = held(MONITOR, 37, mode="user", system_call=None, functions=None)
    assert said(stall(turn)) == [("overload", "likely", "critical")]
    assert blamed(stall(turn)) == []


def test_a_task_that_left_the_cpu_meanwhile_did_not_hold_it() -> None:
    assert blamed(stall(held(MONITOR, 37, stayed=False))) == []


def test_a_cpu_that_was_idle_meanwhile_was_held_by_nobody() -> None:
    assert found(*[stall(held(IDLE, 37, functions=None), kind="thread", end=ended(NAPI))] * 9) == []
    timers = stall(held(IDLE, 37, softirq="TIMER"))
    assert said(timers) == [("softirq-hog", "proven", "critical")]


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        ((30_000, 1), ("overload", "likely", "critical")),
        ((29_999, 1), ("softirq-hog", "proven", "critical")),  # few packets: what is done for each takes long
        ((90_000, 0), ("softirq-hog", "proven", "critical")),
        (None, ("overload", "possible", "info")),
    ],
)
def test_packets_that_wait_for_packets_are_an_overload_where_there_are_many(
    received: tuple[int, int] | None, answer: tuple[Shape, str, str]
) -> None:
    busy = stall(held(MONITOR, 30, softirq="NET_RX"), held(KSOFTIRQD, 7))
    assert said(busy, received=received) == [answer]
    assert blamed(busy, received=received) == []


@pytest.mark.parametrize(
    ("wait", "received", "shape"),
    [(0.02, 90_000, "overload"), (0.02, 90, "softirq-hog"), (0.06, 90_000, "softirq-hog")],
)
def test_a_round_of_net_rx_has_a_limit_of_its_own(wait: float, received: int, shape: Shape) -> None:
    samples = round(wait * 250)
    one = stall(held(MONITOR, samples, softirq="NET_RX"), wait=wait, kind="long", end=ended(MONITOR))
    assert [f.shape for f in found(one, one, received=(received, 9))] == [shape]
    assert blamed(one, one, received=(received, 9)) == []


def test_a_net_rx_that_was_met_once_in_each_run_may_have_been_paused() -> None:
    """A machine that does not run for 10 ms meanwhile looks the same; the clearing counts it."""
    once = stall(held(MONITOR, 1, softirq="NET_RX"), wait=0.012, kind="long", end=ended(MONITOR), expected_samples=2)
    answer = cleared(watched(*[once] * 9, received=(90, 0)))
    assert "no stall of 10 ms in 3 s, longest 1.8 ms" in answer.sensitivity
    assert "9 times a CPU stood still" in answer.sensitivity


def test_the_clearing_tells_how_long_net_rx_ran_on() -> None:
    run = stall(held(MONITOR, 4, softirq="NET_RX"), wait=0.018, kind="long", end=ended(MONITOR))
    answer = cleared(watched(run, received=(90, 0)))
    assert "1 stall of 10 ms or more in 3 s, longest 18 ms" in answer.sensitivity
    assert answer.evidence[0].value == 0.018


def test_runs_of_one_softirq_are_one_finding_whatever_function_each_was_met_in() -> None:
    runs = [
        stall(held(MONITOR, 10, softirq="NET_RX", functions=(name,)), wait=0.04, kind="long", end=ended(MONITOR))
        for name in ("nft_do_chain", "nft_do_chain", "nf_hook_slow")
    ]
    (finding,) = found(*runs, received=(90, 0))
    assert finding.shape == "softirq-hog"
    assert finding.evidence[0].value == 3


# --- Pauses -------------------------------------------------------------------------------------------------------


def test_a_cpu_that_the_hypervisor_took_is_nobodys_fault_here() -> None:
    pause = stall(held(MONITOR, 4))
    assert said(pause, cpus=stolen(0.14)) == [("steal", "likely", "warning")]
    assert blamed(pause, cpus=stolen(0.14)) == []


@pytest.mark.parametrize(("seconds", "told"), [(7.5, True), (7.6, False)])
def test_little_that_the_hypervisor_took_is_counted_only(seconds: float, told: bool) -> None:
    answer = answers(watched(stall(held(MONITOR, 4)), cpus=stolen(0.14), seconds=seconds), CLEAR)
    assert [isinstance(a, Cleared) for a in answer] == [not told]
    if isinstance(answer[0], Cleared):
        assert "no stall of 10 ms in 7.6 s but in pauses, longest 150 ms" in answer[0].sensitivity
        assert "once a CPU stood still" in answer[0].sensitivity


def test_a_cpu_that_stood_still_and_nobody_says_why_is_no_finding() -> None:
    assert "once a CPU stood still" in cleared(watched(stall(held(MONITOR, 4)))).sensitivity


def test_of_a_stall_longer_than_the_recorder_the_end_is_enough() -> None:
    very_long = stall(held(MONITOR, 128), wait=4.0, samples_cut=True)
    assert said(very_long) == [("syscall-hog", "proven", "critical")]
    assert blamed(very_long, cpus=stolen(0.02)) == ["app7"]


def test_whoever_held_the_cpu_for_longer_than_is_remembered_did_so_at_least_as_long() -> None:
    (cut,) = found(stall(held(MONITOR, 128), wait=4.0, samples_cut=True))
    (whole,) = found(stall(held(MONITOR, 37)))
    told = [next(e.statement for e in f.evidence if e.unit == "samples") for f in (cut, whole)]
    assert [told[0].endswith("those of it, at least 512 ms"), told[1].endswith("those of it, about 148 ms")] == [
        True
    ] * 2
    assert ["for at least as long as it was met" in " ".join(f.explanation) for f in (cut, whole)] == [True, False]


def test_steal_of_other_cpus_excuses_nobody() -> None:
    cpus = tuple(replace(cpu, cpu=2) for cpu in stolen(9.0))
    assert blamed(stall(held(MONITOR, 37)), cpus=cpus) == ["app7"]
    assert said(stall(held(MONITOR, 4)), cpus=cpus) == []


ENABLES = ("_raw_spin_unlock_irq", "memory_stat_format", *READS[1:])


def gap(function: str = "serial8250_console_write", **other: Any) -> Any:
    functions = other.pop("functions", (function, *READS[3:]))
    end = Holder(task=MONITOR, mode=other.pop("mode", "kernel"), samples=1, seconds=0.0, system_call="read",
                 stacks=held(MONITOR, 1, functions=functions).stacks)  # fmt: skip
    return stall(kind="silent", wait=0.04, end=end, **other)


def test_interrupts_that_may_have_been_off_on_a_virtual_machine_name_no_one() -> None:
    assert said(*[gap()] * 5) == [("irqs-disabled", "possible", "info")]
    assert said(*[gap()] * 5, virtual=None) == [("irqs-disabled", "possible", "info")]
    assert blamed(*[gap()] * 5) == []
    assert "app7" not in found(*[gap()] * 5)[0].title
    assert found(*[gap()] * 4) == []
    assert found(*[gap(f"any_{n}") for n in range(9)]) == []


def test_on_a_real_machine_interrupts_off_name_who_kept_them() -> None:
    assert said(*[gap()] * 5, virtual=False) == [("irqs-disabled", "likely", "warning")]
    assert blamed(*[gap()] * 5, virtual=False) == ["app7"]
    assert found(*[gap()] * 4, virtual=False) == []
    long = replace(gap(), wait_seconds=0.1)
    assert blamed(long, gap(), virtual=False) == ["app7"]
    assert found(long, virtual=False) == []


def test_who_had_interrupts_off_is_in_the_title_with_the_call_where_that_is_sure_enough() -> None:
    titles = [found(*[gap()] * 5, virtual=virtual)[0].title for virtual in (True, False)]
    assert titles[0].endswith(", 5 times, in serial8250_console_write")
    assert titles[1] == f"{titles[0]}, while app7 was in read()"


def test_gaps_and_waits_with_few_samples_together_are_called_both() -> None:
    both = [*[gap(functions=READS)] * 4, *[stall(held(MONITOR, 4))] * 4]
    told = [found(*stalls)[0].evidence[0].statement for stalls in (both, [gap()] * 5)]
    assert told[0].startswith("Times without a sample or, while packets waited, with few, while one task kept the CPU")
    assert told[1].startswith("Times without a sample, while one task kept the CPU")


def test_where_interrupts_come_back_on_is_told_because_a_pause_ends_anywhere() -> None:
    (finding,) = found(*[gap(functions=ENABLES)] * 5, gap(functions=ENABLES[1:]))
    told = [(e.value, e.limit) for e in finding.evidence if "where interrupts come back on" in e.statement]
    assert told == [(5, 6)]
    assert not [e for e in found(*[gap()] * 5)[0].evidence if "come back on" in e.statement]


def test_a_flush_that_is_inlined_is_known_by_the_interrupts_that_are_off() -> None:
    """In 6.1 a read of memory.stat shows no function of its own for it; it does nothing else without interrupts."""
    (finding,) = found(*[gap(functions=ENABLES)] * 5)
    assert LONG_BY["flush"] in [e.statement for e in finding.evidence]
    assert WHY_LONG["flush"] in finding.explanation
    (walk,) = found(*[gap(functions=READS)] * 5)
    assert LONG_BY["walk"] in [e.statement for e in walk.evidence]


def test_few_samples_again_and_again_in_one_function_are_interrupts_that_are_off() -> None:
    flush = stall(held(MONITOR, 4))
    assert said(*[flush] * 5) == [("irqs-disabled", "possible", "info")]
    assert said(*[flush] * 5, virtual=False) == [("irqs-disabled", "likely", "warning")]
    (finding,) = found(*[flush] * 5)
    assert READS_MEMORY_STAT in [e.statement for e in finding.evidence]
    assert found(*[flush] * 4) == []
    in_user_mode = stall(held(MONITOR, 4, mode="user", functions=None))
    assert found(*[in_user_mode] * 9, virtual=False) == []


def test_whoever_is_met_where_a_napi_thread_came_to_run_after_it_waited_elsewhere_is_not_named() -> None:
    elsewhere = stall(held(MONITOR, 1), kind="thread", wait=0.05, end=ended(NAPI))
    assert found(*[elsewhere] * 9, virtual=False) == []


@pytest.mark.parametrize(
    ("other", "last"), [({"mode": "user"}, {}), ({}, {"cpus": stolen(0.3)})], ids=["in user mode", "stolen"]
)
def test_a_gap_that_is_a_pause_is_no_finding(other: dict[str, Any], last: dict[str, Any]) -> None:
    assert found(*[gap(**other)] * 9, virtual=False, **last) == []


# --- Who that is --------------------------------------------------------------------------------------------------


def test_a_pid_that_was_given_anew_is_not_taken_for_the_one_that_held_the_cpu() -> None:
    before = replace(MONITOR, process_started_seconds=MONITOR.process_started_seconds - 100)
    (finding,) = found(stall(held(before, 37)), workloads=Workloads(by_pid=in_container("web", 7)))
    (culprit,) = parties(finding, "culprit")
    assert (culprit.pod, culprit.process.comm) == (None, "app7")  # type: ignore[union-attr]


def test_whoever_is_gone_keeps_the_name_and_is_found_by_its_cgroup() -> None:
    gone = replace(MONITOR, cgroup_id=77)
    web = replace(in_container("web", 7)[7], process=None)
    (finding,) = found(stall(held(gone, 37)), workloads=in_cgroup(77, web))
    (culprit,) = parties(finding, "culprit")
    assert culprit.pod.name == "web"  # type: ignore[union-attr]
    assert culprit.process.comm == "app7"  # type: ignore[union-attr]


def test_processes_of_one_name_that_come_and_go_are_one_culprit() -> None:
    dumps = [stall(held(replace(MONITOR, pid=100 + n, tid=100 + n), 7), wait=0.03) for n in range(6)]
    (finding,) = found(*dumps)
    assert "app7 and 5 more of that name" in finding.title
    assert not [r for r in finding.remedies if r.action == "restart-workload"]


def test_several_processes_of_one_name_are_not_ended_by_one_of_their_numbers() -> None:
    who = named(7, 9, comm="dump")
    dumps = [replace(task, comm="dump") for task in (MONITOR, OTHER)]
    (finding,) = found(*(stall(held(task, 37)) for task in dumps), workloads=who)
    assert not [r for r in finding.remedies if r.action == "restart-workload"]


def test_the_same_program_in_two_containers_is_two_culprits() -> None:
    who = Workloads(by_pid={**in_container("web", 7, comm="app"), **in_container("db", 9, comm="app")})
    tasks = [replace(task, comm="app") for task in (MONITOR, OTHER)]
    both = found(*(stall(held(task, 37)) for task in tasks), workloads=who)
    assert sorted(p.pod.name for f in both for p in parties(f, "culprit")) == ["db", "web"]  # type: ignore[union-attr]
    assert len({f.id for f in both}) == 2


def test_a_thread_of_the_kernel_is_in_no_container() -> None:
    web = replace(in_container("web", 7)[7], process=None)
    (finding,) = found(stall(held(replace(WORKER, cgroup_id=77), 37)), workloads=in_cgroup(77, web))
    (culprit,) = parties(finding, "culprit")
    assert (culprit.pod, culprit.container) == (None, None)


def test_programs_of_two_containers_are_two_culprits_and_the_worse_comes_first() -> None:
    who = Workloads(by_pid={**in_container("web", 7), **in_container("db", 9)})
    both = found(stall(held(MONITOR, 10), wait=0.04), stall(held(OTHER, 50), wait=0.2), workloads=who)
    assert [p.pod.name for f in both for p in parties(f, "culprit")] == ["db", "web"]  # type: ignore[union-attr]
    assert [p.share for f in both for p in parties(f, "culprit")] == [0.8333, 0.1667]


def test_the_id_stays_while_the_same_program_does_the_same() -> None:
    who = named(7)
    (one,) = found(stall(held(MONITOR, 37)), workloads=who)
    (again,) = found(stall(held(MONITOR, 90), wait=0.36), stall(held(MONITOR, 37)), workloads=who)
    assert one.id == again.id


def test_a_service_is_restarted_by_name_and_a_process_by_pid() -> None:
    (finding,) = found(stall(held(MONITOR, 37)), workloads=named(7))
    assert "kill 7" in [r.command for r in finding.remedies]
    service = Workloads(by_pid={7: replace(named(7).by_pid[7], unit="kubelet.service")})
    (finding,) = found(stall(held(MONITOR, 37)), workloads=service)
    assert "systemctl restart -- kubelet.service" in [r.command for r in finding.remedies]


# --- How bad, how sure --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waits", "severity"),
    [
        ((0.099,), "warning"),
        ((0.1,), "critical"),
        ((0.0149,) * 20, "warning"),
        ((0.0151,) * 20, "critical"),
        ((0.029,), None),
        ((0.03,), "warning"),
        ((0.012, 0.012), "warning"),
    ],
)
def test_severity_goes_by_length_and_frequency(waits: Sequence[float], severity: str | None) -> None:
    end = ended(MONITOR, ALLOWS)
    stalls = [stall(held(MONITOR, max(round(w * 250), 3), functions=DUMPS), wait=w, end=end) for w in waits]
    assert [f.severity for f in found(*stalls)] == ([severity] if severity else [])


def test_many_calls_within_one_turn_are_not_one_long_call() -> None:
    many = [held(MONITOR, 2, system_call=call) for call in ("read", "write", "sendto")]
    short = stall(*many, wait=0.024)
    assert said(short, short) == [("overload", "possible", "info")]
    same = stall(held(MONITOR, 6), wait=0.024)
    assert said(*[same] * 20) == [("syscall-hog", "possible", "info")]
    assert blamed(*[same] * 20) == []
    assert [p.role for p in found(*[same] * 20)[0].parties] == ["holder", "victim"]
    assert said(same, stall(held(MONITOR, 8), wait=0.032)) == [("syscall-hog", "proven", "warning")]


def test_a_thread_that_waited_may_have_waited_elsewhere() -> None:
    assert said(stall(held(MONITOR, 37), kind="thread", end=ended(NAPI))) == [("syscall-hog", "likely", "critical")]


def test_few_samples_or_a_part_of_them_are_likely_only() -> None:
    dump = stall(held(MONITOR, 2, functions=DUMPS), wait=0.011, end=ended(MONITOR, ALLOWS))
    assert said(dump) == []
    assert said(stall(held(MONITOR, 4), wait=0.03, samples_cut=True)) == [("syscall-hog", "likely", "warning")]
    part = stall(held(MONITOR, 25), held(OTHER, 12))
    assert said(part) == [("syscall-hog", "likely", "critical")]


def test_cpus_that_are_not_sampled_beside_others_that_are_can_be_told() -> None:
    why = "CPU 1 cannot be sampled (perf_event_open): Too many open files"
    blind = stall(wait=0.2, expected_samples=50)
    assert f"; some CPUs are not sampled ({why})" in cleared(watched(blind, sampling_reason=why)).sensitivity
    (finding,) = found(stall(held(MONITOR, 37)), blind, sampling_reason=why)
    assert any(why in line for line in finding.explanation)


def test_without_samples_the_end_alone_blames_nobody_for_sure() -> None:
    dump = stall(wait=0.05, end=ended(MONITOR, ALLOWS))
    assert said(dump, hertz=0) == [("softirqs-disabled", "possible", "info")]
    (finding,) = found(dump, hertz=0, sampling_reason="CPU 0 cannot be sampled")
    assert [p.role for p in finding.parties] == ["holder", "victim"]
    assert any("CPU 0 cannot be sampled" in line for line in finding.explanation)


def test_functions_without_names_are_told_and_change_nothing_else() -> None:
    nameless = stall(held(MONITOR, 37, functions=(None, None)))
    (finding,) = found(nameless, symbols_reason="the kernel hides them")
    assert (finding.shape, finding.confidence) == ("syscall-hog", "proven")
    assert any("the kernel hides them" in line for line in finding.explanation)


def test_more_culprits_than_are_listed_are_counted() -> None:
    stalls = [stall(held(replace(MONITOR, pid=n, tid=n, comm=f"c{n}"), 37)) for n in range(50, 55)]
    listed = found(*stalls)
    assert len(listed) == int(ENTRY.limit("listed_cases"))
    assert all(any("2 more like this" in line for line in f.explanation) for f in listed)


def test_whoever_is_named_is_not_left_out_for_those_who_are_not() -> None:
    rows = [
        stall(held(MONITOR, 38, softirq=softirq, functions=(f"f{n}",)))
        for n, softirq in enumerate(("TIMER", "RCU", "BLOCK", "SCHED"))
    ]
    short = stall(held(MONITOR, 8), wait=0.031)
    listed = found(*rows, short)
    assert [f.shape for f in listed] == ["softirq-hog", "softirq-hog", "syscall-hog"]
    reads = found(*rows, *[gap(functions=ENABLES)] * 5)
    assert [f.shape for f in reads] == ["softirq-hog", "softirq-hog", "irqs-disabled"]
    assert all(any("2 more like this" in line for line in f.explanation) for f in (*listed, *reads))


# --- No stall -----------------------------------------------------------------------------------------------------


def test_a_clearing_says_what_the_window_could_have_seen_and_the_longest_it_saw() -> None:
    answer = cleared(watched())
    assert answer.sensitivity == (
        "no stall of 10 ms in 3 s, longest 1.8 ms; one a minute would be missed 19 times in 20"
    )
    assert [(e.value, e.limit, e.comparison) for e in answer.evidence] == [(0.0018, 0.01, "<"), (3600, None, None)]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.1, "one a minute would be missed 19 times in 20"),
        (60, "one a minute would be missed 7 times in 20"),
        (300, "one an hour would be missed 18 times in 20"),
        (86_400, "one a day would be missed 7 times in 20"),
        (864_000, "one a day would be seen"),
    ],
)
def test_a_longer_window_misses_rarer_stalls(seconds: float, words: str) -> None:
    assert missed(seconds) == words


@pytest.mark.parametrize("seconds", [3.0, 20.0, 60.0, 120.0])
def test_how_often_a_stall_is_missed_is_how_often_none_falls_into_the_window(seconds: float) -> None:
    """Stalls that come at random, one a minute on average, in 20,000 windows."""
    dice = Random(7)
    none = sum(dice.expovariate(1 / 60) > seconds for _ in range(20_000))
    said_of_20 = int(missed(seconds).removeprefix("one a minute would be missed ").split()[0])
    assert abs(said_of_20 - 20 * none / 20_000) < 0.7


def test_one_short_stall_is_counted_in_the_clearing() -> None:
    assert cleared(watched(stall(held(MONITOR, 3), wait=0.012))).sensitivity.startswith(
        "1 stall of 10 ms or more in 3 s, longest 12 ms; "
    )


def test_a_window_without_a_packet_says_so() -> None:
    assert "no packet was received" in cleared(watched(cpus=())).sensitivity


@pytest.mark.parametrize(
    "last",
    [{"lost": 3}, {"suppressed": 3}, {"left_out": 3}, {"cpus": (CpuDelays(cpu=1, delays=LONG),)}],
    ids=["lost", "suppressed", "left out", "in other snapshots"],
)
def test_stalls_that_were_counted_and_not_kept_clear_nobody(last: dict[str, Any]) -> None:
    (answer,) = answers(watched(**last), CLEAR)
    assert isinstance(answer, NotChecked)
    assert "not kept" in answer.reason
    assert diagnose(watched(**last), [CLEAR]).outcome == "incomplete"


def test_one_reading_is_no_window() -> None:
    at = Snapshot(at=moment(0), samples={"stalls": sample(stall(held(MONITOR, 37)), seconds=0.0)})
    (answer,) = answers(replace(watched(), snapshots=(at,)), CLEAR)
    assert isinstance(answer, NotChecked)
    assert "look for longer" in answer.reason


def test_stalls_from_before_the_window_are_not_in_it() -> None:
    node = watched()
    first = replace(node.snapshots[0], samples={"stalls": sample(stall(held(MONITOR, 37)), seconds=0.0)})
    assert cleared(replace(node, snapshots=(first, node.snapshots[1])))


def test_without_bpf_it_is_not_checked_and_says_why() -> None:
    failure = Failure(code="missing-capability", reason="BPF needs CAP_BPF", missing_capability="CAP_BPF")
    node = watched()
    blind = tuple(replace(s, samples={"stalls": failure}) for s in node.snapshots)
    (answer,) = answers(replace(node, snapshots=blind), CLEAR)
    assert isinstance(answer, NotChecked)
    assert (answer.missing_capability, answer.reason) == ("CAP_BPF", "BPF needs CAP_BPF")


@pytest.mark.parametrize(
    ("wait_ns", "left"),
    [
        (2_100_000_000, ": of 3 s the ksoftirqd of CPU 1 was ready for 2.1 s and something else ran"),
        (0, ": no ksoftirqd had to wait for its CPU in 3 s"),
        (None, ", and the scheduler's are not in sight"),
    ],
)
def test_without_bpf_the_counters_that_are_left_are_told(wait_ns: int | None, left: str) -> None:
    failure = Failure(code="missing-capability", reason="BPF needs CAP_BPF", missing_capability="CAP_BPF")
    before = softnet(work(), work() if wait_ns is not None else work(thread_wait_ns=None))
    cpus = [work(thread_wait_ns=None if wait_ns is None else 0), work(thread_wait_ns=wait_ns)]
    counted = (before, softnet(*cpus))
    snapshots = tuple(
        replace(s, samples={"stalls": failure, "softnet": sample})
        for s, sample in zip(watched().snapshots, counted, strict=True)
    )
    (answer,) = answers(replace(watched(), snapshots=snapshots), CLEAR)
    assert isinstance(answer, NotChecked)
    assert answer.reason == f"BPF needs CAP_BPF; only counters of softnet and the scheduler are left{left}"


def test_names_from_the_node_are_cleaned() -> None:
    hostile = replace(MONITOR, comm="\x1b[31m\n$(id)", thread="\u202ex")
    who = Workloads(by_pid={7: replace(named(7).by_pid[7], process=process(7, comm=hostile.comm))})
    (finding,) = found(stall(held(hostile, 37, functions=("\x1bfoo",))), workloads=who)
    told = (finding.title, finding.summary, *(e.statement for e in finding.evidence), *finding.explanation)
    assert not [text for text in told if not text.isprintable()]
